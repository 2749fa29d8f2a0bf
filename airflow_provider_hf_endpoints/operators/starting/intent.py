"""What a start is for: its own run, or to stay until somebody says otherwise. Read off the DAG where it is not said.

An endpoint that the same DAG stops behind the start is for the run. One that nothing behind the start stops is
deployed: the DAG is done with it when it runs.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.operators.checking.kinds import is_template


def is_kept(keep: bool | None, task: Any, endpoint: str) -> bool:
    """Whether the endpoint is to stay when the run has ended.

    :param keep: what the DAG says; None: whether nothing behind `task` stops the endpoint
    :param task: the operator that starts it
    """
    return not stopped_by(task, endpoint) if keep is None else keep


def stopped_by(task: Any, endpoint: str) -> list[str]:
    """The ids of the tasks behind `task` that stop the endpoint."""
    if task.get_dag() is None:
        return []
    return [each.task_id for each in task.get_flat_relatives(upstream=False) if _stops(each, task, endpoint)]


def _stops(other: Any, task: Any, endpoint: str) -> bool:
    """Whether it stops the endpoint. A teardown of the start does, whatever it runs; what names another does not."""
    if other.is_teardown and task.task_id in other.upstream_task_ids:
        return True
    if not getattr(other.operator_class, "stops_endpoint", False):
        return False
    given = getattr(other, "partial_kwargs", {}).get("endpoint") if other.is_mapped else other.endpoint
    return not isinstance(given, str) or is_template(given) or is_template(endpoint) or given == endpoint
