"""What becomes of an endpoint that a task started and that then did not get ready: released, so that it stops billing.

A teardown does not help there: Airflow runs it only where its setup succeeded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

from airflow.providers.common.compat.sdk import Context, TaskDeferred

from airflow_provider_hf_endpoints._airflow import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    ServiceError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators._base import EndpointOperator, TaskKilledError
from airflow_provider_hf_endpoints.operators._claim import claim_of
from airflow_provider_hf_endpoints.operators._waiting import LOOKUP_ERRORS

log = logging.getLogger(__name__)

_NOT_RELEASED = "Endpoint %s could not be released (%s) and MAY STILL BE BILLING: release it by hand. %s"
_STARTED_KEY = "hf_endpoint_started_here"

# Between SIGTERM and SIGKILL a worker gives about 5 seconds.
_KILL_BUDGET = 4.0  # seconds
# Elsewhere nothing presses, and the endpoint bills until it succeeds.
_RELEASE_BUDGET = 300.0  # seconds


class StartingOperator(EndpointOperator):
    """An operator that starts an endpoint, and releases what it started when that does not get ready.

    Each policy is `pause` (default), `scale_to_zero`, `delete` or `none`, and concerns only an endpoint that this
    task created or resumed: one that ran already is left alone.

    :param on_timeout: what becomes of the endpoint when it is not ready in time.
    :param on_failure: when it failed to start, or the wait for it ended with an error.
    :param on_kill: when the task is killed while it waits, on a worker or deferred. A task that is cleared keeps the
        endpoint: its next attempt takes it up.

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
        self._reset()

    def _reset(self, *, started_here: bool = False) -> None:
        self._started_here = started_here
        self._claim: str | None = None
        self._killed = self._released = False
        self._spare: EndpointsClient | None = None
        self._rescue: EndpointsClient | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Start the endpoint; release it again where that goes wrong."""
        self._reset()
        self._claim = claim_of(context["ti"])
        try:
            return self._guarded(lambda: super(StartingOperator, self).execute(context))
        except TaskDeferred:
            if self._started_here:
                # A deferral that Airflow itself ends (`__fail__`) brings none of its kwargs back.
                context["ti"].xcom_push(key=_STARTED_KEY, value=True)
            raise

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, started_here: bool = False
    ) -> dict[str, Any] | None:
        """Take up what the trigger found; release the endpoint where it did not get ready."""
        self._reset(started_here=started_here)
        self._claim = claim_of(context["ti"])
        return self._guarded(lambda: super(StartingOperator, self).execute_complete(context, event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As Airflow's; releases, too, where Airflow ended the wait: the trigger broke, or its time limit passed."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            ti = context["ti"]
            if ti.xcom_pull(task_ids=ti.task_id, key=_STARTED_KEY, map_indexes=ti.map_index):
                self._reset(started_here=True)
                timed_out = isinstance(error, TaskDeferralTimeout)
                self._release("on_timeout" if timed_out else "on_failure", _RELEASE_BUDGET)
            raise

    def on_kill(self) -> None:
        """Release at once: this runs in a signal handler, shortly before the process is killed."""
        self._killed = True
        if self._started_here:
            self._release("on_kill", _KILL_BUDGET, self._rescue)

    def _prepare(self, hook: InferenceEndpointsHook) -> None:
        # For the signal handler: it may have interrupted the other client in the middle of a request, and to look the
        # connection up there could mean to wait for a lock that is held. Nor is it that of a release that the signal
        # interrupts.
        self._spare, self._rescue = hook.fresh_client(), hook.fresh_client()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Around the request that starts the endpoint: from its answer on, or where that is lost, it is this task's."""
        try:
            yield
        except ServiceUnreachableError:
            raise  # it never arrived
        except ServiceError:
            self._started_here = True
            raise
        self._started_here = True

    def _guarded(self, run: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        try:
            summary = run()
            self._check_on()
        except Exception as error:  # whatever it was: what this task started must not go on billing
            timed_out = isinstance(error, InferenceEndpointTimeoutError)
            why, budget = ("on_timeout" if timed_out else "on_failure"), _RELEASE_BUDGET
            if self._killed:  # the handler may have come before it was known that the endpoint is there
                why, budget = "on_kill", _KILL_BUDGET
            if self._started_here:
                self._release(why, budget, self._spare)
            if self._killed and not isinstance(error, TaskKilledError):
                raise self._was_killed() from error
            raise
        return summary

    def _check_on(self) -> None:
        """End the wait of a killed task: after its signal Airflow lets `execute` go on, and even succeed."""
        if self._killed:
            raise self._was_killed()

    def _was_killed(self) -> TaskKilledError:
        return TaskKilledError(f"The task was killed while it started endpoint {self.endpoint!r}.")

    def _deferral_kwargs(self) -> dict[str, Any]:
        return {"started_here": True} if self._started_here else {}

    def _release_on_kill(self) -> Release:
        return self.release_policies["on_kill"] if self._started_here else "none"

    def _release(self, why: str, budget: float, client: EndpointsClient | None = None) -> None:
        """Once; a second call tries only what the first could not do."""
        if self._released:
            return
        try:
            client = client or InferenceEndpointsHook(self.hf_endpoints_conn_id).fresh_client()
        except LOOKUP_ERRORS as error:
            log.error(_NOT_RELEASED, self.endpoint, self.release_policies[why], error)
            return
        with client:
            client.limit(budget)
            self._released = release(client, self.release_policies[why], self.endpoint, self.namespace)


def release(client: EndpointsClient, policy: Release, name: str, namespace: str | None) -> bool:
    """Do what `policy` says; whether that is done. A failure is logged: the error that led here must be raised."""
    try:
        done = client.release(name, policy, namespace=namespace)
    except InferenceEndpointError as error:
        log.error(_NOT_RELEASED, name, policy, error)
        return False
    log.warning("Endpoint %s did not get ready; it is %s.", name, done)
    return True
