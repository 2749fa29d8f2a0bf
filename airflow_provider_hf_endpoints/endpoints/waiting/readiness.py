"""What a look at an endpoint means for a wait: one decision for all waits of the project.

Hook, operators, sensor and trigger all ask `judge`; they differ only in how they fetch and sleep. Nothing here does
I/O or reads a clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from airflow_provider_hf_endpoints.endpoints.models import (
    BROKEN,
    DELETED,
    PARKED,
    InferenceEndpoint,
    InferenceEndpointStatus,
)

OnScaledToZero = Literal["wake", "accept", "fail"]

SHORTEST_POLL = 1.0  # seconds
#: Why a wait fails for an endpoint that is not there. Who can ask says `wait.why_missing` instead.
MISSING = "The endpoint does not exist. Check its name and namespace. Somebody may also have deleted it."
LONGEST_POLL = 30.0  # seconds
_JITTER = 0.2  # the part by which a pause may be shorter or longer
# After a resume, reads of the endpoint may still say "paused" for a moment, and after a create that there is none: the
# time given to the service to catch up. Never longer, whatever the replicas say: `targetReplica` may remain above 0 on
# a paused endpoint permanently (huggingface/harbor-hf, docs/endpoint-provisioning.md, July 2026).
RESUME_GRACE = timedelta(seconds=60)


@dataclass(frozen=True)
class Goal:
    """The goal of a wait.

    :param started: when the wait began (aware). Wall-clock time, so that another process can continue the wait.
    :param deadline: when to give up (aware); None waits forever.
    :param target_states: the states that end the wait with success, or `deleted`. For `running` the health route must
        answer 200 too: `running` alone is not "the model answers" (llama.cpp says 503 "Loading model" while running).
    :param on_scaled_to_zero: what a scaledToZero endpoint means when that is not a target: `wake` it by a request,
        `accept` it as ready (the first request wakes it), or `fail`.
    :param resumed_at: when the waiting task created or resumed the endpoint. For a minute, a paused or missing endpoint
        then does not end the wait.
    :param check_health: whether `running` needs the health route's 200.
    :param longest_poll: seconds between looks at most; they are shorter at first.
    """

    started: datetime
    deadline: datetime | None = None
    target_states: frozenset[str] = frozenset({InferenceEndpointStatus.RUNNING})
    on_scaled_to_zero: OnScaledToZero = "wake"
    resumed_at: datetime | None = None
    check_health: bool = True
    longest_poll: float = LONGEST_POLL

    def __post_init__(self) -> None:
        if not self.target_states:
            raise ValueError("target_states is empty. Give at least one state to wait for, e.g. 'running'.")
        for moment in (self.started, self.deadline, self.resumed_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{moment!r} has no time zone. Give a datetime with a time zone.")
        if self.longest_poll <= 0:
            raise ValueError(f"poll_interval={self.longest_poll!r} is not valid. Give a positive number of seconds.")


@dataclass(frozen=True)
class Health:
    """What the endpoint's health route said. `status` is None when it could not be reached.

    :param token_source: where the token of the request comes from, in words
    """

    status: int | None
    detail: str = ""
    token_source: str | None = None

    @property
    def ok(self) -> bool:
        """The model answers."""
        return self.status == 200

    @property
    def refused(self) -> bool:
        """The token may not call the endpoint."""
        return self.status in (401, 403)


@dataclass(frozen=True)
class EndpointSnapshot:
    """One look: the endpoint (None when it does not exist) and, where it was asked for, its health."""

    endpoint: InferenceEndpoint | None
    health: Health | None = None


@dataclass(frozen=True)
class Ready:
    """The goal is reached. `endpoint` is None where the goal was that it is gone."""

    endpoint: InferenceEndpoint | None


@dataclass(frozen=True)
class Wait:
    """Look again after `seconds`."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Wake:
    """Send the endpoint an authorised request, which starts it, then look again after `seconds`."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Failed:
    """The goal cannot be reached unless a person acts. `reason` says why, and what to do."""

    reason: str
    endpoint: InferenceEndpoint | None = None


@dataclass(frozen=True)
class TimedOut:
    """The deadline has passed."""

    reason: str
    endpoint: InferenceEndpoint | None = None


Verdict = Ready | Wait | Wake | Failed | TimedOut


@dataclass(frozen=True)
class _Moment:
    """Where a wait stands: how long it has lasted and how long to pause."""

    goal: Goal
    now: datetime
    rng: Callable[[], float] = field(repr=False)

    @property
    def late(self) -> bool:
        return self.goal.deadline is not None and self.now >= self.goal.deadline

    def pause(self) -> float:
        """Seconds until the next look: a tenth of what has been waited, with jitter, `longest_poll` at most.

        Jitter keeps a thousand waits that began together from asking together. Never past the deadline.
        """
        elapsed = max(0.0, (self.now - self.goal.started).total_seconds())
        longest = self.goal.longest_poll / (1 + _JITTER)
        seconds = min(max(elapsed / 10, min(SHORTEST_POLL, longest)), longest)
        seconds *= 1 - _JITTER + 2 * _JITTER * self.rng()
        if self.goal.deadline is not None:
            seconds = min(seconds, max(0.0, (self.goal.deadline - self.now).total_seconds()))
        return seconds


def states_after_update(updated: InferenceEndpoint) -> frozenset[str]:
    """Where an update leads, so that a wait for these states sends no request that would start the endpoint.

    What was parked passes through `updating` and comes back to where it was (andimarafioti/s2s-endpoint, March 2026);
    it runs where somebody starts it meanwhile, or where the update gives it a replica that always runs.

    :param updated: the endpoint as an update answered it.
    """
    running = frozenset({InferenceEndpointStatus.RUNNING})
    return running | PARKED if updated.updated_from in PARKED else running


def needs_health(endpoint: InferenceEndpoint, goal: Goal) -> bool:
    """Whether a look is only complete with the health route's answer."""
    running = InferenceEndpointStatus.RUNNING
    return (
        goal.check_health
        and endpoint.status == running
        and running in goal.target_states
        and endpoint.health_url is not None
    )


