"""Who else uses an endpoint whose task was ended while it was deferred: as far as their leases tell."""

from __future__ import annotations

import logging
import time

from asgiref.sync import sync_to_async

from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.records import others
from airflow_provider_hf_endpoints.leases.store import store_for

log = logging.getLogger(__name__)


async def other_users(hf_endpoints_conn_id: str, namespace: str, name: str, holder: str) -> list[str]:
    """The holders of live leases but for `holder`, in words for a person; none where that can't be read."""

    def look() -> list[str]:
        with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
            leases = store_for(hook.lease_path, namespace, name).read()
        return [each.who for each in others(leases, holder, time.time())]

    try:
        return await sync_to_async(look)()
    except StoreError as error:
        log.warning("Who else uses endpoint %s can't be read: %s", name, error)
        return []
