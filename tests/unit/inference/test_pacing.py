"""When the batch sends: backoff, verdicts, the gate, the limit. All on a clock that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.backoff import Backoff, repeat_after
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.sending.retries import Verdict, verdict
from airflow_provider_hf_endpoints.inference.sending.timeouts import AdaptiveTimeout

pytestmark = pytest.mark.once

BUSY = errors.OverloadedError("busy")
AWAY = errors.StartingError("away")


@given(st.integers(1, 100), st.floats(0, 0.999), st.none() | st.floats(0, 1000))
def test_a_wait_is_bounded_and_never_undercuts_the_server(attempt: int, chance: float, asked: float | None) -> None:
    """Full jitter below a ceiling; what the server asked for is the floor."""
    pause = Backoff(0.5, 30).seconds(attempt, asked, chance)
    if asked is None:
        assert 0 <= pause <= min(30, 0.5 * 2 ** (attempt - 1))
    else:
        assert asked <= pause <= asked * 1.1 + 0.05


@pytest.mark.parametrize(
    ("error", "attempt", "elapsed", "pause"),
    [
        (BUSY, 1, 0, 0.25),
        (BUSY, 4, 0, None),
        (BUSY, 2, 59.9, None),
        (AWAY, 2, 0, 0.5),
        (errors.OverloadedError("busy", retry_after=100), 1, 0, None),
        (errors.InferenceTimeoutError(), 1, 0, None),
        (errors.ServerError(), 1, 0, None),
        (errors.AuthenticationError(), 1, 0, None),
    ],
)
def test_a_single_call_is_repeated_only_when_that_is_safe(
    error: errors.InferenceError, attempt: int, elapsed: float, pause: float | None
) -> None:
    """Refused or unreached, within its attempts and its time."""
    options = {"max_attempts": 4, "max_seconds": 60.0, "chance": 0.5}
    assert pause == repeat_after(error, attempt, elapsed, **options)  # type: ignore[arg-type]


def test_a_starting_endpoint_is_bounded_by_time_alone() -> None:
    """With `scale_up_timeout` the number of tries does not matter."""
    assert repeat_after(AWAY, 50, 500, max_attempts=4, max_seconds=60, startup_seconds=600, chance=0.9) == 5.0
    assert repeat_after(AWAY, 50, 599, max_attempts=4, max_seconds=60, startup_seconds=600, chance=0.9) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.AuthenticationError, Verdict.STOP),
        (errors.PermissionDeniedError, Verdict.STOP),
        (errors.EndpointPausedError, Verdict.STOP),
        (errors.EndpointFailedError, Verdict.STOP),
        (errors.NotFoundError, Verdict.STOP),
        (errors.ModelNotFoundError, Verdict.STOP),
        (errors.UnsupportedTaskError, Verdict.STOP),
        (errors.CertificateError, Verdict.STOP),
        (errors.RedirectedError, Verdict.STOP),
        (errors.BadRequestError, Verdict.ROW_FAILS),
        (errors.AnswerTooLargeError, Verdict.ROW_FAILS),
        (errors.PromptTooLongError, Verdict.ROW_FAILS),
        (errors.PayloadTooLargeError, Verdict.ROW_FAILS),
        (errors.OverloadedError, Verdict.NOT_TAKEN),
        (errors.StartingError, Verdict.NOT_TAKEN),
        (errors.ConnectionFailedError, Verdict.NOT_TAKEN),
        (errors.ServerError, Verdict.TRY_AGAIN),
        (errors.InferenceTimeoutError, Verdict.TRY_AGAIN),
        (errors.MalformedAnswerError, Verdict.TRY_AGAIN),
        (errors.CutAnswerError, Verdict.TRY_AGAIN),
    ],
)
def test_every_error_has_one_verdict(error: type[errors.InferenceError], expected: Verdict) -> None:
    """The row is at fault, or the moment, or neither, or the batch ends."""
    assert expected is verdict(error())


def test_a_row_with_a_route_of_its_own_may_be_wrong_about_it() -> None:
    """Then a 404 is the row's."""
    assert verdict(errors.NotFoundError(), own_route=True) is Verdict.ROW_FAILS
    assert verdict(errors.EndpointPausedError(), own_route=True) is Verdict.STOP


def test_an_open_gate_admits_up_to_the_limit() -> None:
    """Nothing speaks against it."""
    gate = Gate()
    assert tuple(gate.admits(0.0, 8, busy) for busy in (0, 5, 8, 12)) == (8, 3, 0, 0)


