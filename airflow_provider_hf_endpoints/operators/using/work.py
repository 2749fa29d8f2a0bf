"""The work before a release: whether any task of it goes on.

Airflow starts a release when all tasks directly before it have ended or are skipped. Any task may skip others: a
function that calls `SkipMixin().skip` skips the tasks behind it, the group's `work_ended` too, while others still work.
When the DAG is read, nothing shows that it will. So the release asks for the states of the work itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_hf_endpoints._airflow import ENDED, AirflowRescheduleException, states_of

LOOK_EVERY = timedelta(seconds=30)


def unfinished(states: Mapping[str, str]) -> list[str]:
    """The tasks that have not ended, in order. Pure."""
    return sorted(task for task, state in states.items() if state not in ENDED)


def unfinished_work(task_instance: Any, work: Sequence[str]) -> list[str]:
    """The tasks of `work` that have not ended, mapped ones with their index. Empty if Airflow cannot be asked, as in a
    test that calls `execute` itself.

    :raises AirflowRuntimeError: Airflow's API server does not say
    """
    can_ask = hasattr(task_instance, "get_task_states")
    return unfinished(states_of(task_instance, list(work))) if work and can_ask else []


def look_again() -> AirflowRescheduleException:
    """What ends this look of a task. The task occupies no worker until the next one."""
    return AirflowRescheduleException(datetime.now(UTC) + LOOK_EVERY)  # type: ignore[no-untyped-call]
