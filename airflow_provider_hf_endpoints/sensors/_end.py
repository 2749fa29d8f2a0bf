"""How a sensor's wait ends badly: in Airflow's terms, and with what the sensor's policies say about the endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_hf_endpoints._airflow import (
    ENDED_BY_AIRFLOW,
    AirflowRescheduleException,
    TaskDeferralTimeout,
)
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError, InferenceEndpointTimeoutError
from airflow_provider_hf_endpoints.operators.common.emergency import EmergencyRelease, Policies
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.ownership import withdraw_claim


class BadEnd:
    """Of one attempt of a sensor.

    :param run: the DAG and the run of the task
    :param skips: whether a bad end skips the task (`soft_fail`, `never_fail`)
    """

    def __init__(self, endpoint: EndpointRef, policies: Policies, run: tuple[str, str] | None, *, skips: bool) -> None:
        self._skips = skips
        self.emergency = EmergencyRelease(endpoint, policies, run)

    @contextmanager
    def of(self, task_instance: Any) -> Iterator[None]:
        """Around what the attempt does."""
        try:
            yield
            self.emergency.check()
        except AirflowTaskTimeout:  # not an Exception: `execution_timeout` passed on a worker
            self.emergency.release("on_timeout")
            self.emergency.over = True  # Airflow calls `on_kill` next
            raise
        except (TaskDeferred, Exception) as error:
            if self.emergency.killed:
                # Whatever it led to: the handler may have paused the endpoint in the middle of a look, or have come
                # when nothing was left to look at it but this.
                self.emergency.release("on_kill")
                if isinstance(error, TaskKilledError):
                    raise
                raise self.emergency.error() from None
            match error:
                case TaskDeferred() | AirflowRescheduleException():
                    raise
                case InferenceEndpointTimeoutError():
                    self.emergency.release("on_timeout")
                case InferenceEndpointError(retryable=False):
                    self.emergency.release("on_failure")
                case _ if not _tries_again(task_instance):
                    self.emergency.release("on_failure")
            if isinstance(error, InferenceEndpointError):
                self._raise(error)
            raise

    @contextmanager
    def by_airflow(self, next_method: str, task_instance: Any) -> Iterator[None]:
        """Around its going on after a deferral: where Airflow has ended that, it runs nothing of ours."""
        try:
            yield
        except Exception as error:
            if next_method == ENDED_BY_AIRFLOW:
                self.emergency.recall_namespace(task_instance)
                self.emergency.release("on_timeout" if _ran_out_of_time(error) else "on_failure")
                if self.emergency.released:
                    withdraw_claim(task_instance)
            raise

    def _raise(self, error: InferenceEndpointError) -> NoReturn:
        """Raise the error in Airflow's terms; never from itself (see `operators.common.errors.in_airflow_terms`)."""
        if self._skips:
            raise AirflowSkipException(f"Skipped (soft_fail or never_fail): {error}") from error
        if isinstance(error, InferenceEndpointTimeoutError):
            raise AirflowSensorTimeout(str(error)) from error
        if error.retryable:
            raise error
        raise AirflowFailException(str(error)) from error


def _tries_again(task_instance: Any) -> bool:
    """Whether a retry follows when this attempt fails: it needs the endpoint as it is."""
    tries, most = getattr(task_instance, "try_number", None), getattr(task_instance, "max_tries", None)
    return isinstance(tries, int) and isinstance(most, int) and tries <= most


def _ran_out_of_time(error: BaseException | None) -> bool:
    """Whether Airflow's own limit on the deferral ended it; what says so may have been raised again, as a cause."""
    while error is not None:
        if isinstance(error, TaskDeferralTimeout | AirflowSensorTimeout):
            return True
        error = error.__cause__
    return False
