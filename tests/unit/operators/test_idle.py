"""When the watch of an endpoint that waits for its work ends, and how."""

from __future__ import annotations

import pytest

from airflow_provider_hf_endpoints.operators.using.idle_trigger import Idleness, verdict

MAX_IDLE, ENDS = 100.0, 1000.0
STARTED = Idleness(begun=True, since=0.0)


@pytest.mark.parametrize("state", ["running", "success", "failed", "deferred", "up_for_retry", "up_for_reschedule"])
def test_one_task_that_has_begun_ends_the_watch(state: str) -> None:
    """Whatever became of it, and whatever the others wait for."""
    assert "work has begun" == verdict(["None", state, "queued"], STARTED, MAX_IDLE, ENDS, 50.0)


@pytest.mark.parametrize("state", ["skipped", "upstream_failed", "removed"])
def test_a_task_that_is_left_out_has_not_begun(state: str) -> None:
    """The others may still wait for a slot; if there are no others, there is no wait."""
    assert "watch" == verdict([state, "scheduled"], STARTED, MAX_IDLE, ENDS, 50.0)
    assert "idle" == verdict([state, "scheduled"], STARTED, MAX_IDLE, ENDS, 100.0)
    assert "work has begun" == verdict([state, state], STARTED, MAX_IDLE, ENDS, 50.0)


@pytest.mark.parametrize("states", [[], ["None"], ["scheduled", "queued"], ["no_status"]])
def test_work_that_does_not_begin_ends_in_time(states: list[str]) -> None:
    """From the end of the start, or at the end that the watch has in any case."""
    assert "watch" == verdict(states, STARTED, MAX_IDLE, ENDS, 99.0)
    assert "idle" == verdict(states, STARTED, MAX_IDLE, ENDS, 100.0)
    assert "watch" == verdict(states, Idleness(), MAX_IDLE, ENDS, 999.0)
    assert "idle" == verdict(states, Idleness(), MAX_IDLE, ENDS, 1000.0)


def test_the_time_counts_from_the_end_of_the_start() -> None:
    """A start that was at work and waits for a slot again has its endpoint."""
    idle = Idleness().after("None", 1.0)
    assert idle.since is None
    idle = idle.after("deferred", 2.0).after("running", 3.0)
    assert idle.since is None
    assert 4.0 == idle.after("scheduled", 4.0).since
    assert 5.0 == idle.after("success", 5.0).after("success", 9.0).since
