"""What has the name of a trigger's endpoint when the task is ended: it may be somebody else's by now."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException
from asgiref.sync import sync_to_async

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError
from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNote, StartNotes
from airflow_provider_hf_endpoints.ownership import is_anothers, run_of

log = logging.getLogger(__name__)

_LOOK = 4.0  # seconds, for each of the two reads; the whole end of a killed task may take 30
# The service, Airflow (the connection, the Variables) or the store does not answer: the release has to go on.
UNKNOWN = (InferenceEndpointError, AirflowException, AirflowRuntimeError, KeyError, TimeoutError)


async def look_before_release(
    client: AsyncEndpointsClient, namespace: str | None, name: str, hf_endpoints_conn_id: str, task_instance: Any
) -> tuple[InferenceEndpoint | None, bool]:
    """The endpoint that has the name now, and whether it is another one than the run of the task has started.

    In doubt, it is the same endpoint: that one costs money. None if there was no time, or no reason, to look.
    """
    run = run_of(task_instance)
    if run is None or namespace is None:
        return None, False

    def read() -> StartNote | None:
        with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
            return StartNotes(hook.kept_at).read(namespace, name, run=run)

    try:
        note = await asyncio.wait_for(sync_to_async(read, thread_sensitive=False)(), _LOOK)
        if note is None:
            return None, False
        client.limit(_LOOK)
        found = await client.run(flows.find(client.session, name, namespace))
    except UNKNOWN as error:
        words = "Could not read whether endpoint %s was replaced since its start: %s"
        log.warning(words, name, str(error) or type(error).__name__)
        return None, False
    return found, is_anothers(found, note)
