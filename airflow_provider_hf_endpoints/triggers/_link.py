"""The link to an endpoint's page on a task whose wait began in the triggerer: no worker can store it before the end."""

from __future__ import annotations

import logging
from typing import Any

from airflow_provider_hf_endpoints._airflow import TRIGGERS_STORE_XCOMS, AirflowRuntimeError, store_xcom
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.links.endpoints import InferenceEndpointLink, endpoint_page_url
from airflow_provider_hf_endpoints.triggers._line import line

log = logging.getLogger(__name__)


async def store_link(task_instance: Any, client: AsyncEndpointsClient, namespace: str | None, name: str) -> None:
    """Store the link where Airflow's UI reads it (Airflow 3.3). A failure to store the link ends no wait."""
    if not TRIGGERS_STORE_XCOMS:
        return
    try:
        url = endpoint_page_url(client.base_url, namespace or await client.default_namespace(), name)
        async with line():
            await store_xcom(task_instance, InferenceEndpointLink().xcom_key, url)
    except InferenceEndpointError as error:
        log.debug("No link to endpoint %s: %s", name, error)  # the wait makes the same request, and reports the error
    except AirflowRuntimeError as error:
        log.warning("Could not store the link to endpoint %s: %s", name, error)
