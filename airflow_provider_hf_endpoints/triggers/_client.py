"""The client of a trigger: its connection, looked up as late as it is needed."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook


async def open_client(hf_endpoints_conn_id: str) -> AsyncEndpointsClient:
    """A client for the connection; a connection that is missing is one of our errors, as all that a look can meet."""
    try:
        return await InferenceEndpointsHook(hf_endpoints_conn_id).get_async_conn()
    except AirflowNotFoundException as error:
        raise InferenceEndpointError(str(error)) from error
