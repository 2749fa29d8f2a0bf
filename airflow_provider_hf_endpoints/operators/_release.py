"""What becomes of an endpoint that a task started and that then did not get ready: released, so that it stops billing.

A teardown does not help there: Airflow runs it only where its setup succeeded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, get_args

from airflow.providers.common.compat.sdk import AirflowFailException, Context

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointNotFoundError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
)
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators._base import EndpointOperator

log = logging.getLogger(__name__)

Release = Literal["pause", "scale_to_zero", "delete", "none"]

# Between SIGTERM and SIGKILL a worker gives about 5 seconds.
_KILL_BUDGET = 4.0  # seconds
# Elsewhere nothing presses, and the endpoint bills until it succeeds.
_RELEASE_BUDGET = 300.0  # seconds


class TaskKilledError(InferenceEndpointError):
    """The task was told to end while it waited."""


class StartingOperator(EndpointOperator):
    """An operator that starts an endpoint, and releases what it started when that does not get ready.

    Each policy is `pause` (default), `scale_to_zero`, `delete` or `none`, and concerns only an endpoint that this
    task created or resumed: one that ran already is left alone.

    :param on_timeout: what becomes of the endpoint when it is not ready in time.
    :param on_failure: when it failed to start, or the wait for it ended with an error.
    :param on_kill: when the task is killed while it waits on a worker.

    Other parameters: see `EndpointOperator`.
    """

    def __init__(
        self,
        *,
        on_timeout: Release = "pause",
        on_failure: Release = "pause",
        on_kill: Release = "pause",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.release_policies = {"on_timeout": on_timeout, "on_failure": on_failure, "on_kill": on_kill}
        for name, policy in self.release_policies.items():
            if policy not in get_args(Release):
                raise ValueError(f"{name}={policy!r}: it is one of {', '.join(get_args(Release))}.")
        self._started_here = False
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Start the endpoint; release it again where that goes wrong."""
        self._started_here = self._killed = False
        return self._guarded(lambda: super(StartingOperator, self).execute(context))

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, started_here: bool = False
    ) -> dict[str, Any] | None:
        """Take up what the trigger found; release the endpoint where it did not get ready."""
        self._started_here = started_here
        return self._guarded(lambda: super(StartingOperator, self).execute_complete(context, event))

    def on_kill(self) -> None:
        """Release at once: this runs in a signal handler, shortly before the process is killed."""
        self._killed = True
        if self._started_here:
            self._release("on_kill", _KILL_BUDGET)

    def _guarded(self, run: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        try:
            summary = run()
            self._check_on()
        except TaskKilledError:
            raise
        except (InferenceEndpointError, AirflowFailException) as error:
            if self._started_here:
                timed_out = isinstance(error, InferenceEndpointTimeoutError)
                self._release("on_timeout" if timed_out else "on_failure", _RELEASE_BUDGET)
            raise
        return summary

    def _check_on(self) -> None:
        if self._killed:
            if self._started_here:
                self._release("on_kill", _KILL_BUDGET)
            raise TaskKilledError(f"The task was killed while it started endpoint {self.endpoint!r}.")

    def _deferral_kwargs(self) -> dict[str, Any]:
        return {"started_here": True} if self._started_here else {}

    def _release(self, why: str, budget: float) -> None:
        policy = self.release_policies[why]
        with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
            client = hook.get_conn()
            client.limit(budget)
            release(client, policy, self.endpoint, self.namespace)


def release(client: EndpointsClient, policy: Release, name: str, namespace: str | None) -> None:
    """Do what `policy` says. That it can't be done is logged: the error that led here must be the one raised."""
    try:
        match policy:
            case "none":
                return
            case "pause":
                client.pause_inference_endpoint(name, namespace=namespace)
            case "scale_to_zero":
                client.scale_to_zero_inference_endpoint(name, namespace=namespace)
            case "delete":
                client.delete_inference_endpoint(name, namespace=namespace, missing_ok=True, wait=False)
    except EndpointNotFoundError:
        log.info("Endpoint %s does not exist (any more): there is nothing to release.", name)
    except InferenceEndpointError as error:
        log.error(
            "Endpoint %s could not be released (%s) and MAY STILL BE BILLING: release it by hand. %s",
            name,
            policy,
            error,
        )
    else:
        log.warning("Endpoint %s did not get ready and was released: %s.", name, policy.replace("_", " "))
