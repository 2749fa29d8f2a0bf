"""Whether a person has ended a task permanently, by the task's state in Airflow.

A trigger gets the same cancellation if its task was marked failed, if its task was cleared (and runs again), and if
another triggerer takes over. The process of a task that is marked failed notices that seconds later. By then it may
have deferred to a trigger that never starts. Only the task's state shows the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_hf_endpoints._airflow import ENDED_BADLY, read_xcom, state_word, task_states
from airflow_provider_hf_endpoints.ownership import CLAIM_KEY

log = logging.getLogger(__name__)


async def task_is_over(task_instance: Any, claim: str | None = None) -> bool:
    """Whether the task, or its whole DAG run, has been ended permanently while it was deferred.

    :param claim: the id of the attempt that asks; a task of which another attempt has begun since is not its to judge.
        If the XCom cannot be read, no other attempt is assumed: the task has ended, and the endpoint would bill on.
    """
    states = await sync_to_async(task_states)(task_instance)
    if not _all_over(states):
        return False
    if claim is None or not states:  # the claim of a run that was deleted is gone with it
        return True
    try:
        return bool(await sync_to_async(read_xcom)(task_instance, CLAIM_KEY) == claim)
    except Exception as error:  # noqa: BLE001 - an XCom backend's may be any; the endpoint bills meanwhile
        log.warning("Could not read from XCom whether another attempt of the task has begun: %r", error)
        return True


def is_over(task_instance: Any, ask: Callable[..., dict[str, Any]]) -> bool:
    """Whether the task, or its whole DAG run, has been ended permanently by now. Blocks while Airflow is asked.

    :param ask: the task instance's own `get_task_states`.
    :raises AirflowRuntimeError: Airflow's API server does not say
    """
    return _all_over(task_states(task_instance, ask))


def _all_over(states: dict[str, Any]) -> bool:
    # If it is marked as a success, the DAG continues with the endpoint; cleared (no state, queued, running …) the task
    # does; and deferred it only moved to another triggerer.
    return all(state_word(state) in ENDED_BADLY for state in states.values())
