"""The one decision of every wait: state, goal, health and time in, verdict out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.endpoints.models import DELETED, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    RESUME_GRACE,
    EndpointSnapshot,
    Failed,
    Goal,
    Health,
    Ready,
    TimedOut,
    Wait,
    Wake,
    judge,
    judge_wake,
    needs_health,
)
from tests.unit.endpoints.play import NOW, endpoint

OK = Health(200)
UNKNOWN = "hibernating"
EVERY_STATE = [*InferenceEndpointStatus, UNKNOWN]


def goal(**changes: Any) -> Goal:
    return Goal(**{"started": NOW - timedelta(seconds=100), "deadline": NOW + timedelta(hours=1), **changes})


def targets(*states: str) -> dict[str, Any]:
    return {"target_states": frozenset(states)}


LATE = {"deadline": NOW}
RESUMED = {"resumed_at": NOW - timedelta(seconds=5)}
RESUMED_LONG_AGO = {"resumed_at": NOW - RESUME_GRACE}
JUST_BEGUN = {"started": NOW - timedelta(seconds=59)}
NO_URL = {"url": None}

TABLE: list[tuple[str, dict[str, Any], dict[str, Any], Health | None, type]] = [
    # state, goal, the endpoint's status, health, verdict
    ("pending", {}, {}, None, Wait),
    ("initializing", {}, {}, None, Wait),
    ("updating", {}, {}, None, Wait),
    (UNKNOWN, {}, {}, None, Wait),
    ("failed", {}, {}, None, Failed),
    ("updateFailed", {}, {}, None, Failed),
    ("pending", LATE, {}, None, TimedOut),
    ("initializing", LATE, {}, None, TimedOut),
    ("updating", LATE, {}, None, TimedOut),
    (UNKNOWN, LATE, {}, None, TimedOut),
    # What the snapshot shows comes before the deadline.
    ("failed", LATE, {}, None, Failed),
    ("updateFailed", LATE, {}, None, Failed),
    ("running", LATE, {}, OK, Ready),
    ("running", LATE, {}, Health(503), TimedOut),
    ("running", LATE, {}, None, TimedOut),
    # Running is not "the model answers".
    ("running", {}, {}, OK, Ready),
    ("running", {}, {}, None, Wait),
    ("running", {}, {}, Health(503, "Loading model"), Wait),
    ("running", {}, {}, Health(502), Wait),
    ("running", {}, {}, Health(404), Wait),
    ("running", {}, {}, Health(None, "connection refused"), Wait),
    ("running", {}, {}, Health(204), Wait),
    ("running", {}, {}, Health(401), Failed),
    ("running", {}, {}, Health(403), Failed),
    ("running", {"check_health": False}, {}, None, Ready),
    ("running", {"check_health": False}, {}, Health(503), Ready),
    ("running", {"check_health": False}, NO_URL, None, Ready),
    ("running", {}, NO_URL, None, Wait),
    ("running", LATE, NO_URL, None, TimedOut),
    # Paused ends the wait, unless somebody is resuming it.
    ("paused", {}, {}, None, Failed),
    ("paused", LATE, {}, None, Failed),
    ("paused", RESUMED, {}, None, Wait),
    ("paused", RESUMED_LONG_AGO, {}, None, Failed),
    ("paused", {**RESUMED, **LATE}, {}, None, TimedOut),
    # `targetReplica` "may remain nonzero on a paused endpoint": huggingface/harbor-hf, docs/endpoint-provisioning.md
    # and docs/architecture.md (2026-07-14). Whatever the replicas say, the grace is a minute.
    ("paused", {}, {"targetReplica": 1}, None, Failed),
    ("paused", LATE, {"targetReplica": 1}, None, Failed),
    ("paused", JUST_BEGUN, {"targetReplica": 1}, None, Wait),
    ("paused", {**JUST_BEGUN, **LATE}, {"targetReplica": 1}, None, TimedOut),
    ("paused", RESUMED_LONG_AGO, {"targetReplica": 1}, None, Failed),
    ("paused", {**RESUMED, "started": NOW - timedelta(hours=1)}, {"targetReplica": 1}, None, Wait),
    # Scaled to zero: by choice.
    ("scaledToZero", {}, {}, None, Wake),
    ("scaledToZero", LATE, {}, None, TimedOut),
    ("scaledToZero", {"on_scaled_to_zero": "accept"}, {}, None, Ready),
    ("scaledToZero", {"on_scaled_to_zero": "accept", **LATE}, {}, None, Ready),
    ("scaledToZero", {"on_scaled_to_zero": "fail"}, {}, None, Failed),
    # Other targets.
    ("paused", targets("paused"), {}, None, Ready),
    ("running", targets("paused"), {}, OK, Wait),
    ("initializing", targets("paused"), {}, None, Wait),
    ("scaledToZero", targets("paused"), {}, None, Wait),
    ("scaledToZero", {**targets("paused"), **LATE}, {}, None, TimedOut),
    ("failed", targets("paused"), {}, None, Failed),
    ("scaledToZero", targets("scaledToZero"), {}, None, Ready),
    ("scaledToZero", {**targets("scaledToZero"), "on_scaled_to_zero": "fail"}, {}, None, Ready),
    ("running", targets("scaledToZero"), {}, None, Wait),
    ("paused", targets("scaledToZero"), {}, None, Failed),
    ("scaledToZero", targets("running", "scaledToZero"), {}, None, Ready),
    ("paused", targets("running", "paused"), {}, None, Ready),
    ("failed", targets("failed", "running"), {}, None, Ready),
    ("updateFailed", targets("updateFailed"), {}, None, Ready),
    (UNKNOWN, targets(UNKNOWN), {}, None, Ready),
    *((state, targets(DELETED), {}, OK, Wait) for state in EVERY_STATE),
    *((state, {**targets(DELETED), **LATE}, {}, OK, TimedOut) for state in EVERY_STATE),
]


@pytest.mark.parametrize(("state", "changes", "status", "health", "verdict"), TABLE)
def test_what_each_look_means(
    state: str, changes: dict[str, Any], status: dict[str, Any], health: Health | None, verdict: type
) -> None:
    """Every state against every goal, with its health, before and after the deadline."""
    assert verdict is type(judge(EndpointSnapshot(endpoint(state, **status), health), goal(**changes), NOW))


@pytest.mark.parametrize("changes", [{}, LATE, targets("paused"), {"on_scaled_to_zero": "accept"}])
def test_an_endpoint_that_is_gone_ends_every_wait(changes: dict[str, Any]) -> None:
    """A deletion during the wait ends the wait with an error that names the deletion."""
    verdict = judge(EndpointSnapshot(None), goal(**changes), NOW)
    assert isinstance(verdict, Failed)
    assert "deleted" in verdict.reason


def test_an_endpoint_that_was_started_a_moment_ago_may_not_be_seen_yet() -> None:
    """Reads lag behind our create: for a minute, a missing endpoint ends the wait only at the deadline."""
    assert isinstance(judge(EndpointSnapshot(None), goal(**RESUMED), NOW), Wait)
    late = judge(EndpointSnapshot(None), goal(**RESUMED, **LATE), NOW)
    assert isinstance(late, TimedOut)
    assert "may still be starting" in late.reason
    assert isinstance(judge(EndpointSnapshot(None), goal(**RESUMED), NOW + RESUME_GRACE), Failed)


def test_an_endpoint_that_is_gone_is_what_a_deletion_waits_for() -> None:
    """Who waits for the deletion is ready when nothing is there."""
    assert Ready(None) == judge(EndpointSnapshot(None), goal(**targets(DELETED)), NOW)


@pytest.mark.parametrize("state", EVERY_STATE)
@pytest.mark.parametrize("target", EVERY_STATE)
def test_a_target_is_a_success_whatever_it_is(state: str, target: str) -> None:
    """The state that is waited for never fails a wait; no other state reaches it by itself."""
    verdict = judge(EndpointSnapshot(endpoint(state), OK), goal(**targets(target)), NOW)
    assert (state == target) is isinstance(verdict, Ready)


@pytest.mark.parametrize(
    ("state", "words"), [("failed", "failed to start"), ("updateFailed", "last update of the endpoint failed")]
)
def test_a_failure_says_why(state: str, words: str) -> None:
    """The state's message, the error message and what the debugger found are in the reason."""
    broken = endpoint(
        state, message="Endpoint failed to start", errorMessage="CUDA out of memory", agentMessage="use x4"
    )
    verdict = judge(EndpointSnapshot(broken), goal(), NOW)
    assert isinstance(verdict, Failed)
    for part in (words, state, "Endpoint failed to start", "CUDA out of memory", "use x4"):
        assert part in verdict.reason
    assert broken == verdict.endpoint


