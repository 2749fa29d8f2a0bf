"""Why a trigger was taken away from the triggerer, as far as Airflow tells: did a person end the task?

The same cancellation reaches a trigger whose task was marked failed, one whose task was cleared (and runs anew), and
one that another triggerer takes over. Only the task's state tells them apart.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import XCom
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from asgiref.sync import sync_to_async

# The task is over and nothing of it goes on. Marked as a success the DAG goes on, with the endpoint; cleared (no state,
# queued, running …) the task does; and deferred it only moved to another triggerer.
_OVER = frozenset({"failed", "skipped", "removed", "upstream_failed"})


# An attempt that leaves its endpoint to a trigger leaves its own id in XCom, which Airflow empties before the next one.
CLAIM_KEY = "hf_endpoint_started_here"


async def task_is_over(task_instance: Any, claim: str | None = None) -> bool:
    """Whether the task, or its whole DAG run, has been ended for good while it was deferred.

    :param claim: the id of the attempt that asks; a task of which another attempt has begun since is not its to judge.
    """
    map_index = getattr(task_instance, "map_index", -1)
    mapped = map_index if map_index is not None and map_index >= 0 else None
    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=mapped,
    )
    of_run = states.get(task_instance.run_id)
    if not of_run:
        return True  # the DAG run was deleted, or the task is no part of it any more
    if not all(getattr(state, "value", state) in _OVER for state in of_run.values()):
        return False
    if claim is None:
        return True
    current = await sync_to_async(XCom.get_one)(
        key=CLAIM_KEY,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=mapped,
    )
    return bool(current == claim)
