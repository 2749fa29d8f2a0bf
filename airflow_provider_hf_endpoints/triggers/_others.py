"""Whether others use the endpoint of a task that was ended while it was deferred. If so, its trigger leaves it to them.

If the leases cannot be read, what comes next decides. In a group whose run goes on, the release follows, and it fails
rather than succeed without an answer. Without a release the endpoint would run on, so it is stopped.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError, run_state
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release, state_after
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.store import leave_to_others, other_leases
from airflow_provider_hf_endpoints.triggers._replaced import UNKNOWN

log = logging.getLogger(__name__)

_LOOK = 10.0  # seconds for the leases; the whole end of a killed task may take 30
_ENDED = ("success", "failed")


async def others_of(
    hf_endpoints_conn_id: str, namespace: str, name: str, holder: str, policy: Release, task_instance: Any
) -> list[str]:
    """Who else uses the endpoint, in words.

    :param holder: the holder of the task's lease; empty for a task without one, whose wish then is noted for them
    :param policy: what the task would do to the endpoint
    """

    def read() -> list[str]:
        with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
            held = [each.who for each in other_leases(hook.kept_at, namespace, name, holder)]
            if held and not holder:
                leave_to_others(hook.kept_at, namespace, name, task_instance, state_after(policy, None))
        return held

    try:
        # Not in the thread that all triggers share: a store that hangs would hold up what comes next.
        return await asyncio.wait_for(sync_to_async(read, thread_sensitive=False)(), _LOOK)
    except (*UNKNOWN, StoreError) as error:
        log.warning("Could not read the leases of endpoint %s: %s", name, str(error) or type(error).__name__)
    if holder and not await _is_run_over(task_instance):
        return ["unknown holder (the leases cannot be read)"]
    return []


async def _is_run_over(task_instance: Any) -> bool:
    """Whether the run has ended, so that no release follows; also if Airflow does not answer."""
    try:
        return await asyncio.wait_for(sync_to_async(run_state)(task_instance), _LOOK) in _ENDED
    except (AirflowRuntimeError, TimeoutError) as error:
        log.warning("Could not read from Airflow whether the run has ended: %s", str(error) or type(error).__name__)
        return True
