"""Tasks that hold a release back for ever, or for another DAG run: no endpoint is started before them.

Airflow neither runs nor skips a task whose `start_date` or `end_date` leaves the run out. It fails the run as soon as
nothing else is left that can run, and runs no teardown: the endpoint would be left running. A task that waits for the
run before may wait for ever; those inside of a group are refused when the DAG is read, and those that only stand
before the work are found here, since arrows may be drawn at any time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
WAITING = ("depends_on_past", "wait_for_downstream")


def refuse_work_that_is_held_back(
    acquire: Any, release_task_id: str, logical_date: datetime | None, task_instance: Any = None
) -> None:
    """Raise where the release waits for such a task, however far it is before the release.

    A branch before the use may have skipped the task already; one inside of the use decides when the endpoint bills.

    :param acquire: the task that begins the use, in its DAG
    :param task_instance: of `acquire`, which asks Airflow for the states of tasks; None does not ask
    :param logical_date: the run's; Airflow compares nothing where there is none
    """
    if not acquire.has_dag() or not acquire.dag.has_task(release_task_id):
        return
    release = acquire.dag.get_task(release_task_id)
    done = {each.task_id for each in acquire.get_flat_relatives(upstream=True)}
    for task in sorted(release.get_flat_relatives(upstream=True), key=lambda each: str(each.task_id)):
        why = None if task.task_id in done else _why_held_back(task, logical_date)
        if why is not None and not _is_over(task_instance, str(task.task_id)):
            raise InvalidArgumentError(f"Task {task.task_id!r} has {why}")


def _is_over(task_instance: Any, task_id: str) -> bool:
    """Whether the task has an end already in this DAG run."""
    ask = getattr(task_instance, "get_task_states", None)
    if ask is None:
        return False
    run_id = task_instance.run_id
    try:
        states = ask(dag_id=task_instance.dag_id, task_ids=[task_id], run_ids=[run_id]).get(run_id) or {}
    except AirflowRuntimeError:
        return False
    return bool(states) and all(str(getattr(state, "value", state)) in _OVER for state in states.values())


def _why_held_back(task: Any, logical_date: datetime | None) -> str | None:
    """What holds it back, and what to do; None where nothing does."""
    if waiting := [f"{name}=True" for name in WAITING if getattr(task, name, False)]:
        return (
            f"{' and '.join(waiting)}, and work on an endpoint comes after it. The endpoint would bill while the task "
            "waits for the previous DAG run, and would never stop if that run failed. Therefore the endpoint is not "
            "started. Make the endpoint's group depend on this task: then the start waits, too."
        )
    if logical_date is not None and (date := _date_that_leaves_out(task, logical_date)) is not None:
        return (
            f"{date} (its own, or from default_args), but this DAG run is for {logical_date.isoformat()}. Airflow "
            "would never run the task, and would fail the run without releasing the endpoint. Therefore the endpoint "
            "is not started. Set the date for the DAG, not for tasks."
        )
    return None


def _date_that_leaves_out(task: Any, logical_date: datetime) -> str | None:
    if task.start_date is not None and logical_date < task.start_date:
        return f"start_date={task.start_date.isoformat()}"
    if task.end_date is not None and logical_date > task.end_date:
        return f"end_date={task.end_date.isoformat()}"
    return None
