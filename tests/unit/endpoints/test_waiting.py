"""Waiting as a flow, the service's part and the clock played by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.models import DELETED
from airflow_provider_hf_endpoints.endpoints.waiting import wait as flow
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Goal, Ready, TimedOut, Wait, Wake
from airflow_provider_hf_endpoints.endpoints.waiting.wait import LONGEST_OUTAGE
from tests.unit.endpoints.play import NOW, Play, raw

GET = "GET /v2/endpoint/acme/tickets"
HEALTH = "GET https://tickets.example/health"
NOT_FOUND = errors.EndpointNotFoundError("Not Found", status=404)
NO_NAMES: dict[str, Any] = {"items": []}
LOADING = errors.ServiceError("Loading model", status=503)
BUSY = errors.ServiceError("Service Unavailable", status=503)
HEALTHY: dict[str, Any] = {}


def goal(**changes: Any) -> Goal:
    return Goal(**{"started": NOW, "deadline": NOW + timedelta(hours=1), **changes})


def wait(play: Play, **changes: Any) -> Any:
    return play.run(flow.wait(play.session, "tickets", None, goal(**changes)))


def test_a_start_is_waited_for() -> None:
    """From pending to the health route's 200, with a pause between every two looks."""
    play = Play(raw("pending"), raw("initializing"), raw("running"), LOADING, raw("running"), HEALTHY)
    end = wait(play)
    assert isinstance(end, Ready)
    assert play.asked == [GET, GET, GET, HEALTH, GET, HEALTH]
    assert len(play.pauses) == 3


def test_looks_are_not_tried_again_by_themselves() -> None:
    """A look that fails is followed by the next look: the client adds no retries to it."""
    play = Play(raw("running"), HEALTHY)
    wait(play)
    assert [request.once for request in play.requests] == [True, True]


def test_every_look_is_told() -> None:
    """After each look the caller gets the reason why the wait continues."""
    reasons: list[str] = []
    play = Play(raw("initializing", message="Pulling image"), BUSY, raw("running"), HEALTHY)
    play.run(flow.wait(play.session, "tickets", None, goal(), reasons.append))
    assert len(reasons) == 2
    assert "Pulling image" in reasons[0]
    assert "Service Unavailable" in reasons[1]


@pytest.mark.parametrize("state", ["failed", "updateFailed", "paused"])
def test_an_end_is_an_end(state: str) -> None:
    """A wait ends at once where nothing will come of it."""
    play = Play(raw("pending"), raw(state))
    assert isinstance(wait(play), Failed)


def test_a_deletion_ends_the_wait() -> None:
    """If the endpoint is deleted while we wait, waiting ends with an error that names the deletion."""
    end = wait(Play(raw("pending"), NOT_FOUND, NO_NAMES))
    assert isinstance(end, Failed)
    assert "deleted" in end.reason


def test_a_wrong_name_is_answered_with_the_nearest_one() -> None:
    """One page of names is asked for; if the page fails, too, the error is the one about the endpoint."""
    end = wait(Play(NOT_FOUND, {"items": [raw("running") | {"name": "ticket"}, raw("paused") | {"name": "other"}]}))
    assert isinstance(end, Failed)
    assert end.reason.startswith("No endpoint 'tickets' in namespace 'acme'. Did you mean 'ticket'?")
    end = wait(Play(NOT_FOUND, BUSY))
    assert isinstance(end, Failed)
    assert "Did you mean" not in end.reason


def test_a_deletion_can_be_waited_for() -> None:
    """The same 404 is the success of a wait for the deletion."""
    assert isinstance(wait(Play(raw("running"), NOT_FOUND), target_states=frozenset({DELETED})), Ready)


def test_an_endpoint_at_zero_is_woken_by_one_request_a_look() -> None:
    """The wake-up call goes to the health route, authorised; its 503 is what a waking endpoint answers."""
    play = Play(raw("scaledToZero"), BUSY, raw("initializing"), raw("running"), HEALTHY)
    assert isinstance(wait(play), Ready)
    assert play.asked == [GET, HEALTH, GET, GET, HEALTH]


@pytest.mark.parametrize("choice", ["accept", "fail"])
def test_an_endpoint_at_zero_is_left_alone_by_choice(choice: str) -> None:
    """Accepted or refused, no request is sent that would start it."""
    play = Play(raw("scaledToZero"))
    wait(play, on_scaled_to_zero=choice)
    assert play.asked == [GET]


