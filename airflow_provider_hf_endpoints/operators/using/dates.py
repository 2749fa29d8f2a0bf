"""Tasks that Airflow never runs in a DAG run, because their `start_date` or `end_date` leaves it out.

Airflow neither runs nor skips such a task. It fails the run as soon as nothing else is left that can run, and runs no
teardown: an endpoint whose release waits for the task would be left running.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError


def refuse_work_that_never_runs(acquire: Any, release_task_id: str, logical_date: datetime | None) -> None:
    """Raise where the release waits for such a task, however far it is before the release.

    :param acquire: the task that begins the use, in its DAG
    :param logical_date: the run's; Airflow compares nothing where there is none
    """
    if logical_date is None or not acquire.has_dag() or not acquire.dag.has_task(release_task_id):
        return
    release = acquire.dag.get_task(release_task_id)
    done = {each.task_id for each in acquire.get_flat_relatives(upstream=True)}
    for task in sorted(release.get_flat_relatives(upstream=True), key=lambda each: str(each.task_id)):
        if task.task_id not in done and (date := _that_leaves_out(task, logical_date)) is not None:
            raise InvalidArgumentError(
                f"Task {task.task_id!r} has {date} (its own, or from default_args) and this DAG run is of "
                f"{logical_date.isoformat()}: Airflow never runs the task, and fails the run without releasing the "
                "endpoint that waits for it. So the endpoint is not started. Set the date for the DAG, not for tasks."
            )


def _that_leaves_out(task: Any, logical_date: datetime) -> str | None:
    """The date of the task by which Airflow leaves it out; None where it runs."""
    if task.start_date is not None and logical_date < task.start_date:
        return f"start_date={task.start_date.isoformat()}"
    if task.end_date is not None and logical_date > task.end_date:
        return f"end_date={task.end_date.isoformat()}"
    return None
