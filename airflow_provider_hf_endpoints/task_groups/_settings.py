"""Airflow's settings that decide when a task may run: their values for this package's tasks, and what work may not set.

An endpoint bills from its start to its release. A setting that delays a task in between, or the release, costs money
without a limit. `queue` and `executor` are inherited: if no worker serves them, `acquire` does not run either.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterable
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL
from airflow_provider_hf_endpoints.operators.checking.names import arguments_of
from airflow_provider_hf_endpoints.operators.common.operator import DEFAULT_TIMEOUT
from airflow_provider_hf_endpoints.operators.starting.create import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.starting.resume import ResumeInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.delays import WAITING

# Arguments of the start that `inference_endpoint` sets.
_DECIDED = frozenset({"task_id", "endpoint", "name", "acquired", "dag", "task_group"})
_KNOWN = inspect.signature(BaseOperator.__init__).parameters
_OF_A_CREATE, _OF_A_RESUME = (
    arguments_of(CreateInferenceEndpointOperator),
    arguments_of(ResumeInferenceEndpointOperator),
)
OPTIONS = _OF_A_CREATE | _OF_A_RESUME  # the arguments of a start, with those that `refuse_options` refuses

# Arguments of `inference_endpoint` itself that limit what an endpoint costs.
LIMITS = ("max_idle", "max_startup", "max_cost", "max_runtime", "lease", "release")

# For every task of this package. Arguments that this Airflow does not know are left out.
OURS: dict[str, Any] = {
    name: value
    for name, value in {
        "depends_on_past": False,
        "ignore_first_depends_on_past": False,
        "wait_for_past_depends_before_skipping": False,
        "wait_for_downstream": False,
        "trigger_rule": "all_success",
        "start_date": None,
        "end_date": None,
        "pool": None,
        "pool_slots": 1,
        "max_active_tis_per_dag": None,
        "max_active_tis_per_dagrun": None,
        "execution_timeout": None,
        "retry_policy": None,
        "pre_execute": None,
        "post_execute": None,
        "do_xcom_push": True,  # the tasks behind need the result
        "multiple_outputs": False,
        "map_index_template": None,  # over the work's arguments, which a task of ours does not have
        "inlets": None,
        "outlets": None,  # `acquire` has done nothing yet that another DAG waits for
    }.items()
    if name in _KNOWN
}
# For the release: `timeout` in `default_args` is for sensors.
OF_THE_RELEASE: dict[str, Any] = {
    **OURS,
    "wait_for_completion": True,
    "timeout": DEFAULT_TIMEOUT,
    "poll_interval": LONGEST_POLL,
}
OF_THE_START: dict[str, Any] = {**OURS, "wait_for_completion": True}  # the DAG author's values override these
# Callbacks make Airflow send an empty task to a worker.
OF_AN_EMPTY_TASK: dict[str, Any] = {
    **OURS,
    "on_execute_callback": None,
    "on_success_callback": None,
}


def refuse_options(options: Iterable[str], trigger_rule: object, *, creates: bool) -> None:
    """Refuse arguments of the start that the group sets itself, or that only a create takes.

    :param trigger_rule: of the start; None if not given
    :param creates: whether there is a repository
    """
    for name in options:
        if name in _DECIDED:
            raise ValueError(f"{name} is set by inference_endpoint(…) itself. Leave it out.")
        if not creates and name in _OF_A_CREATE - _OF_A_RESUME:
            raise ValueError(
                f"{name} is for an endpoint that is created, but there is no repository, so an existing endpoint is "
                "resumed as it is. Give repository to create one, or use UpdateInferenceEndpointOperator."
            )
    if trigger_rule not in (None, "all_success"):
        raise ValueError(
            f"trigger_rule={str(trigger_rule)!r} is not valid: `acquire` is the only task upstream of the start. Set "
            "the rule on a task before the group."
        )


def tell_ignored_defaults(defaults: Iterable[str]) -> None:
    """Warn of arguments of the group in `default_args`, also misspelt: Airflow gives those to operators only."""
    for name in sorted(defaults):
        near = difflib.get_close_matches(name, LIMITS, n=1, cutoff=0.8)
        if near:
            warnings.warn(
                f"default_args has {name!r}, but inference_endpoint(…) reads only the connection and the namespace "
                f"there, so the group does not have this limit. Give {near[0]}=… to inference_endpoint(…).",
                stacklevel=2,
            )


def refuse_waiting_work(work: Iterable[Any]) -> None:
    """Refuse tasks that wait for the previous DAG run: the endpoint would bill meanwhile."""
    for task in work:
        names = [name for name in WAITING if getattr(task, name, False)]
        if names:
            raise ValueError(
                f"Task {task.task_id!r} uses an endpoint and has {' and '.join(f'{name}=True' for name in names)} "
                "(its own, or from default_args). The endpoint would start and bill while the task waits for the "
                "previous DAG run, and would never stop if that run failed. Set it to False for this task, and set "
                "it on a task before the endpoint's group. Alternatively, max_active_runs=1 runs one DAG run after "
                "the other."
            )


def refuse_rules(work: Iterable[Any]) -> None:
    """Refuse trigger rules that Airflow refuses after a setup task: its error names neither the task nor the rule.

    :param work: tasks directly downstream of the start
    """
    for task in work:
        if not task.is_teardown and task.trigger_rule != "all_success":
            rule = getattr(task.trigger_rule, "value", task.trigger_rule)
            raise ValueError(
                f"Task {task.task_id!r} comes directly after the start of the endpoint and has trigger_rule={rule!r} "
                "(its own, or from default_args). Airflow accepts only 'all_success' after a setup task, so that the "
                "task does not run without an endpoint. Leave the rule out. If the task reacts to other tasks of the "
                "group, put it after those only: give it the endpoint's name, or nothing of the endpoint."
            )