@pytest.mark.parametrize("status", [401, 403])
def test_a_wake_that_is_refused_ends_the_wait(status: int) -> None:
    """A token that may not call the endpoint does not wake it: the permission is named instead of waiting."""
    refusal = errors.AuthenticationError if status == 401 else errors.PermissionDeniedError
    end = wait(Play(raw("scaledToZero"), refusal("no", status=status)))
    assert isinstance(end, Failed)
    assert "inference.endpoints.infer.write" in end.reason


@pytest.mark.parametrize(
    "error",
    [
        BUSY,
        errors.RateLimitError("slow down", status=429),
        errors.RequestTimeoutError("late"),
        errors.ConnectionLostError("cut"),
        errors.ServiceUnreachableError("refused"),
        errors.InvalidAnswerError("not JSON", status=200),
        errors.InvalidAnswerError("redirected to a page", status=302, retryable=False),
    ],
    ids=lambda error: type(error).__name__,
)
def test_passing_errors_are_ridden_out(error: Exception) -> None:
    """Whatever passes by itself costs a wait no more than a pause."""
    play = Play(error, error, raw("running"), HEALTHY)
    assert isinstance(wait(play), Ready)


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("no", status=401),
        errors.PermissionDeniedError("no", status=403),
        errors.BadRequestError("no", status=400),
        errors.ServiceError("not here", status=501),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_cannot_mend_is_raised(error: Exception) -> None:
    """A refused token ends the wait with the typed error, at once."""
    play = Play(error)
    with pytest.raises(type(error)):
        wait(play)
    assert play.pauses == []


def test_an_odd_endpoint_is_ridden_out() -> None:
    """An answer that is not an endpoint is an outage like any other."""
    assert isinstance(wait(Play([], {"name": "x"}, raw("running"), HEALTHY)), Ready)


def test_retry_after_is_honoured() -> None:
    """The service says when to come back: not earlier."""
    play = Play(errors.RateLimitError("slow down", status=429, retry_after=42.0), raw("running"), HEALTHY)
    wait(play)
    assert play.pauses == [42.0]


def test_retry_after_does_not_reach_past_the_deadline() -> None:
    """The deadline holds against the service's wish, and there is a last look at it."""
    play = Play(errors.RateLimitError("slow down", status=429, retry_after=3600.0), raw("pending"))
    end = wait(play, deadline=NOW + timedelta(seconds=10))
    assert isinstance(end, TimedOut)
    assert play.pauses == [10.0]


def test_an_outage_without_end_ends_the_wait() -> None:
    """A wait without a deadline does not ask a dead service forever, and the error has the last failure."""
    play = Play(*([BUSY] * 1000))
    end = wait(play, deadline=None)
    assert isinstance(end, Failed)
    assert "Service Unavailable" in end.reason
    assert LONGEST_OUTAGE <= play.clock.now - NOW < 2 * LONGEST_OUTAGE


def test_an_answer_in_between_ends_the_outage() -> None:
    """Two short outages are not a long one."""
    half = [BUSY] * int(LONGEST_OUTAGE.total_seconds() / 5 * 0.8)
    play = Play(*half, raw("pending"), *half, raw("running"), HEALTHY)
    assert isinstance(wait(play, deadline=None), Ready)


def test_the_deadline_ends_an_outage() -> None:
    """At the deadline the last error is in the reason."""
    end = wait(Play(*([BUSY] * 100)), deadline=NOW + timedelta(seconds=30))
    assert isinstance(end, TimedOut)
    assert "Service Unavailable" in end.reason


def test_a_late_start_is_still_a_success() -> None:
    """The look at the deadline counts: ready is ready."""
    play = Play(raw("pending"), raw("running"), HEALTHY)
    play.clock.forward(3599.5)
    assert isinstance(wait(play), Ready)


def test_a_wait_taken_up_again_has_only_the_rest_of_its_time() -> None:
    """The deadline is a moment: a second process does not start a new one."""
    play = Play(raw("pending"))
    play.clock.forward(3600)
    assert isinstance(wait(play), TimedOut)
    assert play.pauses == []


def test_a_poll_is_one_look() -> None:
    """For a sensor that pokes: one look, its verdict, no pause."""
    play = Play(raw("pending"), BUSY, raw("scaledToZero"), BUSY)
    verdicts = [play.run(flow.poll(play.session, "tickets", None, goal())) for _ in range(3)]
    assert isinstance(verdicts[0], Wait)
    assert isinstance(verdicts[1], Wait)
    assert isinstance(verdicts[2], Wake)
    assert play.pauses == []


def test_without_a_url_health_is_not_known() -> None:
    """Nowhere to ask is a finding, not a crash; the next look may have the address."""
    play = Play(raw("running", url=None), raw("running"), HEALTHY)
    assert isinstance(wait(play), Ready)
    assert play.asked == [GET, GET, HEALTH]
