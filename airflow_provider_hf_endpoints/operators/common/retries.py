"""The default retries of a task that waits, if the DAG does not set `retries`: for faults of Airflow, not of endpoints.

Airflow fails a task while its endpoint starts: a trigger that fires within seconds of its deferral meets a race of the
scheduler (apache/airflow #71580, #72716), and a resumed task that can't be published fails (Redis, the API server).
A retry finds the endpoint starting and continues to wait. An endpoint that failed or was too late still ends the task
at once. The `acquire` of a group has these retries too: after a clear, the endpoint may run because of an earlier
attempt, and the release needs the lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, conf

from airflow_provider_hf_endpoints._airflow import TaskDeferralTimeout
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointTimeoutError,
    NoHardwareError,
)
from airflow_provider_hf_endpoints.ownership import ask_task_store

F = TypeVar("F", bound=Callable[..., None])

#: About eight minutes, so that an outage of Redis or of the API server passes.
DEFAULT_RETRIES: dict[str, Any] = {
    "retries": 5,
    "retry_delay": timedelta(seconds=15),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
}
# What an attempt ends with that has waited long enough, or whose endpoint can't get there.
_OF_THE_ENDPOINT = (
    EndpointFailedError,
    InferenceEndpointTimeoutError,
    NoHardwareError,
    AirflowTaskTimeout,
    TaskDeferralTimeout,
)


def retried(init: F) -> F:
    """Have the `__init__` of an operator or sensor give its task the retries above.

    `retries` given to the task or in `default_args`, and `[core] default_task_retries`, come before.
    """

    @wraps(init)
    def with_retries(self: Any, *args: Any, **kwargs: Any) -> None:
        ours = _missing(kwargs, kwargs.get("default_args"))
        init(self, *args, **ours, **kwargs)
        # A mapped task brings back what `partial` was given.
        self.retries_by_default = all(getattr(self, name, None) == value for name, value in DEFAULT_RETRIES.items())

    return cast(F, with_retries)


def partial_retried(partial: Any, given: Mapping[str, Any]) -> Any:
    """What an operator's `partial` returned for the arguments `given`, with the same retries."""
    owners = [getattr(partial.kwargs.get(name), "default_args", None) for name in ("dag", "task_group")]
    partial.kwargs.update(_missing(given, given.get("default_args"), *owners))
    return partial


def _missing(*scopes: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings that no scope has; empty if a scope has `retries`."""
    given = {name for scope in scopes for name in scope or ()}
    if "retries" in given or conf.getint("core", "default_task_retries", fallback=0) > 0:
        return {}
    return {name: value for name, value in DEFAULT_RETRIES.items() if name not in given}


@contextmanager
def endpoint_faults_final(by_default: bool, first: FirstTry | None = None) -> Iterator[None]:
    """Default retries do not repeat a start whose endpoint failed or was too late.

    Retries that the DAG sets start with the full time again.
    """
    try:
        yield
    except _OF_THE_ENDPOINT as error:
        if first is not None:
            first.forget()
        if not by_default:
            raise
        raise _for_good(error) from error
    if first is not None:
        first.forget()


def _for_good(error: BaseException) -> BaseException:
    """The same error, for which Airflow makes no further attempt."""
    kind = type(error)
    final: type[BaseException] = type(kind.__name__, (kind, AirflowFailException), {"__module__": kind.__module__})
    return final(str(error))


class FirstTry:
    """When the first of an attempt and its retries began to wait, so that a retry extends no deadline.

    Kept in Airflow's task state store, which outlives an attempt (Airflow 3.3). Without this store, each attempt has
    the whole time. A clear starts again: it raises `max_tries`, which a retry does not change.
    """

    _KEY = "hf_endpoint_wait_began"

    def __init__(self, context: Mapping[str, Any]) -> None:
        ti = context["ti"]
        self._store = context.get("task_state_store")
        self._is_retry = (getattr(ti, "try_number", None) or 1) > 1
        self._life = getattr(ti, "max_tries", None)

    def began(self) -> float:
        """Seconds since the epoch; now, where this is the first try or nothing is known."""
        kept = ask_task_store(self._store, "get", self._KEY) if self._is_retry else None
        if isinstance(kept, dict) and kept.get("max_tries") == self._life and isinstance(kept.get("at"), int | float):
            return float(kept["at"])
        return time.time()

    def keep(self, began: float) -> None:
        """Before a wait."""
        ask_task_store(self._store, "set", self._KEY, {"at": began, "max_tries": self._life})

    def forget(self) -> None:
        """The wait has come to its end: a retry that somebody has asked for waits again."""
        if ask_task_store(self._store, "get", self._KEY) is not None:
            ask_task_store(self._store, "delete", self._KEY)
