"""One endpoint's life as a pure state machine: (endpoint, now) -> endpoint. No clock, no I/O, no HTTP.

An endpoint contains the transitions that only need time (`plan`, its idle timeout, its autoscaler's windows).
`advance` applies those that are due, each at its own moment. So states and the meter are exact, however rarely
they are read. Each action of users (pause, resume, ...) is one function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_hf_endpoints.emulator.service.record import (
    SERVING,
    STARTING,
    Endpoint,
    LogLine,
    Moment,
    Replica,
    State,
    Step,
)
from airflow_provider_hf_endpoints.emulator.settings import Behaviour

SCALE_UP_WINDOW = 20.0  # service seconds for which pending requests must exceed the threshold

_MESSAGES = {
    State.PENDING: "Endpoint waiting to be scheduled",
    State.INITIALIZING: "Endpoint is initializing",
    State.UPDATING: "Endpoint waiting for the update",
    State.UPDATE_FAILED: "Endpoint failed to update",
    State.RUNNING: "Endpoint is ready",
    State.PAUSED: "Endpoint is paused",
    State.FAILED: "Endpoint failed to start",
    State.SCALED_TO_ZERO: "Endpoint is scaled to zero",
}


class Refused(Exception):
    """A transition that the service refuses, with its message. The status is always 400."""


# ------------------------------------------------------------------------------------------- what time brings


def advance(endpoint: Endpoint, now: float) -> Endpoint:
    """`endpoint` at `now`, after every due transition, each at its own moment, in order."""
    while True:
        due = _next_due(endpoint)
        if due is None or due.at > now:
            return endpoint
        endpoint = _apply(endpoint, due)


def next_change_at(endpoint: Endpoint) -> float | None:
    """When the next transition happens without any action; None: never."""
    due = _next_due(endpoint)
    return None if due is None else due.at


@dataclass(frozen=True)
class _Rescale:
    at: float
    replicas: int


def _next_due(endpoint: Endpoint) -> Step | _Rescale | None:
    if endpoint.gone_at is not None:
        return None
    candidates: list[Step | _Rescale] = list(endpoint.plan[:1])
    if endpoint.state is State.RUNNING:
        idle, used = endpoint.idle_seconds, endpoint.used_at
        if idle is not None and used is not None and endpoint.pending == 0:
            candidates.append(Step(used + idle, State.SCALED_TO_ZERO))
        wanted = max(1, endpoint.min_replica, math.ceil(endpoint.pending / endpoint.threshold))
        wanted = min(wanted, endpoint.max_replica)
        if endpoint.over_since is not None:
            at = endpoint.over_since + endpoint.service_seconds(SCALE_UP_WINDOW)
            candidates.append(_Rescale(at, wanted))
        if endpoint.under_since is not None:
            at = endpoint.under_since + endpoint.service_seconds(endpoint.scale_down_window)
            candidates.append(_Rescale(at, wanted))
    return min(candidates, key=lambda due: due.at, default=None)


def _apply(endpoint: Endpoint, due: Step | _Rescale) -> Endpoint:
    if isinstance(due, _Rescale):
        rescaled = _rescale(endpoint, due.at, due.replicas)
        return _weigh(replace(rescaled, over_since=None, under_since=None), due.at)
    was = endpoint.state
    endpoint = _enter(replace(endpoint, plan=endpoint.plan[1:]), due.at, due.state, error=due.error)
    match due.state:
        case State.INITIALIZING:
            ready_at = endpoint.plan[0].at if endpoint.plan else math.inf
            endpoint = _launch(endpoint, due.at, ready_at)
            return _log(endpoint, due.at, f"Loading model {endpoint.spec['model']['repository']}")
        case State.RUNNING if was is State.UPDATING:
            renewed = replace(_stop(endpoint, due.at), version=endpoint.version + 1, used_at=due.at, answers_at=due.at)
            return _weigh(_launch(renewed, due.at, due.at), due.at)
        case State.RUNNING:
            endpoint = _container_logs(endpoint, due.at)
            endpoint = _log(endpoint, due.at, "Model loaded, listening on port 80")
            answers_at = due.at + endpoint.behaviour.loading_seconds
            return _weigh(replace(endpoint, answers_at=answers_at, used_at=due.at), due.at)
        case State.FAILED:
            endpoint = _container_logs(endpoint, due.at)
            endpoint = _log(endpoint, due.at, due.error or "Container exited with code 1", level="error")
            return _stop(endpoint, due.at, exit_code=1)
        case State.UPDATE_FAILED:
            endpoint = _container_logs(endpoint, due.at)
            return _log(endpoint, due.at, due.error or "Container exited with code 1", level="error")
        case _:  # scaledToZero
            return _stop(endpoint, due.at)


def _enter(endpoint: Endpoint, at: float, state: State, *, error: str | None = None) -> Endpoint:
    message = _MESSAGES[state]
    return replace(
        endpoint,
        state=state,
        message=message,
        error=error,
        history=(*endpoint.history, Moment(at, state.value, error or message)),
        over_since=None,
        under_since=None,
    )


def _launch(endpoint: Endpoint, at: float, ready_at: float, count: int | None = None) -> Endpoint:
    count = max(endpoint.min_replica, 1) if count is None else count
    first = len(endpoint.replicas)
    started = tuple(
        Replica(
            id=f"{endpoint.id}-{endpoint.version}-{number:05d}",
            version=endpoint.version,
            price_per_hour=endpoint.price_per_hour,
            started_at=at,
            ready_at=ready_at,
        )
        for number in range(first, first + count)
    )
    return replace(endpoint, replicas=(*endpoint.replicas, *started))


def _stop(endpoint: Endpoint, at: float, *, exit_code: int = 0, keep: int = 0) -> Endpoint:
    """Stop all live replicas except for the `keep` oldest."""
    ending = {r.id for r in endpoint.live[keep:]}
    replicas = tuple(replace(r, stopped_at=at, exit_code=exit_code) if r.id in ending else r for r in endpoint.replicas)
    return replace(endpoint, replicas=replicas, answers_at=endpoint.answers_at if keep else None)


def _rescale(endpoint: Endpoint, at: float, count: int) -> Endpoint:
    live = len(endpoint.live)
    if count > live:
        return _launch(endpoint, at, at + endpoint.behaviour.initializing_seconds, count - live)
    return _stop(endpoint, at, keep=count)


def _weigh(endpoint: Endpoint, at: float) -> Endpoint:
    """Start or end the autoscaler's windows, by the requests in flight per replica."""
    over = under = None
    if endpoint.state is State.RUNNING:
        live, floor = len(endpoint.live), max(1, endpoint.min_replica)
        if endpoint.pending > endpoint.threshold * live and live < endpoint.max_replica:
            over = at if endpoint.over_since is None else endpoint.over_since
        if live > floor and endpoint.pending <= endpoint.threshold * (live - 1):
            under = at if endpoint.under_since is None else endpoint.under_since
    if over == endpoint.over_since and under == endpoint.under_since:
        return endpoint
    return replace(endpoint, over_since=over, under_since=under)