def test_a_cold_endpoint_gets_one_probe_at_a_time() -> None:
    """One refusal before the first success closes the gate; a probe every interval; an answer opens it."""
    gate = Gate(probe_interval=5, patience=60)
    gate.refused(AWAY, 0.0, in_flight=7)
    assert gate.closed
    assert [gate.admits(now, 8, 0) for now in (4.9, 5.0)] == [0, 1]
    gate.sent(5.0)
    assert gate.admits(100.0, 8, 1) == 0
    gate.refused(AWAY, 6.0, in_flight=0)
    assert [gate.admits(now, 8, 0) for now in (10.9, 11.0)] == [0, 1]
    assert (gate.gave_up(60.0), gate.gave_up(60.1)) == (False, True)
    gate.answered()
    assert gate.admits(12.0, 8, 0) == 8
    assert not gate.gave_up(1000.0)


def test_refusals_between_answers_leave_it_open() -> None:
    """A replica that comes and goes is not an outage, and not a reason to pause; two in a row pause for a moment."""
    gate = Gate()
    for _ in range(100):
        gate.answered()
        gate.refused(AWAY, 1.0, in_flight=100)
    assert not gate.closed
    assert gate.admits(1.0, 128, 100) == 28
    gate.refused(AWAY, 1.0, in_flight=99)
    assert [gate.admits(now, 128, 99) for now in (1.05, 1.11)] == [0, 29]


def test_a_wave_of_an_overloaded_endpoint_leaves_it_open() -> None:
    """Ten of 32 were taken: it works, however many of the others it refused."""
    gate = Gate()
    gate.answered()
    for refusal in range(22):
        gate.refused(BUSY, 1.0, in_flight=31 - refusal)
    assert not gate.closed


def test_when_all_that_was_out_is_refused_it_closes() -> None:
    """The endpoint is away: one probe every few seconds."""
    gate = Gate(probe_interval=5)
    gate.answered()
    for refusal in range(8):
        gate.refused(AWAY, 1.0, in_flight=7 - refusal)
    assert gate.closed
    assert [gate.admits(now, 8, 0) for now in (1.2, 5.9, 6.0)] == [0, 0, 1]


def test_requests_that_hang_do_not_keep_it_open() -> None:
    """After ten pauses without an answer between them it closes, whatever is still out."""
    gate = Gate()
    gate.answered()
    for second in range(12):
        gate.refused(AWAY, float(second), in_flight=50)
    assert gate.closed


def test_retry_after_holds_everything() -> None:
    """Until the latest moment that any answer asked for, even when other answers come in."""
    gate = Gate()
    gate.answered()
    gate.refused(errors.OverloadedError(retry_after=5), 10.0, in_flight=50)
    gate.refused(errors.OverloadedError(retry_after=1), 10.0, in_flight=50)
    gate.answered()
    assert [gate.admits(now, 64, 6) for now in (10.0, 14.9)] == [0, 0]
    assert gate.opens_at(10.0) == 15.0
    assert gate.admits(15.0, 64, 6) > 0


def test_after_a_pause_that_was_asked_for_a_few_go_first() -> None:
    """One, then four times as many with each moment without a refusal, then all."""
    gate = Gate()
    gate.answered()
    gate.refused(errors.OverloadedError(retry_after=5), 10.1, in_flight=50, sent_at=10.0)
    now, out, seen = 15.1, 0, []
    for _ in range(5):
        may = gate.admits(now, 300, out)
        seen.append(may)
        for _ in range(may):
            gate.sent(now)
        out += may
        assert gate.admits(now, 300, out) == 0
        now = gate.opens_at(now)
    assert [1, 3, 12, 48, 192] == seen
    gate.refused(errors.OverloadedError(retry_after=5), now, in_flight=out, sent_at=now - 0.1)
    assert [gate.admits(moment, 300, out) for moment in (now, now + 4.9, now + 5.0)] == [0, 0, 1]


def test_connections_that_took_long_to_fail_are_no_reason_to_begin_slowly() -> None:
    """Two in a row after five seconds each: a few go first, and all of them again within three seconds."""
    gate, now = Gate(), 10.0
    gate.answered()
    for _ in range(2):
        gate.refused(errors.ConnectionFailedError("timed out"), now, in_flight=900, sent_at=now - 5.0)
    out, seen = 0, []
    while out < 1000 and now < 60.0:
        may = gate.admits(now, 1000, out)
        seen += [may] if may else []
        for _ in range(may):
            gate.sent(now)
        out += may
        now = max(gate.opens_at(now), now + 1e-6)
    assert seen[:3] == [1, 3, 12]
    assert out == 1000
    assert now <= 10.0 + 4.0