def test_a_failure_without_words_says_what_it_can() -> None:
    """No message, no None in the text."""
    verdict = judge(EndpointSnapshot(endpoint("failed")), goal(), NOW)
    assert isinstance(verdict, Failed)
    assert "None" not in verdict.reason


def test_a_wait_on_a_paused_endpoint_ends_whatever_its_replicas_say() -> None:
    """A wait without a deadline ends within the grace, although the service goes on to name a target of one replica.

    Source: `targetReplica` "may remain nonzero on a paused endpoint" (huggingface/harbor-hf, 2026-07-14).
    """
    began = NOW
    paused, wanted = endpoint("paused", targetReplica=1), goal(started=began, deadline=None)
    assert isinstance(judge(EndpointSnapshot(paused), wanted, began), Wait)
    assert isinstance(judge(EndpointSnapshot(paused), wanted, began + RESUME_GRACE), Failed)


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        ("initializing", {}, "may still be starting, and bills"),
        ("paused", RESUMED, "is still paused and does not bill"),
        ("scaledToZero", targets("paused"), "does not bill"),
        ("running", targets("paused"), "is running and billing"),
    ],
)
def test_a_timeout_says_whether_the_endpoint_bills(state: str, changes: dict[str, Any], words: str) -> None:
    """What to do after a timeout follows from the state: a paused endpoint is not described as starting."""
    verdict = judge(EndpointSnapshot(endpoint(state)), goal(**{**changes, **LATE}), NOW)
    assert isinstance(verdict, TimedOut)
    assert words in verdict.reason


