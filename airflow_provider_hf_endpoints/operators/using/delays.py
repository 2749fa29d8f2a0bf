"""Tasks that delay a release or a pause forever, or until another DAG run. No endpoint is started before them.

If a task's `start_date` or `end_date` excludes the run, Airflow neither runs nor skips the task. When nothing else can
run, Airflow fails the run and runs no teardown, so the endpoint would stay running. A task that waits for the
previous run may wait forever; such tasks inside a group are refused when the DAG is parsed. Tasks upstream of
the work, and starts and pauses without a group, are checked here at run time, because dependencies may be added at any
time. A task that can skip such a pause is refused, or causes a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError, state_word
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.operators.using.work import unfinished

log = logging.getLogger(__name__)

# By name, because Airflow has each class in several modules.
_BRANCHES, _SPARING = frozenset({"BranchMixIn"}), frozenset({"ShortCircuitOperator", "ApprovalOperator"})
_BETWEEN = "Put EmptyOperator(trigger_rule='all_done') between the two, or use inference_endpoint(…)."
WAITING = ("depends_on_past", "wait_for_downstream")


def refuse_work_that_is_held_back(
    start: Any, ends: Iterable[str], logical_date: datetime | None, task_instance: Any = None
) -> None:
    """Raise if a task that stops the endpoint is such a task, or waits for one directly or indirectly.

    A branch before the use may have skipped the task already; one inside of the use decides when the endpoint bills.

    :param start: the task that begins the use, in its DAG
    :param ends: the ids of the tasks that stop the endpoint
    :param logical_date: of the run; without one, Airflow does not compare dates
    :param task_instance: of `start`, which asks Airflow for the states of tasks; None to ask nothing
    """
    if not start.has_dag():
        return
    dag = start.dag
    stops = [dag.get_task(each) for each in ends if dag.has_task(each)]
    awaited = {each.task_id: each for stop in stops for each in [stop, *stop.get_flat_relatives(upstream=True)]}
    done = {start.task_id, *(each.task_id for each in start.get_flat_relatives(upstream=True))}
    for task_id in sorted(awaited.keys() - done):
        why = _why_held_back(awaited[task_id], logical_date)
        if why is not None and not _is_over(task_instance, str(task_id)):
            raise InvalidArgumentError(f"Task {task_id!r} has {why}")


def check_skips(start: Any, ends: Iterable[str]) -> None:
    """Refuse a teardown directly downstream of a branch, and warn of other tasks that may skip what stops the endpoint.

    A branch skips its direct downstream tasks, also teardowns. A branch may choose a task that is not a teardown, so
    such a task is not refused. Short circuits and approvals do not skip teardowns (standard provider 1.9.0, 1.21.0).

    :raises InvalidArgumentError: the endpoint would stay running if the branch skips its teardown
    """
    for end in (start.dag.get_task(each) for each in ends):
        for before in filter(can_skip, end.upstream_list):
            kinds = {each.__name__ for each in _kind(before).__mro__}
            what = f"Task {before.task_id!r} can skip {end.task_id!r}, which stops endpoint {start.endpoint!r}."
            if not end.is_teardown or not kinds & (_BRANCHES | _SPARING):
                log.warning(
                    "%s If it does, the endpoint is still running when the DAG run has ended. %s", what, _BETWEEN
                )
            elif kinds & _BRANCHES:
                raise InvalidArgumentError(
                    f"{what} Airflow does not exempt a teardown, and the endpoint would be left running. Therefore the "
                    f"endpoint is not started. {_BETWEEN}"
                )


def can_skip(task: Any) -> bool:
    """Whether a task can skip downstream tasks, mapped or not. Airflow has a mixin for this, in several modules."""
    return bool(task.inherits_from_skipmixin) or any(each.__name__ == "SkipMixin" for each in _kind(task).__mro__)


def _kind(task: Any) -> type:
    kind: type = getattr(task, "operator_class", type(task))
    return kind


def _is_over(task_instance: Any, task_id: str) -> bool:
    """Whether the task has already ended in this DAG run, with every map index: it need not have that of the start."""
    ask = getattr(task_instance, "get_task_states", None)
    if ask is None:
        return False
    run_id = task_instance.run_id
    try:
        states = ask(dag_id=task_instance.dag_id, task_ids=[task_id], run_ids=[run_id]).get(run_id) or {}
    except AirflowRuntimeError:
        return False
    return bool(states) and not unfinished({name: state_word(each) for name, each in states.items()})


def _why_held_back(task: Any, logical_date: datetime | None) -> str | None:
    """What delays the task, and what to do; None if nothing does."""
    if waiting := [f"{name}=True" for name in WAITING if getattr(task, name, False)]:
        return (
            f"{' and '.join(waiting)}, and the endpoint is not stopped before it. The endpoint would bill while the "
            "task waits for the previous DAG run, and would never stop if that run failed. Therefore the endpoint is "
            "not started. Set it to False for this task; max_active_runs=1 runs one DAG run after the other. "
            "Alternatively, put the task before the start of the endpoint, so that the start waits, too."
        )
    if logical_date is not None and (date := _date_that_leaves_out(task, logical_date)) is not None:
        return (
            f"{date} (its own, or from default_args), but this DAG run is for {logical_date.isoformat()}. Airflow "
            "would never run the task, and would fail the run without stopping the endpoint. Therefore the endpoint "
            "is not started. Set the date for the DAG, not for tasks."
        )
    return None


def _date_that_leaves_out(task: Any, logical_date: datetime) -> str | None:
    if task.start_date is not None and logical_date < task.start_date:
        return f"start_date={task.start_date.isoformat()}"
    if task.end_date is not None and logical_date > task.end_date:
        return f"end_date={task.end_date.isoformat()}"
    return None