def judge(snapshot: EndpointSnapshot, goal: Goal, now: datetime, rng: Callable[[], float] = random.random) -> Verdict:
    """What `snapshot`, taken at `now`, means for `goal`.

    An end that the snapshot shows (ready, failed) comes before the deadline: a wait that looks again after its
    deadline and finds the endpoint ready is not timed out.
    """
    moment = _Moment(goal, now, rng)
    endpoint = snapshot.endpoint
    if endpoint is None and DELETED in goal.target_states:
        return Ready(None)
    if endpoint is None and _started_by_us(moment):
        return _wait(None, moment, "reads do not show the endpoint yet, which was created or resumed a moment ago")
    if endpoint is None:
        return Failed(MISSING)
    if endpoint.status in goal.target_states:
        return _judge_arrived(endpoint, snapshot.health, moment)
    if goal.target_states == {DELETED}:
        return _wait(endpoint, moment, f"it still exists, {endpoint.status}")
    if endpoint.status in BROKEN:
        return Failed(why_broken(endpoint), endpoint)
    if endpoint.status == InferenceEndpointStatus.PAUSED and not _being_resumed(endpoint, moment):
        return Failed(
            f"The endpoint is paused and is not being resumed, so it will never be {_targets(goal)}. Requests do not "
            "wake a paused endpoint. Resume it first (ResumeInferenceEndpointOperator).",
            endpoint,
        )
    if endpoint.status == InferenceEndpointStatus.SCALED_TO_ZERO:
        return _judge_scaled_to_zero(endpoint, moment)
    return _wait(endpoint, moment, f"it is {endpoint.status}{_said(endpoint)}")


def _judge_arrived(endpoint: InferenceEndpoint, health: Health | None, moment: _Moment) -> Verdict:
    if endpoint.status != InferenceEndpointStatus.RUNNING or not moment.goal.check_health:
        return Ready(endpoint)
    if endpoint.health_url is None:
        return _wait(endpoint, moment, "it is running, but the service has not reported its URL yet")
    if health is None:
        return _wait(endpoint, moment, "it is running, but its health is not known yet")
    if health.ok:
        return Ready(endpoint)
    if health.refused:
        return _not_callable(endpoint, health, "runs")
    got = f"answers {health.status}" if health.status is not None else "cannot be reached"
    detail = _detail(health)
    return _wait(endpoint, moment, f"it is running, but its health route {endpoint.health_url} {got}{detail}")


def judge_wake(wake: Wake, endpoint: InferenceEndpoint, health: Health) -> Verdict:
    """What a wait means after its wake-up call: a refused call wakes nothing, however often it is repeated."""
    return _not_callable(endpoint, health, "is scaled to zero") if health.refused else wake