def _log(endpoint: Endpoint, at: float, line: str, level: str = "info") -> Endpoint:
    replica = endpoint.live[-1].id if endpoint.live else ""
    return replace(endpoint, logs=(*endpoint.logs, LogLine(at, line, level, replica)))


def _container_logs(endpoint: Endpoint, at: float) -> Endpoint:
    for line in endpoint.behaviour.logs:
        endpoint = _log(endpoint, at, line)
    return endpoint


# ------------------------------------------------------------------------------------------- what people do


def start(endpoint: Endpoint, now: float, *, queue: bool = True) -> Endpoint:
    """Begin a start: through `pending` if hardware must be found (`queue`), else at `initializing`."""
    behaviour = endpoint.behaviour
    begin = now + (behaviour.pending_seconds if queue else 0.0)
    end = begin + behaviour.initializing_seconds
    starts = endpoint.starts + 1
    failing = behaviour.fail is not None and (behaviour.fail_starts is None or starts <= behaviour.fail_starts)
    if behaviour.fail_on:
        failing = failing and endpoint.spec["compute"]["instanceType"] in behaviour.fail_on
    plan = (
        *((Step(now, State.PENDING),) if queue else ()),
        Step(begin, State.INITIALIZING),
        Step(end, State.FAILED, behaviour.fail) if failing else Step(end, State.RUNNING),
    )
    return advance(replace(endpoint, plan=plan, starts=starts), now)


def pause(endpoint: Endpoint, now: float) -> Endpoint:
    """Stop it until a resume. Raises Refused while it is being deleted."""
    endpoint = advance(endpoint, now)
    _refuse_deleting(endpoint)
    if endpoint.state is State.PAUSED:
        return endpoint
    return _halt(endpoint, now, State.PAUSED)


def resume(endpoint: Endpoint, now: float) -> Endpoint:
    """Start it again. Raises Refused if there is nothing to resume."""
    endpoint = advance(endpoint, now)
    _refuse_deleting(endpoint)
    match endpoint.state:
        case State.PAUSED | State.FAILED:
            return start(endpoint, now)
        case State.SCALED_TO_ZERO:
            return start(endpoint, now, queue=False)
        case State.UPDATE_FAILED:
            raise Refused("Endpoint configuration is invalid, update it before resuming")
        case _:
            raise Refused("Endpoint is already running")


