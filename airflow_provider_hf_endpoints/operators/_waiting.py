"""What operators and sensor share around a wait: holding a worker or not, and what is said when it ends badly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.waiting import End
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from airflow_provider_hf_endpoints.waits import ProgressLog, WaitSpec

log = logging.getLogger(__name__)

# The trigger ends a wait itself, with a reason. Airflow's own limit on the deferral stands a little behind it.
BACKSTOP = timedelta(minutes=2)


def deferral(wait: WaitSpec, hf_endpoints_conn_id: str) -> dict[str, Any]:
    """The arguments of `defer` for a wait."""
    left = wait.seconds_left
    return {
        "trigger": InferenceEndpointTrigger.of(wait, hf_endpoints_conn_id),
        "method_name": "execute_complete",
        "timeout": None if left is None else timedelta(seconds=max(left, 0)) + BACKSTOP,
    }


def wait_here(hook: InferenceEndpointsHook, wait: WaitSpec, check: Callable[[], None] | None = None) -> End:
    """Wait and hold the worker. `check` is called after every look and may raise to end the wait."""
    progress = ProgressLog(lambda why: log.info("Waiting for endpoint %s: %s", wait.endpoint, why))

    def on_look(reason: str) -> None:
        progress(reason)
        if check is not None:
            check()

    return hook.get_conn().wait(wait.endpoint, wait.goal(), namespace=wait.namespace, on_look=on_look)


def explain_failure(
    hf_endpoints_conn_id: str,
    event: Mapping[str, Any] | None,
    secrets: Callable[[], Sequence[str]] = list,
) -> str:
    """The last lines of a failed endpoint's log, for the task's error. Never raises for the explanation itself."""
    summary = (event or {}).get("endpoint") or {}
    try:
        with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
            client = hook.get_conn()
            endpoint = client.get_inference_endpoint(summary["name"], namespace=summary.get("namespace"))
            return client.describe_failure(endpoint, secrets=tuple(secrets()))
    except InferenceEndpointError as error:
        return f"(Its log could not be read: {error})"