def _not_callable(endpoint: InferenceEndpoint, health: Health, state: str) -> Failed:
    token = f"The token of {health.token_source}" if health.token_source else "The token"
    return Failed(
        f"The endpoint {state}, but its health route {endpoint.health_url} answers {health.status}{_detail(health)}. "
        f"{token} may manage the endpoint, but not call it. Add the permission inference.endpoints.infer.write for "
        f"namespace {endpoint.namespace!r} to the token, or replace the token, in a connection its password.",
        endpoint,
    )


def _judge_scaled_to_zero(endpoint: InferenceEndpoint, moment: _Moment) -> Verdict:
    match moment.goal.on_scaled_to_zero:
        case "accept":
            return Ready(endpoint)
        case "wake" if InferenceEndpointStatus.RUNNING in moment.goal.target_states:
            waking = "it was scaled to zero and is waking up"
            if moment.late:
                return _timed_out(endpoint, moment, waking)
            return Wake(moment.pause(), waking)
        case "fail":
            return Failed(
                "The endpoint is scaled to zero, and on_scaled_to_zero='fail' forbids this wait to wake it. Any "
                "authorised request wakes it.",
                endpoint,
            )
        case _:
            return _wait(endpoint, moment, "it is scaled to zero")


def _being_resumed(endpoint: InferenceEndpoint, moment: _Moment) -> bool:
    """Whether a `paused` may only be the service catching up with a resume, by this side or by somebody else.

    Replicas that are wanted hint at somebody else's resume shortly before the wait began, and at nothing later.
    """
    hinted = endpoint.target_replica > 0 and moment.now < moment.goal.started + RESUME_GRACE
    return hinted or _started_by_us(moment)


def _started_by_us(moment: _Moment) -> bool:
    """Whether the waiting side has created or resumed the endpoint so recently that reads may lag behind that."""
    resumed_at = moment.goal.resumed_at
    return resumed_at is not None and moment.now < resumed_at + RESUME_GRACE


def _wait(endpoint: InferenceEndpoint | None, moment: _Moment, reason: str) -> Verdict:
    return _timed_out(endpoint, moment, reason) if moment.late else Wait(moment.pause(), reason)


def _timed_out(endpoint: InferenceEndpoint | None, moment: _Moment, reason: str) -> TimedOut:
    waited = (moment.now - moment.goal.started).total_seconds()
    return TimedOut(f"Not {_targets(moment.goal)} after {waited:.0f} s: {reason}. {_way_out(endpoint)}", endpoint)


def _way_out(endpoint: InferenceEndpoint | None) -> str:
    """What to do after a wait that has taken too long, by what the endpoint does meanwhile."""
    match None if endpoint is None else endpoint.status:
        case None:
            return "The endpoint may still be starting, and bills meanwhile. Look for it, or allow more time."
        case InferenceEndpointStatus.PAUSED:
            return "The endpoint is still paused and does not bill. Resume it, then wait again."
        case InferenceEndpointStatus.SCALED_TO_ZERO:
            return "The endpoint is scaled to zero and does not bill. Any authorised request starts it."
        case InferenceEndpointStatus.RUNNING | InferenceEndpointStatus.UPDATE_FAILED:
            return "The endpoint is running and billing. Allow more time, or pause it."
        case _:
            return "The endpoint may still be starting, and bills meanwhile. Allow more time, or pause it."


def _targets(goal: Goal) -> str:
    return " or ".join(sorted(goal.target_states))


def _said(endpoint: InferenceEndpoint) -> str:
    return f' ("{endpoint.message}")' if endpoint.message else ""


def _detail(health: Health) -> str:
    """What the health route said beside its status."""
    return f": {health.detail}" if health.detail else ""


def why_broken(endpoint: InferenceEndpoint, *, quote: bool = True) -> str:
    """What a failed endpoint's state says.

    :param quote: with the service's messages. They may repeat output of the container, with values of secrets without
        their names. A caller that knows these values has to hide them.
    """
    failed_update = endpoint.status == InferenceEndpointStatus.UPDATE_FAILED
    what = "The last update of the endpoint failed" if failed_update else "The endpoint failed to start"
    if not quote:
        return f"{what} (state {endpoint.status})."
    error = f" Error: {endpoint.error_message}" if endpoint.error_message else ""
    agent = f" Debugger: {endpoint.agent_message}" if endpoint.agent_message else ""
    return f"{what} (state {endpoint.status}){_said(endpoint)}.{error}{agent}"
