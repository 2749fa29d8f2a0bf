"""Why a trigger was taken away from the triggerer, as far as Airflow tells: did a person end the task?

The same cancellation reaches a trigger whose task was marked failed, one whose task was cleared (and runs anew), and
one that another triggerer takes over. Only the task's state tells them apart.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from asgiref.sync import sync_to_async

# The task is over and nothing of it goes on. Marked as a success the DAG goes on, with the endpoint; cleared (no state,
# queued, running …) the task does; and deferred it only moved to another triggerer.
_OVER = frozenset({"failed", "skipped", "removed", "upstream_failed"})


async def task_is_over(task_instance: Any) -> bool:
    """Whether the task, or its whole DAG run, has been ended for good while it was deferred."""
    map_index = getattr(task_instance, "map_index", -1)
    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=map_index if map_index is not None and map_index >= 0 else None,
    )
    of_run = states.get(task_instance.run_id)
    if not of_run:
        return True  # the DAG run was deleted, or the task is no part of it any more
    return all(getattr(state, "value", state) in _OVER for state in of_run.values())