def test_a_pause_is_named() -> None:
    """If the endpoint is paused while we wait, waiting ends with an error that names the pause and the way out."""
    verdict = judge(EndpointSnapshot(endpoint("paused")), goal(), NOW)
    assert isinstance(verdict, Failed)
    assert "paused" in verdict.reason
    assert "Resume it first" in verdict.reason


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_health_route_names_the_permission(status: int) -> None:
    """A token that manages and may not call would never see a 200: waiting ends, and says which permission it lacks."""
    verdict = judge(EndpointSnapshot(endpoint(), Health(status, "missing permissions")), goal(), NOW)
    assert isinstance(verdict, Failed)
    for part in (
        str(status),
        "inference.endpoints.infer.write",
        "https://tickets.example/health",
        "missing permissions",
    ):
        assert part in verdict.reason


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (Health(503, "Loading model"), "answers 503: Loading model"),
        (Health(None, "refused"), "cannot be reached: refused"),
    ],
)
def test_a_wait_says_what_it_waits_for(health: Health, words: str) -> None:
    """The reason of a wait, and of its timeout, tells what the health route said."""
    wait = judge(EndpointSnapshot(endpoint(), health), goal(), NOW)
    late = judge(EndpointSnapshot(endpoint(), health), goal(**LATE), NOW)
    assert isinstance(wait, Wait)
    assert isinstance(late, TimedOut)
    assert words in wait.reason
    assert words in late.reason
    assert "100 s" in late.reason
    assert "running and billing" in late.reason


def test_the_services_message_is_passed_on() -> None:
    """What the service says about a start is in the reason."""
    verdict = judge(EndpointSnapshot(endpoint("initializing", message="Pulling image")), goal(), NOW)
    assert isinstance(verdict, Wait)
    assert "Pulling image" in verdict.reason


@pytest.mark.parametrize(
    ("state", "changes", "url", "needed"),
    [
        ("running", {}, "https://x", True),
        ("running", {"check_health": False}, "https://x", False),
        ("running", {}, None, False),
        ("running", targets("paused"), "https://x", False),
        ("initializing", {}, "https://x", False),
        ("scaledToZero", {}, "https://x", False),
    ],
)
def test_when_health_is_asked(state: str, changes: dict[str, Any], url: str | None, needed: bool) -> None:
    """The health route is asked only where the answer decides; asking would wake what is scaled to zero."""
    assert needed is needs_health(endpoint(state, url=url), goal(**changes))


moments = st.floats(0, 10**7)


@settings(deadline=None)
@given(elapsed=moments, rng=st.floats(0, 1), longest=st.floats(0.01, 600), left=st.none() | st.floats(0.001, 10**6))
def test_pauses_are_within_bounds(elapsed: float, rng: float, longest: float, left: float | None) -> None:
    """No pause is longer than the caller's limit or reaches past the deadline, and none is nothing."""
    started = NOW - timedelta(seconds=elapsed)
    deadline = None if left is None else NOW + timedelta(seconds=left)
    verdict = judge(
        EndpointSnapshot(endpoint("pending")),
        Goal(started=started, deadline=deadline, longest_poll=longest),
        NOW,
        rng=lambda: rng,
    )
    assert isinstance(verdict, Wait)
    assert 0 < verdict.seconds <= longest * 1.000001
    if deadline is not None:
        assert verdict.seconds <= (deadline - NOW).total_seconds()


