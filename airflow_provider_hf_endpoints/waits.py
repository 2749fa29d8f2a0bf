"""How a wait travels through Airflow: as the kwargs of a trigger, as the event it fires, and into a task's end.

Operators, sensor and trigger share this, so that a wait means the same whether it occupies a worker or not. No Airflow
import: what is raised here are the typed errors of `endpoints/errors.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.endpoints.durations import seconds_of
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
)
from airflow_provider_hf_endpoints.endpoints.models import BROKEN, InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    LONGEST_POLL,
    MISSING,
    Failed,
    Goal,
    OnScaledToZero,
    Ready,
    TimedOut,
    why_broken,
)
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End

# A log line is a blocking write on the triggerer's one event loop: changes are logged, and else a line a minute.
_LOG_EVERY = 60.0  # seconds
_LONGEST_REASON = 4000  # characters; an event is stored in the metadata database


class WaitBrokenError(InferenceEndpointError):
    """A wait in the triggerer could not go on; `retryable` is that of the error that broke it."""

    def __init__(self, message: str, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True)
class WaitSpec:
    """A wait as JSON-native values: names and moments, never a token.

    Moments are seconds since the epoch: a duration measured by the process that waits would start again whenever
    another process takes the wait up.
    """

    endpoint: str
    namespace: str | None
    started: float
    deadline: float | None = None
    target_states: tuple[str, ...] = (InferenceEndpointStatus.RUNNING.value,)
    on_scaled_to_zero: OnScaledToZero = "wake"
    resumed_at: float | None = None
    check_health: bool = True
    poll_interval: float = LONGEST_POLL

    def goal(self) -> Goal:
        """The same for the decision function."""
        return Goal(
            started=_moment(self.started),
            deadline=None if self.deadline is None else _moment(self.deadline),
            target_states=frozenset(self.target_states),
            on_scaled_to_zero=self.on_scaled_to_zero,
            resumed_at=None if self.resumed_at is None else _moment(self.resumed_at),
            check_health=self.check_health,
            longest_poll=self.poll_interval,
        )

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline, by wall-clock time; None without a deadline."""
        return None if self.deadline is None else self.deadline - time.time()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def deadline_after(started: float, *limits: float | timedelta | None) -> float | None:
    """The moment at which the shortest of `limits` (seconds) has passed; None without a limit."""
    seconds = [float(seconds_of(each)) for each in limits if each is not None]
    if any(each <= 0 for each in seconds):
        raise InvalidArgumentError(
            f"A time limit of {min(seconds):g} seconds is not valid. Give a positive number of seconds, or a timedelta."
        )
    return started + min(seconds) if seconds else None


def event_of(end: End, name: str) -> dict[str, Any]:
    """The trigger's event for the end of a wait: small, JSON-native, redacted."""
    match end:
        case Ready(endpoint=endpoint):
            revision = None if endpoint is None else endpoint.revision
            return {"status": "ready", "name": name, "endpoint": _summary(endpoint), "revision": revision}
        case Failed(endpoint=InferenceEndpoint(status=status) as endpoint) if status in BROKEN:
            # Its messages may contain the endpoint's secrets, which the triggerer does not know: the worker asks.
            return _unhappy("failed", name, why_broken(endpoint, quote=False), endpoint)
        case Failed(reason=reason, endpoint=endpoint):
            return _unhappy("failed", name, reason, endpoint)
        case TimedOut(reason=reason, endpoint=endpoint):
            return _unhappy("timeout", name, reason, endpoint)


def event_of_error(error: Exception, name: str) -> dict[str, Any]:
    """The trigger's event for an error that waiting can't mend (a refused token, a connection that is missing)."""
    permanent = isinstance(error, InferenceEndpointError) and not error.retryable
    words = str(error) if isinstance(error, InferenceEndpointError) else f"{type(error).__name__}: {error}"
    return {**_unhappy("error", name, words, None), "retryable": not permanent}


def _unhappy(status: str, name: str, reason: str, endpoint: InferenceEndpoint | None) -> dict[str, Any]:
    return {
        "status": status,
        "name": name,
        "reason": redact(reason)[:_LONGEST_REASON],
        "endpoint": _summary(endpoint),
    }


def _summary(endpoint: InferenceEndpoint | None) -> dict[str, Any] | None:
    return None if endpoint is None else endpoint.summary()


def conclude(event: Mapping[str, Any] | None, explain: Callable[[str], str] | None = None) -> dict[str, Any] | None:
    """The endpoint's summary when the wait ended well (None when the goal was its deletion); else the typed error.

    :param explain: called with the reason for an endpoint that failed or does not exist. Returns the reason with the
        service's messages and the last lines of the log, redacted, or with a similar name.
    :raises InferenceEndpointTimeoutError: the deadline passed.
    :raises EndpointFailedError: the endpoint can't get there.
    :raises WaitBrokenError: the wait itself could not continue.
    """
    event = event or {"status": "error", "reason": "the trigger sent no event"}
    name, reason = event.get("name", ""), event.get("reason", "")
    match event.get("status"):
        case "ready":
            return event.get("endpoint")
        case "timeout":
            raise InferenceEndpointTimeoutError(f"Endpoint {name!r}: {reason}")
        case "failed":
            state = (event.get("endpoint") or {}).get("state")
            words = explain(reason) if explain is not None and (state in BROKEN or reason == MISSING) else reason
            raise EndpointFailedError(f"Endpoint {name!r}: {words}")
        case _:
            # An event of a version that did not say: a retry does no harm.
            raise WaitBrokenError(f"The wait for endpoint {name!r} failed: {reason}", event.get("retryable", True))


class ProgressLog:
    """Passes on the reason to wait longer: every change, and otherwise one line a minute."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last: str | None = None
        self._at = 0.0

    def __call__(self, reason: str) -> None:
        """Told after every look."""
        now = time.monotonic()
        if reason != self._last or now - self._at >= _LOG_EVERY:
            self._write(reason)
            self._last, self._at = reason, now
