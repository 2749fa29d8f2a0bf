"""How an error of ours ends a task of Airflow's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    EndpointNotFoundError,
    InferenceEndpointError,
    InvalidArgumentError,
)
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.waits import WaitBrokenError


class TaskKilledError(InferenceEndpointError):
    """The task was killed while it waited."""

    retryable = True

    @classmethod
    def while_waiting(cls, endpoint: str) -> TaskKilledError:
        """What a killed task raises: after its signal Airflow lets `execute` go on, and even succeed."""
        return cls(f"The task was killed while it waited for endpoint {endpoint!r}.")


@contextmanager
def suggesting_a_name(hook: InferenceEndpointsHook, endpoint: EndpointRef) -> Iterator[None]:
    """If the endpoint does not exist, name the existing endpoint with the most similar name."""
    try:
        yield
    except EndpointNotFoundError as error:
        client = hook.get_conn()
        raise client.run(
            flows.with_nearest_name(client.session, error, endpoint.name, endpoint.namespace)
        ) from error.__cause__


@contextmanager
def in_airflow_terms() -> Iterator[None]:
    """Errors that a retry cannot mend fail the task without a retry. Other errors are left to the task's retries.

    No error is raised from itself. Such a chain has no end, and a renderer of tracebacks may follow it forever
    (structlog did, on Airflow 3.0).
    """
    try:
        yield
    except (ApiError, InvalidArgumentError, WaitBrokenError) as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error