def scale_to_zero(endpoint: Endpoint, now: float) -> Endpoint:
    """Stop it until the next request. Raises Refused if it has no idle timeout."""
    endpoint = advance(endpoint, now)
    _refuse_deleting(endpoint)
    if endpoint.spec["compute"]["scaling"].get("scaleToZeroTimeout") is None:
        raise Refused("workload cannot be scaled to zero")
    if endpoint.state is State.SCALED_TO_ZERO:
        return endpoint
    return _halt(endpoint, now, State.SCALED_TO_ZERO)


def wake(endpoint: Endpoint, now: float) -> Endpoint:
    """The effect of an authorised request: an endpoint that is scaled to zero starts."""
    endpoint = advance(endpoint, now)
    return start(endpoint, now, queue=False) if endpoint.state is State.SCALED_TO_ZERO else endpoint


def update(
    endpoint: Endpoint,
    now: float,
    *,
    spec: Mapping[str, Any],
    price_per_hour: float,
    behaviour: Behaviour,
    by: str,
    restart: bool = True,
) -> Endpoint:
    """Take a new specification: a rolling update if replicas serve, a new start if a start was in progress.

    A stopped endpoint passes through `updating` and returns to its state. An endpoint at zero is started by a
    `minReplica` above 0.
    """
    endpoint = advance(endpoint, now)
    _refuse_deleting(endpoint)
    was = endpoint.state
    endpoint = replace(
        endpoint, spec=spec, price_per_hour=price_per_hour, behaviour=behaviour, updated_at=now, updated_by=by
    )
    if not restart:
        return _weigh(endpoint, now)
    if was in SERVING and endpoint.live:
        end = now + behaviour.updating_seconds
        last = (
            Step(end, State.RUNNING)
            if behaviour.fail_update is None
            else Step(end, State.UPDATE_FAILED, behaviour.fail_update)
        )
        return advance(replace(_enter(endpoint, now, State.UPDATING), plan=(last,)), now)
    if was in STARTING or was is State.FAILED:
        return start(replace(_stop(endpoint, now), version=endpoint.version + 1), now)
    rest = endpoint.plan[-1].state if was is State.UPDATING else was  # another update may be in progress
    endpoint = replace(endpoint, version=endpoint.version + 1)
    if rest is State.SCALED_TO_ZERO and endpoint.min_replica > 0:
        return start(endpoint, now, queue=False)
    back = Step(now + behaviour.updating_seconds, rest)
    return advance(replace(_enter(endpoint, now, State.UPDATING), plan=(back,)), now)


def fail(endpoint: Endpoint, now: float, error: str, lines: tuple[str, ...] = ()) -> Endpoint:
    """The container could not start after all: an engine process has ended."""
    endpoint = advance(endpoint, now)
    for line in lines:
        endpoint = _log(endpoint, now, line, level="error")
    endpoint = _enter(replace(endpoint, plan=()), now, State.FAILED, error=error)
    return _stop(endpoint, now, exit_code=1)


def delete(endpoint: Endpoint, now: float) -> Endpoint:
    """Stop it at once; GET still answers for `deleting_seconds`."""
    endpoint = advance(endpoint, now)
    if endpoint.gone_at is not None:
        return endpoint
    gone_at = now + endpoint.behaviour.deleting_seconds
    history = (*endpoint.history, Moment(now, "deleted", "Endpoint is deleted"))
    return replace(_stop(endpoint, now), plan=(), gone_at=gone_at, history=history)


def _halt(endpoint: Endpoint, now: float, state: State) -> Endpoint:
    return _stop(_enter(replace(endpoint, plan=()), now, state), now)


def _refuse_deleting(endpoint: Endpoint) -> None:
    if endpoint.gone_at is not None:
        raise Refused("Endpoint is being deleted")


# ------------------------------------------------------------------------------------------- what requests do


def request_begins(endpoint: Endpoint, now: float) -> Endpoint:
    """A request has reached the container."""
    endpoint = advance(endpoint, now)
    return _weigh(replace(endpoint, pending=endpoint.pending + 1, used_at=now), now)


def request_ends(endpoint: Endpoint, now: float) -> Endpoint:
    """The container has answered, or the client has closed the connection."""
    endpoint = advance(endpoint, now)
    return _weigh(replace(endpoint, pending=max(0, endpoint.pending - 1), used_at=now), now)
