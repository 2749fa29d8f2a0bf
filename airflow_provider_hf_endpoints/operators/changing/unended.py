"""What a teardown still has to stop if its setup has not succeeded.

Airflow runs no teardown then. That is right for a start that failed: it has released its endpoint. But a start may end
without any of its code: its worker is killed and it has no retry, or it is marked as failed before the first step of
its trigger. So a stop runs whenever the work is over, asks whether its setup has succeeded, and if not, stops only an
endpoint that this very setup has started and left running.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, TriggerRule

from airflow_provider_hf_endpoints._airflow import ENDED_BADLY, AirflowRuntimeError, mapped_arguments, states_of
from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.models import PARKED, InferenceEndpoint
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.ownership import creator_tag, run_of

log = logging.getLogger(__name__)

_NEVER_BEGAN = ENDED_BADLY - {"failed"}
_POLICIES = ("on_timeout", "on_failure", "on_kill")


def run_after_any_setup(task: Any) -> None:
    """Have Airflow run a teardown when all before it is over, and not only if its setup has succeeded.

    Airflow allows that rule in a DAG with `fail_fast` only to a task that is in the DAG already.
    """
    if task.get_dag() is not None:
        task.trigger_rule = TriggerRule.ALL_DONE


def skip_if_nothing_is_left(hook: InferenceEndpointsHook, endpoint: EndpointRef, context: Any) -> None:
    """Raise `AirflowSkipException` if the setups of this task did not succeed, and left no endpoint running."""
    task, ti = context.get("task"), context["ti"]
    setups = [each for each in task.upstream_list if each.is_setup] if getattr(task, "is_teardown", False) else []
    run = run_of(ti)
    if not setups or run is None:
        return
    names = [each.task_id for each in setups]
    states = _states(ti, run, names)
    if states is None or "success" in states:
        return
    said = f"No setup of this task has succeeded ({', '.join(names)})"
    if states <= _NEVER_BEGAN:
        raise AirflowSkipException(f"{said}: {', '.join(sorted(states))}.")
    if any("none" in _policies(each) for each in setups):
        raise AirflowSkipException(f"{said}, and one of them is to leave its endpoint running after a bad end.")
    client = hook.get_conn()
    namespace = endpoint.namespace or client.default_namespace()
    found = client.run(flows.find(client.session, endpoint.name, namespace))
    if found is None or found.status in PARKED or not _is_of(hook, found, run, names, ti):
        raise AirflowSkipException(f"{said}, and none of them has left endpoint {endpoint.name!r} running.")
    log.warning("%s, but endpoint %s, which this run has started, is %s.", said, endpoint.name, found.status)


def _states(ti: Any, run: tuple[str, str], names: list[str]) -> set[str] | None:
    """The states of the setups; None if Airflow does not say each one, and then nothing is a reason not to stop.

    A mapped stop may have a setup that is not mapped as it is, so what does not have its index is asked for again.
    """
    try:
        found = states_of(ti, names)
        missing = [name for name in names if name not in found]
        if missing:
            unmapped = SimpleNamespace(dag_id=run[0], run_id=run[1], map_index=-1)
            of_all = states_of(unmapped, missing)
            seen = {name: [key for key in of_all if key == name or key.startswith(f"{name}_")] for name in missing}
            if not all(seen.values()):
                return None
            found = {**found, **of_all}
    except AirflowRuntimeError as error:
        log.warning("Could not ask Airflow how the setups of this task have ended, so it stops its endpoint: %s", error)
        return None
    return set(found.values())


def _is_of(
    hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, run: tuple[str, str], names: list[str], ti: Any
) -> bool:
    """Whether one of these tasks of the run has created or resumed the endpoint, and not to keep it."""
    note = StartNotes(hook.kept_at).read(endpoint.namespace, endpoint.name, run=run)
    if note is not None and note.task_id in names:
        created = None if endpoint.created_at is None else endpoint.created_at.timestamp()
        if note.keep or note.created == created:
            return not note.keep
    index = getattr(ti, "map_index", -1)
    tags = [
        creator_tag(SimpleNamespace(dag_id=run[0], run_id=run[1], task_id=name, map_index=each))
        for name in names
        for each in {-1, index}
    ]
    return any(tag in tags for tag in endpoint.tags or ())


def _policies(task: Any) -> list[str]:
    """What a start does at its bad ends; nothing for any other task."""
    terms = getattr(task, "_terms", None)
    given = mapped_arguments(task) if terms is None else [terms.policies]
    return [str(arguments[each]) for arguments in given for each in _POLICIES if each in arguments]
