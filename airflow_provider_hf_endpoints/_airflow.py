"""All that this package uses of Airflow beside its public API, each with the versions in which it was seen.

A new Airflow means a look at this file. Public are `airflow.sdk`, `airflow.providers.common.compat` (which covers most
of what moved between versions), `airflow.triggers.base` and the arguments that Airflow passes. A test holds that no
other file imports from behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import XCom
from airflow.sdk import Asset
from airflow.sdk.bases.operator import BaseOperatorMeta  # 3.0.6, 3.3.2: puts its own checks before each `__init__`
from airflow.sdk.definitions._internal.mixins import (
    DependencyMixin,  # 3.0.6, 3.1.8, 3.3.2: what takes arrows
    ResolveMixin,  # 3.0.6, 3.3.2: what is known when a task runs: another task's result, or a part of it
)
from airflow.sdk.definitions.asset import AssetNameRef, AssetUriRef  # 3.0.6, 3.1.8, 3.3.2
from airflow.sdk.definitions.xcom_arg import PlainXComArg  # 3.0.6, 3.3.2: a task's result, in another task's arguments
from airflow.sdk.exceptions import AirflowRuntimeError  # 3.0.6, 3.1.8, 3.3.2
from airflow.triggers.base import BaseTrigger

try:
    from airflow.sdk.bases.decorator import determine_kwargs  # 3.3.2: of a mapping, what a function takes
except ImportError:
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]  # 3.0.6

try:
    from airflow.sdk.log import mask_secret  # 3.1.8, 3.3.2
except ImportError:
    from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]  # 3.0.6

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout  # 3.3.2
except ImportError:
    from airflow.exceptions import (  # type: ignore[no-redef]  # 3.0.6, 3.1.8
        AirflowRescheduleException,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

__all__ = [
    "ENDED",
    "ENDED_BADLY",
    "ENDED_BY_AIRFLOW",
    "OF_MAPPING",
    "RESCHEDULES",
    "RETURN_VALUE",
    "TRIGGERS_HEAR_OF_KILLS",
    "TRIGGERS_RENDER",
    "TRIGGERS_STORE_XCOMS",
    "AirflowRescheduleException",
    "AirflowRuntimeError",
    "BaseOperatorMeta",
    "DependencyMixin",
    "PlainXComArg",
    "ResolveMixin",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "argument_of",
    "asset_names",
    "determine_kwargs",
    "has_fs",
    "is_asset",
    "is_made_to_run",
    "mapped_arguments",
    "mask_secret",
    "may_ask_from_a_thread",
    "operator_of_function",
    "read_link",
    "read_xcom",
    "state_word",
    "states_of",
    "store_xcom",
    "take_as_expanded",
    "task_states",
]

#: The method that Airflow names to `resume_execution` where a deferral broke or took too long. 3.0.6, 3.1.8, 3.3.2:
#: `TRIGGER_FAIL_REPR` of `airflow.sdk.bases.operator`.
ENDED_BY_AIRFLOW = "__fail__"

#: Whether Airflow calls a trigger's `on_kill` (3.3.2) and does not only cancel it (3.0.6, 3.1.8).
TRIGGERS_HEAR_OF_KILLS = hasattr(BaseTrigger, "on_kill")

#: Whether the triggerer renders what a wait that begins there was given as a template (3.3.2).
TRIGGERS_RENDER = hasattr(BaseTrigger, "render_template_fields")

#: The states of a task that has ended without a success, and of one that has ended at all. 3.0.6, 3.3.2:
#: `TaskInstanceState`, which `airflow.sdk` does not list in 3.0.6.
ENDED_BADLY = frozenset({"failed", "skipped", "upstream_failed", "removed"})
ENDED = ENDED_BADLY | {"success"}

#: The key of a task's result among its XComs. 3.0.6, 3.3.2: `XCOM_RETURN_KEY` of the task SDK's `BaseXCom`.
RETURN_VALUE = "return_value"

#: Attributes that a task has and its stored DAG shows, for the scheduler to keep to the moment of a reschedule: those
#: of sensors (3.0.6). 3.3.2 keeps to it for every task.
RESCHEDULES = frozenset({"reschedule", "_is_sensor"})

#: What a mapped function keeps among its operator's arguments that is not one of them (3.0.6, 3.3.2).
OF_MAPPING = frozenset({"is_setup", "is_teardown", "on_failure_fail_dagrun"})

#: Whether a trigger can store an XCom of its task (3.3.2).
TRIGGERS_STORE_XCOMS = hasattr(XCom, "aset")


def may_ask_from_a_thread() -> bool:
    """Whether two threads may ask Airflow's supervisor. Its one connection has a lock in 3.3.2, but not in 3.0.6 and
    3.1.8.
    """
    from airflow.sdk.execution_time import task_runner

    return hasattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "_thread_lock")


def task_states(task_instance: Any, ask: Callable[..., dict[str, Any]] | None = None) -> dict[str, Any]:
    """The task's state, by its id; empty if the DAG run was deleted, or the task is not in it any more.

    Blocks while Airflow is asked. 3.0.6, 3.1.8, 3.3.2.

    :param ask: the task instance's `get_task_states`. In a trigger it does not exist, and Airflow is asked directly
    :raises AirflowRuntimeError: Airflow's API server does not say
    """
    if ask is None:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ask = RuntimeTaskInstance.get_task_states
    states = ask(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=_map_index(task_instance),
    )
    return states.get(task_instance.run_id) or {}


def run_state(task_instance: Any) -> str:
    """The state of the task's DAG run.

    Blocks while Airflow is asked, also from a trigger. 3.0.6, 3.3.2.

    :raises AirflowRuntimeError: Airflow's API server does not say
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return state_word(RuntimeTaskInstance.get_dagrun_state(task_instance.dag_id, task_instance.run_id))


