"""What differs between the Airflow versions that a simulated world runs on: the oldest supported one and the newest."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any
from uuid import UUID

from airflow.executors.base_executor import BaseExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.sdk.api.datamodels._generated import TaskInstance, TIRunContext
from airflow.triggers.base import BaseTrigger

NEWEST = importlib.util.find_spec("airflow.sdk.serde") is not None  # 3.3; otherwise 3.0

_errors: Any = importlib.import_module("airflow.sdk.exceptions" if NEWEST else "airflow.exceptions")
_serialized: Any = importlib.import_module("airflow.serialization.serialized_objects")

# Tasks that ask a person: Airflow 3.0 has none.
ApprovalOperator: Any = (
    importlib.import_module("airflow.providers.standard.operators.hitl").ApprovalOperator if NEWEST else None
)

SkipMixin: Any = importlib.import_module(
    "airflow.sdk" if NEWEST else "airflow.providers.standard.utils.skipmixin"
).SkipMixin

AirflowFailException = _errors.AirflowFailException
AirflowSkipException = _errors.AirflowSkipException
AirflowTaskTimeout = _errors.AirflowTaskTimeout
# The limit that the task runner sets for `execution_timeout`.
TIMEOUT = "airflow.sdk.execution_time.timeout.timeout" if NEWEST else "airflow.utils.timeout.timeout"
# Whether a trigger is told when a person ends its task. Airflow 3.0 only cancels it.
TRIGGERS_HEAR_OF_KILLS = hasattr(BaseTrigger, "on_kill")


def deserialize(stored: Any) -> Any:
    """What `serialize` has made of a trigger's arguments."""
    if NEWEST:
        return importlib.import_module("airflow.sdk.serde").deserialize(stored)
    return _serialized.BaseSerialization.deserialize(stored)


def serialize(given: Any) -> Any:
    """As a trigger's arguments are stored; see `deserialize`."""
    if NEWEST:
        return importlib.import_module("airflow.sdk.serde").serialize(given)
    return _serialized.BaseSerialization.serialize(given)


def lazy(dag: Any) -> Any:
    """The DAG serialized, as the DAG processor writes it."""
    if NEWEST:
        return _serialized.LazyDeserializedDAG.from_dag(dag)
    return _serialized.LazyDeserializedDAG(data=_serialized.SerializedDAG.to_dict(dag))


def read(stored: Any) -> Any:
    """The DAG as the scheduler sees it."""
    return (_serialized.DagSerialization if NEWEST else _serialized.SerializedDAG).from_dict(stored)


def scheduler_runner() -> Any:
    """Airflow's scheduler, for its decisions only: its executor does nothing."""
    executor = BaseExecutor(parallelism=1000)
    executor.name = type("Name", (), {"alias": None, "module_path": "simulated"})()
    if NEWEST:
        return SchedulerJobRunner(Job(), executors=[executor])  # type: ignore[no-untyped-call]
    job = Job()  # type: ignore[no-untyped-call]
    job.__dict__["executors"] = [executor]
    return SchedulerJobRunner(job)


def run_context(given: dict[str, Any], upstream_map_indexes: dict[str, Any]) -> TIRunContext:
    """What the execution API answers to a task's start; each version knows some of the fields."""
    known = TIRunContext.model_fields
    run_known = known["dag_run"].annotation.model_fields  # type: ignore[union-attr]
    given = given | {"upstream_map_indexes": upstream_map_indexes}
    given = {name: value for name, value in given.items() if name in known}
    given["dag_run"] = {name: value for name, value in given["dag_run"].items() if name in run_known}
    return TIRunContext.model_validate(given)


def upstream_map_indexes(task: Any, ti: Any, session: Any) -> dict[str, Any]:
    """Which instances before a task are its own, in a mapped group; from 3.3 on the task runner knows that itself."""
    if NEWEST:
        return {}
    routes: Any = importlib.import_module("airflow.api_fastapi.execution_api.routes.task_instances")
    return dict(routes._get_upstream_map_indexes(task, ti.map_index, ti.run_id, session))


def kwargs_of(msg: Any) -> tuple[Any, Any]:
    """The arguments of a trigger and of the method behind it, as a deferred task sends them."""
    if NEWEST:
        return msg.trigger_kwargs, msg.next_kwargs
    sent = msg.model_dump()
    return sent["trigger_kwargs"], deserialize(sent["next_kwargs"])


def next_kwargs_of(ti: Any) -> Any:
    """The arguments of the method that a task goes on with, as the execution API answers them; 3.0 keeps them plain."""
    if NEWEST or not ti.next_kwargs:
        return ti.next_kwargs
    return _serialized.BaseSerialization.serialize(dict(ti.next_kwargs))


def instance_of_trigger(attempt: Any) -> TaskInstance:
    """The task instance, as its trigger knows it."""
    given = {
        "id": UUID(str(attempt.ti_id)),
        "task_id": attempt.task_id,
        "dag_id": attempt.dag_id,
        "run_id": attempt.run_id,
        "try_number": attempt.try_number,
        "map_index": attempt.map_index,
        "dag_version_id": UUID(int=0),
    }
    return TaskInstance(**{name: value for name, value in given.items() if name in TaskInstance.model_fields})