def places_freed(gate: Gate, taken: bool, seconds: float = 0.5, error: errors.InferenceError = AWAY) -> list[int]:
    """64 that were sent at 0 are answered one after the other; each place is offered to two requests, of which the
    first is taken or not. What was sent in each tenth of a second."""
    sent, out, now = [0] * int(10 * seconds), 64, 0.0
    while now < seconds - 1e-9:
        out -= 1
        gate.answered(0.0)
        for attempt in range(2):
            if gate.admits(now, 64, out) > 0:
                gate.sent(now)
                sent[int(10 * now + 1e-6)] += 1
                if taken and attempt == 0:
                    out += 1
                else:
                    gate.refused(error, now + 0.002, out, now)
        now += seconds / 64
    return sent


def test_an_endpoint_that_takes_nothing_for_what_it_finished_is_asked_now_and_then() -> None:
    """An outage in which what was taken before is still answered: a few requests, after which sending pauses, longer
    each time."""
    gate = Gate()
    gate.answered()
    sent = places_freed(gate, taken=False, seconds=4.0)
    assert 8 <= sum(sent) <= 20
    assert sum(sent[10:]) <= 4
    assert not gate.closed
    last = max(n for n, count in enumerate(sent) if count) / 10
    assert 0 == gate.admits(last + 0.5, 64, 0)


def test_a_full_endpoint_is_sent_what_it_takes() -> None:
    """One refused for each that is taken, or a word that it is full: the limit's to change, and no outage."""
    gate = Gate()
    gate.answered()
    assert min(places_freed(gate, taken=True)) >= 10
    others_were_faster = Gate()
    others_were_faster.answered()
    assert min(places_freed(others_were_faster, taken=False, error=BUSY)) >= 2
    assert not others_were_faster.takes_nothing


def test_what_was_sent_since_the_first_refusal_and_is_answered_ends_the_pauses() -> None:
    """It accepts requests again: sending continues as before, and old refusals no longer count."""
    gate = Gate()
    gate.answered()
    places_freed(gate, taken=False, seconds=1.0)
    now = gate.opens_at(1.0)
    assert 1 == gate.admits(now, 64, 0)
    gate.sent(now)
    gate.answered(now)
    gate.refused(AWAY, now + 0.5, 40, now + 0.49)
    assert 64 == gate.admits(now + 0.5, 64, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answered", "refused", "asked", "unclear", "send"]), st.floats(0, 30), st.integers(0, 50)
        ),
        max_size=60,
    )
)
def test_a_gate_never_undercuts_and_never_shuts_for_good(events: list[tuple[str, float, int]]) -> None:
    """Whatever happens: nothing before what was asked for, never more than the limit, and at last it lets one pass."""
    gate, now, asked = Gate(), 0.0, 0.0
    for what, later, out in events:
        now += later
        match what:
            case "answered":
                gate.answered(now - later)
            case "refused":
                gate.refused(AWAY, now, out, now - 0.1)
            case "asked":
                gate.refused(errors.OverloadedError(retry_after=7), now, out, now - 0.1)
                asked = now + 7
            case "unclear":
                gate.unclear()
            case "send":
                may = gate.admits(now, 8, out)
                assert 0 <= may <= max(int(gate.closed), 8 - out)
                assert may == 0 or now >= asked
                if may:
                    gate.sent(now)
    gate.unclear()
    for _ in range(12):
        now = max(now, gate.opens_at(now))
        if gate.admits(now, 8, 0):
            break
    assert gate.admits(now, 8, 0) > 0


def test_patience_is_learnt_from_the_answers() -> None:
    """All of it at first; then four times the slowest, more with every try, never more than the job allows."""
    patience = AdaptiveTimeout(600.0)
    for _ in range(99):
        patience.answered(2.0)
    assert patience.seconds(0) == 600.0
    patience.answered(2.0)
    assert [8.0, 32.0, 128.0, 512.0, 600.0] == [patience.seconds(failures) for failures in range(5)]
    patience.answered(50.0)
    assert patience.seconds(0) == 200.0
    for _ in range(10000):
        patience.answered(0.01)
    assert patience.seconds(0) == 5.0
    assert AdaptiveTimeout(5.0).seconds(3) == 5.0
