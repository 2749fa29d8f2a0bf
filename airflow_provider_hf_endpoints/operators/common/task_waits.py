"""What operators and the sensor share around a wait: on a worker or deferred, and the error when the wait fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError
from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import BROKEN
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import MISSING, Verdict, Wait, Wake, why_broken
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End, why_missing
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from airflow_provider_hf_endpoints.waits import ProgressLog, WaitSpec

log = logging.getLogger(__name__)

# The trigger ends a wait itself, with a reason. Airflow's own limit on the deferral is a little later.
BACKSTOP = timedelta(minutes=2)

# What looking up a connection or a variable, and then asking the service, can raise.
LOOKUP_ERRORS = (InferenceEndpointError, AirflowException, AirflowRuntimeError, KeyError)


def deferral(
    wait: WaitSpec,
    hf_endpoints_conn_id: str,
    release_on_kill: Release = "none",
    claim: str | None = None,
    holder: str | None = None,
) -> dict[str, Any]:
    """The arguments of `defer` for a wait. The last three: see the trigger."""
    left = wait.seconds_left
    return {
        "trigger": InferenceEndpointTrigger.of(
            wait, hf_endpoints_conn_id, release_on_kill, claim, holder, deferred_at=time.time()
        ),
        "method_name": "execute_complete",
        "timeout": None if left is None else timedelta(seconds=max(left, 0)) + BACKSTOP,
    }


def look_before_deferral(
    hook: InferenceEndpointsHook, wait: WaitSpec, check: Callable[[], None] | None = None
) -> Verdict:
    """One look, health included: an endpoint that is ready, or never will be, needs no deferral."""
    verdict = hook.get_conn().poll(wait.endpoint, wait.goal(), namespace=wait.namespace, check=check)
    if isinstance(verdict, Wait | Wake):
        log.info("Waiting for endpoint %s in the triggerer: %s", wait.endpoint, verdict.reason)
    return verdict


def wait_here(hook: InferenceEndpointsHook, wait: WaitSpec, check: Callable[[], None] | None = None) -> End:
    """Wait and occupy the worker. `check` is called around every look and may raise to end the wait."""
    progress = ProgressLog(lambda why: log.info("Waiting for endpoint %s: %s", wait.endpoint, why))

    def on_look(reason: str) -> None:
        progress(reason)
        if check is not None:
            check()

    return hook.get_conn().wait(wait.endpoint, wait.goal(), namespace=wait.namespace, on_look=on_look, check=check)


def explain_failure(
    hf_endpoints_conn_id: str,
    event: Mapping[str, Any] | None,
    reason: str,
    secrets: Callable[[], Sequence[str]] = list,
    *,
    namespace: str | None = None,
) -> str:
    """The reason for the task's error: why an endpoint failed, with the last lines of its log, or a similar name if the
    endpoint does not exist. Does not raise an error itself.

    :param secrets: values that must not appear: a container that fails often prints its settings.
    """
    if reason == MISSING:
        return _explain_missing(hf_endpoints_conn_id, (event or {}).get("name", ""), namespace)
    summary = (event or {}).get("endpoint") or {}
    try:
        known = tuple(secrets())
    except LOOKUP_ERRORS as error:
        return (
            f"The endpoint is {summary.get('state')}. Its message and log are not shown, because the secrets to "
            f"redact could not be read: {error}"
        )
    try:
        with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
            client = hook.get_conn()
            endpoint = client.get_inference_endpoint(summary["name"], namespace=summary.get("namespace"))
            if endpoint.status in BROKEN:
                reason = why_broken(endpoint)
            log_lines = client.describe_failure(endpoint, secrets=known)
    except LOOKUP_ERRORS as error:
        log_lines = f"(Could not read its log: {error})"
    return redact(f"{reason}\n{log_lines}", known)


def _explain_missing(hf_endpoints_conn_id: str, name: str, namespace: str | None) -> str:
    """A trigger does not ask for names: a thousand waits for one missing endpoint would."""
    try:
        with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
            client = hook.get_conn()
            return client.run(why_missing(client.session, name, namespace))
    except LOOKUP_ERRORS as error:
        log.info("Could not look for a similar name: %s", error)
        return MISSING