def states_of(task_instance: Any, task_ids: list[str]) -> dict[str, str]:
    """The states of tasks of the same run and map index, by the task's id, mapped ones with their index behind it.

    Blocks while Airflow is asked, also from a trigger. 3.0.6, 3.3.2.

    :raises AirflowRuntimeError: Airflow's API server does not say
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=task_instance.dag_id,
        task_ids=task_ids,
        run_ids=[task_instance.run_id],
        map_index=_map_index(task_instance),
    )
    found = states.get(task_instance.run_id) or {}
    return {task_id: state_word(state) for task_id, state in found.items()}


def state_word(state: Any) -> str:
    """A state as Airflow writes it, which is an enum or a text; `"None"` without one. 3.0.6, 3.3.2."""
    return str(getattr(state, "value", state))


def pull_xcom(task_instance: Any, task_id: str, key: str) -> Any:
    """An XCom of a task of the same run and map index; None if it does not exist. 3.0.6, 3.3.2.

    A task that is not mapped asks for the XComs of all map indexes, because Airflow logs `[error] XCom not found` if a
    single XCom does not exist. A mapped task asks for its own XCom only, and not for those of all its siblings.
    """
    index = task_instance.map_index
    own = {"map_indexes": index} if isinstance(index, int) and index >= 0 else {}
    return task_instance.xcom_pull(task_ids=task_id, key=key, **own)


def read_xcom(task_instance: Any, key: str) -> Any:
    """The task's own XCom, for a trigger, whose task instance has no `xcom_pull`. 3.0.6, 3.1.8, 3.3.2. Blocks."""
    return XCom.get_one(
        key=key,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=_map_index(task_instance),
    )


async def store_xcom(task_instance: Any, key: str, value: str) -> None:
    """Store an XCom of the task from its trigger, where `TRIGGERS_STORE_XCOMS`."""
    await XCom.aset(
        key=key,
        value=value,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )


def read_link(ti_key: Any, key: str) -> Any:
    """What a task has stored for its extra link. 3.0.6, 3.1.8, 3.3.2."""
    return XCom.get_value(ti_key=ti_key, key=key)


def is_asset(outlet: Any, uri: str) -> bool:
    """Whether an outlet is the asset at `uri`, or refers to it. 3.0.6, 3.1.8, 3.3.2."""
    match outlet:
        case Asset() | AssetUriRef():
            return outlet.uri == uri
        case AssetNameRef():
            return outlet.name == uri
        case _:
            return False


def mapped_arguments(operator: Any) -> list[Mapping[str, Any]]:
    """What a mapped operator was given in `partial` and is mapped over, without what other tasks return; nothing for
    any other operator. 3.0.6, 3.1.8, 3.3.2.
    """
    found = [getattr(operator, "partial_kwargs", None) or {}]
    given = getattr(getattr(operator, "expand_input", None), "value", None)
    if isinstance(given, Mapping):  # expand(name=[…])
        found += [{name: each} for name, values in given.items() if isinstance(values, list | tuple) for each in values]
    elif isinstance(given, list | tuple):  # expand_kwargs([{…}])
        found += [each for each in given if isinstance(each, Mapping)]
    return found


def argument_of(task: Any, name: str) -> Any:
    """An argument of a task in its DAG; None if it is not given, or if the task is mapped over it. 3.0.6, 3.3.2."""
    return getattr(task, "partial_kwargs", {}).get(name) if task.is_mapped else getattr(task, name, None)


def take_as_expanded(partial: Any) -> None:
    """Airflow warns of an `operator.partial(…)` without `expand`: not of this one, whose `expand` is refused. 3.0.6,
    3.3.2.
    """
    partial._expand_called = True


def operator_of_function(mapped: Any) -> Any:
    """The operator of a function that is mapped, without what the function is mapped over. 3.0.6, 3.3.2.

    The operator is not part of the DAG, and is not fit to run.
    """
    given = mapped._get_unmap_kwargs({"op_kwargs": {}}, strict=False)
    arguments = {name: value for name, value in given.items() if name not in OF_MAPPING}
    arguments |= {"task_id": mapped.task_id, "_airflow_from_mapped": True, "_airflow_mapped_validation_only": True}
    return mapped.operator_class(**arguments)


def is_made_to_run(operator: Any) -> bool:
    """Whether an operator is one of a mapped task, which Airflow makes when the task runs. 3.0.6, 3.3.2."""
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def asset_names(store: Any) -> list[str]:
    """The assets that an event trigger's `asset_state_store` serves (3.3.2; before there is none), in order."""
    return sorted(getattr(store, "_by_name", ()))


def _map_index(task_instance: Any) -> int | None:
    map_index = getattr(task_instance, "map_index", -1)
    return map_index if map_index is not None and map_index >= 0 else None


def has_fs(scheme: str) -> bool:
    """Whether a provider of Airflow has registered a file system for the scheme of a path."""
    try:
        from airflow.sdk.io.fs import has_fs as has  # 3.3.2
    except ImportError:
        from airflow.io import has_fs as has  # type: ignore[attr-defined, no-redef]  # 3.0.6
    return bool(has(scheme))
