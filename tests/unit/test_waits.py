"""A wait as it travels through Airflow: as values, as an event, and into the end of a task."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.errors import (
    AuthenticationError,
    EndpointFailedError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
    RateLimitError,
)
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Goal, Ready, TimedOut
from airflow_provider_hf_endpoints.waits import (
    ProgressLog,
    WaitBrokenError,
    WaitSpec,
    conclude,
    deadline_after,
    event_of,
    event_of_error,
)
from tests.unit.endpoints.play import endpoint

TOKEN = "hf_WaitsSecretToken"


def test_the_tightest_limit_counts() -> None:
    """Seconds and timedeltas mix, absent ones do not count, and without any there is no deadline."""
    assert deadline_after(100.0, 60, timedelta(seconds=5), None) == 105.0
    assert deadline_after(100.0, None, None) is None


@pytest.mark.parametrize("limit", [0, -1, timedelta(0)])
def test_a_limit_that_is_over_before_it_begins(limit: Any) -> None:
    """It would look like a timeout of the endpoint."""
    with pytest.raises(InvalidArgumentError, match=r"is not valid. Give a positive number of seconds"):
        deadline_after(100.0, 60, limit)


def test_a_goal_holds_the_same_moments() -> None:
    """Seconds since the epoch become aware moments, and nothing is lost on the way."""
    spec = WaitSpec("demo", "acme", 1000.0, 1060.0, ("running", "paused"), "accept", 1001.0, False, 5.0)
    goal = spec.goal()
    assert (goal.started.timestamp(), goal.deadline.timestamp() if goal.deadline else None) == (1000.0, 1060.0)
    assert (goal.resumed_at.timestamp() if goal.resumed_at else None) == 1001.0
    assert (frozenset({"running", "paused"}), "accept", False, 5.0) == (
        goal.target_states,
        goal.on_scaled_to_zero,
        goal.check_health,
        goal.longest_poll,
    )


def test_defaults_agree_with_the_decision_function() -> None:
    """A wait that says nothing is a goal that says nothing."""
    goal = WaitSpec("demo", None, 1000.0).goal()
    assert goal == Goal(started=goal.started)


def test_seconds_left_are_by_the_wall() -> None:
    """Below zero after the deadline; None without a deadline."""
    assert WaitSpec("demo", None, 0.0).seconds_left is None
    left = WaitSpec("demo", None, 0.0, time.time() - 10).seconds_left
    assert left is not None
    assert left < 0


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Ready(endpoint()), "ready"),
        (Ready(None), "ready"),
        (Failed(f"because of {TOKEN}", endpoint("failed")), "failed"),
        (Failed("gone"), "failed"),
        (TimedOut("late", endpoint("pending")), "timeout"),
    ],
)
def test_events_are_small_json_without_tokens(end: Any, status: str) -> None:
    """They are stored in the metadata database and logged."""
    event = event_of(end, "tickets")
    assert event == json.loads(json.dumps(event))
    assert (status, "tickets") == (event["status"], event["name"])
    assert TOKEN not in json.dumps(event)
    if end.endpoint is not None:
        assert set(end.endpoint.summary()) == set(event["endpoint"])


def test_a_long_reason_is_cut() -> None:
    """A service that quotes a page of HTML must not fill the database."""
    assert len(json.dumps(event_of(Failed("x" * 100_000), "tickets"))) < 5000


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (AuthenticationError("no", method="GET", path="/x", status=401), False),
        (RateLimitError("slow", method="GET", path="/x", status=429), True),
        (InvalidArgumentError("bad"), False),
        (KeyError("a bug"), True),
    ],
)
def test_errors_say_whether_a_retry_can_help(error: Exception, retryable: bool) -> None:
    """And the end of the wait says the same."""
    event = event_of_error(error, "tickets")
    assert ("error", retryable) == (event["status"], event["retryable"])
    with pytest.raises(WaitBrokenError) as caught:
        conclude(event)
    assert retryable is caught.value.retryable


def test_the_end_of_a_good_wait() -> None:
    """The summary, or nothing where the goal was a deletion."""
    assert endpoint().summary() == conclude(event_of(Ready(endpoint()), "tickets"))
    assert conclude(event_of(Ready(None), "tickets")) is None


def test_a_timeout() -> None:
    """It is a TimeoutError too, and names the endpoint."""
    with pytest.raises(InferenceEndpointTimeoutError, match="'tickets': late"):
        conclude(event_of(TimedOut("late"), "tickets"))


@pytest.mark.parametrize("state", ["failed", "updateFailed"])
def test_what_broke_is_explained(state: str) -> None:
    """Who explains gets what the state says and gives the whole text, so that it can redact all of it."""
    event = event_of(Failed("the reason", endpoint(state)), "tickets")
    with pytest.raises(
        EndpointFailedError, match=rf"'tickets': THE .*ENDPOINT.*\(STATE {state.upper()}\)\. and the log"
    ):
        conclude(event, lambda reason: f"{reason.upper()} and the log")


def test_an_event_repeats_no_message_of_a_container() -> None:
    """Events are stored and logged, and the triggerer does not know the endpoint's secrets."""
    said = {"status": {"state": "failed", "message": "printed s3cr3t", "errorMessage": "KEY=s3cr3t"}}
    broken = InferenceEndpoint.from_raw({"name": "tickets", **said}, "acme")
    assert "s3cr3t" not in json.dumps(event_of(Failed("it says s3cr3t", broken), "tickets"))


@pytest.mark.parametrize("snapshot", [None, endpoint("paused"), endpoint("running"), endpoint("scaledToZero")])
def test_what_did_not_break_is_not_explained(snapshot: Any) -> None:
    """The log of an endpoint that is paused or gone is not read."""
    with pytest.raises(EndpointFailedError, match="the reason"):
        conclude(event_of(Failed("the reason", snapshot), "tickets"), lambda _: pytest.fail("asked to explain"))


@pytest.mark.parametrize("event", [None, {}, {"status": "of tomorrow", "name": "tickets"}, {"status": "error"}])
def test_an_event_that_is_not_understood_is_an_error(event: Any) -> None:
    """Never a success; and a retry may help, because it was another version's."""
    with pytest.raises(InferenceEndpointError) as caught:
        conclude(event)
    assert caught.value.retryable


def test_progress_is_told_at_changes_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log line blocks the event loop of the triggerer: a thousand waits that chatter would hold it up."""
    now = 1000.0
    monkeypatch.setattr("airflow_provider_hf_endpoints.waits.time.monotonic", lambda: now)
    said: list[str] = []
    log = ProgressLog(said.append)
    for _ in range(3):
        log("pending")
    log("initializing")
    log("initializing")
    assert said == ["pending", "initializing"]
    now += 61
    log("initializing")
    assert said == ["pending", "initializing", "initializing"]
