"""The emulator's state machine and meter, as pure functions: no clock, no server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.emulator.service import meter, state
from airflow_provider_hf_endpoints.emulator.service.record import SERVING, Endpoint, State
from airflow_provider_hf_endpoints.emulator.service.state import Refused
from airflow_provider_hf_endpoints.emulator.settings import Behaviour

SLOW = Behaviour(pending_seconds=10, initializing_seconds=30, updating_seconds=20, deleting_seconds=5)


def endpoint(
    behaviour: Behaviour = SLOW, *, minimum: int = 0, maximum: int = 1, timeout: int | None = 15, price: float = 3.6
) -> Endpoint:
    scaling = {"minReplica": minimum, "maxReplica": maximum, "scaleToZeroTimeout": timeout}
    spec: dict[str, Any] = {"compute": {"scaling": scaling}, "model": {"repository": "org/model"}}
    return Endpoint(
        id="e",
        namespace="acme",
        name="demo",
        spec=spec,
        price_per_hour=price,
        behaviour=behaviour,
        seconds_per_minute=60.0,
        scale_down_window=300.0,
        created_at=0.0,
        created_by="acme",
        updated_at=0.0,
        updated_by="acme",
    )


def running(behaviour: Behaviour = SLOW, **scaling: Any) -> Endpoint:
    """Started at 0, running since 40."""
    made = state.advance(state.start(endpoint(behaviour, **scaling), 0.0), 40.0)
    assert made.state is State.RUNNING
    return made


def moments(one: Endpoint) -> list[tuple[float, str]]:
    return [(moment.at, moment.state) for moment in one.history]


def test_a_start_takes_its_time() -> None:
    """pending until 10, initializing until 40, then running; each at its own moment."""
    started = state.start(endpoint(), 0.0)
    for now, expected in (
        (0, "pending"),
        (9.9, "pending"),
        (10, "initializing"),
        (39.9, "initializing"),
        (40, "running"),
    ):
        assert state.advance(started, now).state == expected
    assert moments(state.advance(started, 41)) == [(0, "pending"), (10, "initializing"), (40, "running")]
    assert state.next_change_at(started) == 10


@given(looks=st.lists(st.floats(0, 5000), max_size=30))
def test_looking_changes_nothing(looks: list[float]) -> None:
    """However often and whenever it is looked at, the endpoint ends the same."""
    started = state.start(endpoint(), 0.0)
    looked = started
    for now in sorted(looks):
        looked = state.advance(looked, now)
    assert state.advance(looked, 5000) == state.advance(started, 5000)


def test_idle_to_zero_at_its_moment() -> None:
    """The idle timeout ends at its exact second, even without a request for a day."""
    late = state.advance(running(), 86_400)
    assert late.state is State.SCALED_TO_ZERO
    assert moments(late)[-1] == (40 + 900, "scaledToZero")
    assert meter.measure(late, 86_400)["states"]["running"]["seconds"] == 900


def test_a_request_in_flight_is_not_idle() -> None:
    """A long request keeps it running; the idle time counts from its end."""
    busy = state.request_begins(running(), 50.0)
    assert state.advance(busy, 5000).state is State.RUNNING
    done = state.request_ends(busy, 5000.0)
    assert state.advance(done, 5899).state is State.RUNNING
    assert state.advance(done, 5900).state is State.SCALED_TO_ZERO


def test_never_idle_with_a_minimum() -> None:
    assert state.advance(running(minimum=1), 10**9).state is State.RUNNING


def test_wake() -> None:
    """Only scaledToZero is woken, straight to initializing."""
    zero = state.scale_to_zero(running(), 50.0)
    woken = state.wake(zero, 60.0)
    assert woken.state is State.INITIALIZING
    assert state.advance(woken, 90.0).state is State.RUNNING
    for other in (running(), state.pause(running(), 50.0), state.start(endpoint(), 0.0)):
        assert state.wake(other, 60.0).history == state.advance(other, 60.0).history


def test_pause_ends_what_was_planned() -> None:
    paused = state.pause(state.start(endpoint(), 0.0), 15.0)
    assert state.advance(paused, 10**6).state is State.PAUSED
    assert paused.live == ()


@pytest.mark.parametrize("at", [5.0, 20.0, 50.0])
def test_resume_is_refused_where_something_runs_or_starts(at: float) -> None:
    with pytest.raises(Refused, match="already running"):
        state.resume(state.advance(state.start(endpoint(), 0.0), at), at)


def test_scale_to_zero_is_refused_without_a_timeout() -> None:
    with pytest.raises(Refused, match="workload cannot be scaled to zero"):
        state.scale_to_zero(running(minimum=1, timeout=None), 50.0)


def test_failing_starts_are_counted() -> None:
    """The first two starts fail, the third runs."""
    one = state.start(endpoint(replace(SLOW, fail="boom", fail_starts=2)), 0.0)
    for start_at in (0.0, 100.0, 200.0):
        one = state.advance(one, start_at + 50)
        assert (one.state, one.error) == ((State.FAILED, "boom") if start_at < 200 else (State.RUNNING, None))
        if start_at < 200:
            one = state.resume(one, start_at + 100)


def test_update_changes_the_price_when_the_new_version_serves() -> None:
    """The old replicas serve, and cost their own price, until the new ones take over."""
    before = running(price=3.6)
    updating = state.update(before, 100.0, spec=before.spec, price_per_hour=7.2, behaviour=before.behaviour, by="acme")
    assert updating.state is State.UPDATING
    done = state.advance(updating, 120.0)
    assert (done.state, done.version) == (State.RUNNING, 2)
    assert [(r.price_per_hour, r.started_at, r.stopped_at) for r in done.replicas] == [(3.6, 10, 120), (7.2, 120, None)]
    # 110 s at 3.6 and 80 s at 7.2 dollars an hour
    assert meter.measure(done, 200.0)["usd"] == pytest.approx((110 * 3.6 + 80 * 7.2) / 3600)


def test_update_of_what_starts_begins_again() -> None:
    starting = state.advance(state.start(endpoint(), 0.0), 20.0)
    again = state.update(
        starting, 20.0, spec=starting.spec, price_per_hour=1.0, behaviour=starting.behaviour, by="acme"
    )
    assert again.state is State.PENDING
    assert state.advance(again, 60.0).state is State.RUNNING


def test_failed_update_leaves_the_replicas() -> None:
    failing = running(replace(SLOW, fail_update="no"))
    updating = state.update(failing, 50.0, spec=failing.spec, price_per_hour=1, behaviour=failing.behaviour, by="me")
    failed = state.advance(updating, 70.0)
    assert (failed.state, failed.error) == (State.UPDATE_FAILED, "no")
    assert failed.live == failing.live


def test_delete_stops_the_meter_at_once() -> None:
    """DELETE stops every replica; what is deleted takes no other order."""
    gone = state.delete(running(), 140.0)
    assert gone.gone_at == 145.0
    assert meter.measure(gone, 1000.0)["billed_seconds"] == 130
    for act in (state.pause, state.resume, state.scale_to_zero):
        with pytest.raises(Refused, match="being deleted"):
            act(gone, 141.0)
    assert state.delete(gone, 142.0) == gone


# ------------------------------------------------------------------------------------------- autoscaling


def begin(one: Endpoint, count: int, at: float) -> Endpoint:
    for _ in range(count):
        one = state.request_begins(one, at)
    return one


def test_scale_up_after_its_window() -> None:
    """More than 1.5 pending per replica for 20 s: as many replicas as 1.5 each need, at most maxReplica."""
    busy = begin(running(minimum=1, maximum=8), 4, 100.0)
    assert state.advance(busy, 119.9).target_replica == 1
    grown = state.advance(busy, 120.0)
    assert (grown.target_replica, grown.ready_replica(120.0), grown.ready_replica(150.0)) == (3, 1, 3)
    assert state.advance(begin(running(minimum=1, maximum=2), 40, 100.0), 120.0).target_replica == 2


def test_the_window_starts_again_when_the_load_falls() -> None:
    """Two pending, then one, then two: only the last stretch counts. 1.5 itself is not over."""
    busy = begin(running(minimum=1, maximum=2), 2, 100.0)
    busy = state.request_ends(busy, 115.0)
    busy = state.request_begins(busy, 116.0)
    assert state.advance(busy, 135.9).target_replica == 1
    assert state.advance(busy, 136.0).target_replica == 2


def test_the_threshold_can_be_set() -> None:
    """`measure: {"pendingRequests": 4}` allows four per replica."""
    one = running(minimum=1, maximum=4)
    one.spec["compute"]["scaling"]["measure"] = {"pendingRequests": 4}
    assert state.advance(begin(one, 4, 100.0), 200.0).target_replica == 1
    assert state.advance(begin(one, 5, 100.0), 200.0).target_replica == 2


def test_scale_down_after_its_window() -> None:
    """Too little load for 300 s takes replicas away, never below the minimum, the newest first."""
    grown = state.advance(begin(running(minimum=1, maximum=4), 6, 100.0), 200.0)
    assert grown.target_replica == 4
    for _ in range(6):
        grown = state.request_ends(grown, 300.0)
    assert state.advance(grown, 599.0).target_replica == 4
    shrunk = state.advance(grown, 600.0)
    assert shrunk.target_replica == 1
    assert shrunk.live == grown.replicas[:1]


# ------------------------------------------------------------------------------------------- the meter


def test_the_meter_by_state_and_replica() -> None:
    """Two replicas: initializing and running are billed, pending and paused are free."""
    paused = state.pause(running(minimum=2, maximum=2, price=3.6), 100.0)
    measured = meter.measure(paused, 500.0)
    assert {name: line["seconds"] for name, line in measured["states"].items()} == {
        "pending": 10,
        "initializing": 30,
        "running": 60,
        "paused": 400,
    }
    assert {name: line["replica_seconds"] for name, line in measured["states"].items()} == {
        "pending": 0,
        "initializing": 60,
        "running": 120,
        "paused": 0,
    }
    assert measured["usd"] == pytest.approx(180 * 3.6 / 3600)
    assert [replica["seconds"] for replica in measured["replicas"]] == [90, 90]
    assert measured["usd_by_minute"] == pytest.approx(2 * 2 * 60 * 3.6 / 3600)


Act = st.tuples(st.floats(0, 400), st.sampled_from(["pause", "resume", "zero", "wake", "begin", "end", "update"]))


@given(acts=st.lists(Act, max_size=25))
def test_the_meter_adds_up(acts: list[tuple[float, str]]) -> None:
    """Whatever is done: states cover the whole time, their cost is the replicas', and only four of them cost."""
    one, now = state.start(endpoint(minimum=0, maximum=3), 0.0), 0.0
    for pause, act in acts:
        now += pause
        one = state.advance(one, now)
        try:
            match act:
                case "pause":
                    one = state.pause(one, now)
                case "resume":
                    one = state.resume(one, now)
                case "zero":
                    one = state.scale_to_zero(one, now)
                case "wake":
                    one = state.wake(one, now)
                case "begin" if one.state in SERVING:
                    one = state.request_begins(one, now)
                case "end" if one.pending:
                    one = state.request_ends(one, now)
                case "update":
                    one = state.update(one, now, spec=one.spec, price_per_hour=7.2, behaviour=SLOW, by="me")
        except Refused:
            continue
    now += 1000
    one = state.advance(one, now)
    measured = meter.measure(one, now)
    states = measured["states"]
    assert sum(line["seconds"] for line in states.values()) == pytest.approx(now)
    assert sum(line["usd"] for line in states.values()) == pytest.approx(measured["usd"])
    billed = {name for name, line in states.items() if line["usd"] > 0}
    assert billed <= {"initializing", "running", "updating", "updateFailed"}
    assert [moment.at for moment in one.history] == sorted(moment.at for moment in one.history)
    assert one.target_replica == len(one.live) or one.state is State.PENDING