@settings(deadline=None)
@given(st.lists(moments, min_size=2, max_size=10))
def test_pauses_grow_with_the_wait(elapsed: list[float]) -> None:
    """Short at first, longer later: never shorter than after less waiting."""
    pauses = [pause(seconds, 0.5) for seconds in sorted(elapsed)]
    assert sorted(pauses) == pauses
    assert pause(0, 0.5) < pause(10**6, 0.5)


def pause(elapsed: float, rng: float) -> float:
    started = NOW - timedelta(seconds=elapsed)
    verdict = judge(EndpointSnapshot(endpoint("pending")), Goal(started=started), NOW, rng=lambda: rng)
    assert isinstance(verdict, Wait)
    return verdict.seconds


@pytest.mark.parametrize("elapsed", [0, 60, 6000])
def test_pauses_are_jittered(elapsed: float) -> None:
    """A thousand waits that began together do not ask together, also when their pauses have grown to the longest."""
    assert pause(elapsed, 0.0) < pause(elapsed, 0.5) < pause(elapsed, 1.0)


def test_a_clock_that_went_back_is_no_negative_pause() -> None:
    """A wait that seems to begin in the future pauses like one that begins now."""
    assert pause(0, 0.5) == pause(-1000, 0.5)


@settings(deadline=None)
@given(
    state=st.sampled_from(EVERY_STATE),
    target=st.sampled_from([*EVERY_STATE, DELETED]),
    on_zero=st.sampled_from(["wake", "accept", "fail"]),
    health=st.sampled_from([None, OK, Health(401), Health(503), Health(None)]),
    late=st.floats(0, 10**6),
    resumed=st.booleans(),
    gone=st.booleans(),
)
def test_no_wait_outlasts_its_deadline(
    state: str, target: str, on_zero: Any, health: Health | None, late: float, resumed: bool, gone: bool
) -> None:
    """At and after the deadline every look ends the wait, whatever it shows."""
    wanted = Goal(
        started=NOW - timedelta(days=1),
        deadline=NOW,
        target_states=frozenset({target}),
        on_scaled_to_zero=on_zero,
        resumed_at=NOW if resumed else None,
    )
    snapshot = EndpointSnapshot(None if gone else endpoint(state), health)
    verdict = judge(snapshot, wanted, NOW + timedelta(seconds=late))
    assert isinstance(verdict, Ready | Failed | TimedOut)


def test_a_deadline_is_a_moment_and_no_duration() -> None:
    """Who takes up the wait of a killed process gets the rest of its time, not all of it again."""
    wanted = goal(started=NOW - timedelta(hours=2), deadline=NOW)
    assert isinstance(judge(EndpointSnapshot(endpoint("pending")), wanted, NOW), TimedOut)
    assert isinstance(judge(EndpointSnapshot(endpoint("pending")), wanted, NOW - timedelta(seconds=1)), Wait)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_states": frozenset()}, "target_states"),
        ({"longest_poll": 0}, "poll"),
        ({"longest_poll": -1}, "poll"),
        ({"started": datetime(2026, 10, 5)}, "time zone"),
        ({"deadline": datetime(2026, 10, 5)}, "time zone"),
        ({"resumed_at": datetime(2026, 10, 5)}, "time zone"),
    ],
)
def test_goals_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    """A goal that could never be reached, or would be asked for without a pause, is refused at once."""
    with pytest.raises(ValueError, match=words):
        Goal(**{"started": NOW, **changes})


@pytest.mark.parametrize("status", [401, 403])
def test_a_wake_that_is_refused_ends_the_wait(status: int) -> None:
    """A 401 does not wake an endpoint, so repeating the call until the deadline would be waiting for nothing."""
    asleep = endpoint("scaledToZero")
    verdict = judge_wake(Wake(1.0, "waking"), asleep, Health(status))
    assert isinstance(verdict, Failed)
    assert "inference.endpoints.infer.write" in verdict.reason
    assert "scaled to zero" in verdict.reason


@pytest.mark.parametrize("health", [Health(503), Health(200), Health(None), Health(404)])
def test_a_wake_that_arrived_is_waited_for(health: Health) -> None:
    """At once 503 is what the proxy answers to the request that wakes."""
    assert Wake(1.0, "waking") == judge_wake(Wake(1.0, "waking"), endpoint("scaledToZero"), health)
