"""Whether a person has ended a task for good, as far as Airflow tells: asked where nobody else says so.

The same cancellation reaches a trigger whose task was marked failed, one whose task was cleared (and runs anew), and
one that another triggerer takes over. And the process of a task that is marked failed hears of it seconds later, when
it may have handed its wait over to a trigger that never comes to be. Only the task's state tells.
"""

from __future__ import annotations

from collections.abc import Callable
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
    states = await sync_to_async(_states)(task_instance, RuntimeTaskInstance.get_task_states)
    if not _all_over(states):
        return False
    if claim is None or not states:  # the claim of a run that was deleted is gone with it
        return True
    current = await sync_to_async(XCom.get_one)(
        key=CLAIM_KEY,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=_map_index(task_instance),
    )
    return bool(current == claim)


def is_over(task_instance: Any, ask: Callable[..., dict[str, Any]]) -> bool:
    """Whether the task, or its whole DAG run, has been ended for good by now. Blocks while Airflow is asked.

    :param ask: the task instance's own `get_task_states`.
    :raises AirflowRuntimeError: Airflow's API server does not say
    """
    return _all_over(_states(task_instance, ask))


def _states(task_instance: Any, ask: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The task's state, by its id; nothing where the DAG run was deleted, or the task is no part of it any more."""
    states = ask(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=_map_index(task_instance),
    )
    return states.get(task_instance.run_id) or {}


def _all_over(states: dict[str, Any]) -> bool:
    return all(getattr(state, "value", state) in _OVER for state in states.values())


def _map_index(task_instance: Any) -> int | None:
    map_index = getattr(task_instance, "map_index", -1)
    return map_index if map_index is not None and map_index >= 0 else None
