"""The purpose of a start: for its own run, or to stay after it. If the DAG does not say, its tasks decide.

If a downstream task of the same DAG stops the endpoint, the endpoint is for the run. Otherwise the endpoint is
deployed to stay, and the start is all that the DAG does with it.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.operators.common.naming import may_mean


def is_kept(keep: bool | None, task: Any, endpoint: str, namespace: str | None = None) -> bool:
    """Whether the endpoint stays after the run.

    :param keep: the DAG's setting; None: whether no task downstream of `task` stops the endpoint
    :param task: the operator that starts it
    """
    return not stopped_by(task, endpoint, namespace) if keep is None else keep


def stopped_by(task: Any, endpoint: str, namespace: str | None = None) -> list[str]:
    """The ids of the tasks downstream of `task` that stop the endpoint."""
    if task.get_dag() is None:
        return []
    return [each.task_id for each in task.get_flat_relatives(upstream=False) if _stops(each, task, endpoint, namespace)]


def _stops(other: Any, task: Any, endpoint: str, namespace: str | None) -> bool:
    """Whether a task stops the endpoint. A teardown of the start always does; a task with another endpoint does not."""
    if other.is_teardown and task.task_id in other.upstream_task_ids:
        return True
    stops = getattr(other.operator_class, "stops_endpoint", False)
    return bool(stops) and may_mean(other, endpoint, namespace)
