"""Waiting for an endpoint as a flow: look, judge, pause; once for the sync and the async client.

`readiness.judge` decides; this file knows which requests make a look, and that transient errors are ridden out while
a refusal (401, 403) or a missing endpoint is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.flows import (
    Flow,
    Pause,
    Session,
    get,
    is_ridden_out,
    nearest_name,
    resolve_namespace,
)
from airflow_provider_hf_endpoints.endpoints.concealing import conceal
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    EndpointFailedError,
    EndpointNotFoundError,
    InferenceEndpointTimeoutError,
    ServiceError,
)
from airflow_provider_hf_endpoints.endpoints.models import PARKED, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    EndpointSnapshot,
    Failed,
    Goal,
    Health,
    Ready,
    TimedOut,
    Verdict,
    Wait,
    Wake,
    judge,
    judge_wake,
    needs_health,
    states_after_update,
)

log = logging.getLogger(__name__)

# An outage of the service that a wait without a nearer deadline rides out.
LONGEST_OUTAGE = timedelta(minutes=15)
# How long an update of a paused or scaled-to-zero endpoint may take before it is an error.
LONGEST_UPDATE = timedelta(minutes=10)
_LONGEST_DETAIL = 200  # characters of a health route's words

End = Ready | Failed | TimedOut
# Called after every look with the reason to wait longer.
OnLook = Callable[[str], None]
# Called before every look, and before a request to the endpoint itself, which wakes an endpoint at zero. It may raise.
Check = Callable[[], None]


@dataclass(frozen=True)
class Unanswered(Wait):
    """A look that failed in passing: wait, and look again."""


@dataclass
class Patience:
    """How long the service has not answered: a wait rides out an outage, but no endless one."""

    silent_since: datetime | None = None

    def weigh(self, verdict: Verdict, began: datetime) -> Verdict:
        """`verdict` of the look that began at `began`, or `Failed` where that makes the outage too long."""
        if not isinstance(verdict, Unanswered):
            self.silent_since = None
            return verdict
        self.silent_since = self.silent_since or began
        if began - self.silent_since > LONGEST_OUTAGE:
            return Failed(f"The service has not answered for {LONGEST_OUTAGE}: {verdict.reason}")
        return verdict


def look(
    session: Session, name: str, namespace: str | None, goal: Goal, check: Check | None = None
) -> Flow[EndpointSnapshot]:
    """One look at the endpoint, with its health where the goal needs it."""
    try:
        endpoint = yield from get(session, name, namespace, once=True)
    except EndpointNotFoundError:
        return EndpointSnapshot(None)
    if not needs_health(endpoint, goal):
        return EndpointSnapshot(endpoint)
    return EndpointSnapshot(endpoint, (yield from _call(session, endpoint, check)))


def _call(session: Session, endpoint: InferenceEndpoint, check: Check | None) -> Flow[Health]:
    """The health, unless `check` raises. The session shows a signal handler that the request is under way."""
    session.calling = True
    try:
        if check is not None:
            check()
        return (yield from check_health(endpoint))
    finally:
        session.calling = False


def check_health(endpoint: InferenceEndpoint) -> Flow[Health]:
    """What the health route says; an error answer is a finding here, not an error."""
    if endpoint.health_url is None:
        return Health(None, "the service has not reported a URL")
    try:
        answer = yield requests.health(endpoint.health_url)
    except ApiError as error:
        return Health(error.status, conceal(error.message, endpoint)[:_LONGEST_DETAIL], error.token_source)
    return Health(answer.status)


def poll(session: Session, name: str, namespace: str | None, goal: Goal, check: Check | None = None) -> Flow[Verdict]:
    """One look and what it means, for callers that wait themselves (a sensor that pokes). Wakes if the goal says so."""
    try:
        snapshot = yield from look(session, name, namespace, goal, check)
    except ApiError as error:
        if not is_ridden_out(error):
            raise
        return after_error(error, goal, session.now())
    verdict = judge(snapshot, goal, session.now())
    if isinstance(verdict, Failed) and snapshot.endpoint is None:
        return Failed((yield from why_missing(session, name, namespace)))
    if isinstance(verdict, Wake) and snapshot.endpoint is not None:
        # Any authorised request wakes it, and this one costs nothing.
        return judge_wake(verdict, snapshot.endpoint, (yield from _call(session, snapshot.endpoint, check)))
    return verdict


def why_missing(session: Session, name: str, namespace: str | None) -> Flow[str]:
    """What a wait for an endpoint that is not there fails with: the namespace, and a similar name."""
    chosen = yield from resolve_namespace(session, namespace)
    hint = yield from nearest_name(session, name, chosen)
    what = f"No endpoint {name!r} in namespace {chosen!r}."
    return " ".join(filter(None, (what, hint, EndpointNotFoundError.advice)))


def wait(
    session: Session,
    name: str,
    namespace: str | None,
    goal: Goal,
    on_look: OnLook | None = None,
    check: Check | None = None,
) -> Flow[End]:
    """Wait until the goal is reached, cannot be reached, or the deadline has passed.

    Raises errors that waiting cannot mend: `AuthenticationError`, `PermissionDeniedError`, `InvalidArgumentError`.
    """
    patience = Patience()
    while True:
        if check is not None:
            check()
        began = session.now()
        verdict = yield from poll(session, name, namespace, goal, check)
        match patience.weigh(verdict, began):
            case (Ready() | Failed() | TimedOut()) as end:
                return end
            case Wait(seconds=seconds, reason=reason) | Wake(seconds=seconds, reason=reason):
                if on_look is not None:
                    on_look(reason)
                yield Pause(seconds)


def settle(session: Session, updated: InferenceEndpoint, on_look: OnLook | None = None) -> Flow[InferenceEndpoint]:
    """Wait until an update has come to rest, for who acts on the endpoint next: while an endpoint is updating a resume
    is answered "already running", and what was paused is paused again afterwards.

    :param updated: the endpoint as the update answered it; one that was not parked is returned as it is.
    :raises InferenceEndpointTimeoutError: it is still updating after ten minutes.
    :raises EndpointFailedError: the update failed.
    """
    if updated.updated_from not in PARKED or updated.status in PARKED:
        return updated
    started = session.now()
    goal = Goal(started, started + LONGEST_UPDATE, states_after_update(updated), check_health=False)
    end = yield from wait(session, updated.name, updated.namespace, goal, on_look)
    match end:
        case Ready(endpoint=endpoint) if endpoint is not None:
            return endpoint
        case TimedOut(reason=reason):
            raise InferenceEndpointTimeoutError(f"The update of endpoint {updated.name!r} did not finish: {reason}")
        case _:
            reason = end.reason if isinstance(end, Failed) else "the endpoint no longer exists"
            raise EndpointFailedError(f"The update of endpoint {updated.name!r} failed: {reason}")


def after_error(error: ApiError, goal: Goal, now: datetime) -> Unanswered | TimedOut:
    """A look that failed in passing: go on, if the deadline and the service's Retry-After allow."""
    if goal.deadline is not None and now >= goal.deadline:
        waited = (now - goal.started).total_seconds()
        return TimedOut(f"No response after {waited:.0f} s of waiting. Last error: {error}")
    if error.status is None:
        said = error.happened.rstrip(".")
    else:
        what = "the service answers" if isinstance(error, ServiceError) else "the service limits the rate"
        said = f"{what}: {error.message} (status {error.status})"
    seconds = max(error.retry_after or 0.0, min(5.0, goal.longest_poll))
    if goal.deadline is not None:
        seconds = min(seconds, max(0.0, (goal.deadline - now).total_seconds()))
    return Unanswered(seconds, f"{said}. Trying again")
