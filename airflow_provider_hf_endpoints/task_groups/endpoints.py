"""`inference_endpoint(…)`: an endpoint for as long as the tasks inside need it.

What a user writes; the tasks that it places around the user's, and the arrows between them, are in `_tasks.py`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import wraps
from types import TracebackType
from typing import Any

from airflow.providers.common.compat.sdk import TaskGroup
from airflow.sdk import task_group

from airflow_provider_hf_endpoints._airflow import DependencyMixin, ResolveMixin
from airflow_provider_hf_endpoints.endpoints.durations import seconds_of
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import HardwareOrder
from airflow_provider_hf_endpoints.endpoints.upkeep.release import AfterUse
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.checking.arguments import checked_call
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.using.acquire import DEFAULT_LEASE
from airflow_provider_hf_endpoints.task_groups._settings import OPTIONS, refuse_options
from airflow_provider_hf_endpoints.task_groups._tasks import Tasks

__all__ = ["InferenceEndpointGroup", "inference_endpoint"]

DEFAULT_MAX_IDLE = timedelta(hours=1)


class _NotGiven(str):
    """A default that differs from the same text given by the DAG's author, which comes before `default_args`."""


_DEFAULT_CONNECTION = _NotGiven(InferenceEndpointsHook.default_conn_name)
_DEFAULT_FRAMEWORK = _NotGiven("pytorch")
_TOOLTIP = "An inference endpoint that runs while the tasks inside do."


@checked_call(templated=("repository", "hardware", "framework", "namespace"), options=OPTIONS)
def inference_endpoint(
    name: Any,
    *,
    repository: str | None = None,
    hardware: Sequence[str] | str | None = None,
    hardware_order: HardwareOrder | None = None,
    framework: str = _DEFAULT_FRAMEWORK,
    release: AfterUse | None = None,
    max_startup: float | timedelta = 3600.0,
    lease: float | timedelta = DEFAULT_LEASE,
    max_idle: float | timedelta | None = DEFAULT_MAX_IDLE,
    max_cost: float | None = None,
    max_runtime: float | timedelta | None = None,
    namespace: str | None = None,
    hf_endpoints_conn_id: str = _DEFAULT_CONNECTION,
    deferrable: bool | None = None,
    group_id: str | None = None,
    **options: Any,
) -> InferenceEndpointGroup:
    """An endpoint that runs while the tasks inside do: a task group, as a context manager or a decorator.

    :param name: the endpoint's name; with `repository` it is created if it does not exist. (templated)
    :param repository: the model's repository on the hub; None to resume one that exists. (templated)
    :param hardware: choices, as `CreateInferenceEndpointOperator` takes them; default those of `default_args`.
        (templated)
    :param hardware_order: `given`, or `price`: the cheapest first; default that of `default_args`, else `given`.
    :param framework: `pytorch`, `custom` or `llamacpp`; default that of `default_args`, else `pytorch`. (templated)
    :param release: what happens to the endpoint after the work, whatever its result: `pause`, `scale_to_zero`,
        `delete`, `keep`, or `restore`, the state in which it was found. None (default): as it was found, and paused
        where it did not exist.
    :param max_startup: seconds (or a timedelta) until it answers, for all choices of hardware together; default 1 hour.
    :param lease: seconds (or a timedelta) for which the lease of this run lasts, from the start and from each renewal
        by this provider's operators; default 6 hours. See docs/reference/leases.md.
    :param max_idle: seconds (or a timedelta) that the endpoint waits for its work: if no task inside has begun by then
        (a full pool, `max_active_tasks`, a paused DAG), the endpoint is released and the run fails. Watched in the
        triggerer, so a value is refused with `deferrable=False` or a templated connection. None for no limit. Default
        1 hour.
    :param max_cost: USD that the endpoint may cost from `acquire` on, its start included. A start that the budget does
        not cover is refused. When the budget is spent, the start or the batch inside stops, keeps finished rows and
        fails without a retry, and the endpoint is released. Default no limit.
    :param max_runtime: the same in seconds (or a timedelta) of wall-clock time. Default no limit.
    :param namespace: the user or organisation; default that of `default_args`, else the connection's, else the token's
        user. (templated)
    :param hf_endpoints_conn_id: the connection, also the default of the tasks inside; default that of `default_args`,
        else `hf_endpoints_default`.
    :param deferrable: wait for the start in the triggerer, occupying no worker; default that of `default_args`, else
        True.
    :param group_id: default the name, or `endpoint` where that is a template.
    :param options: any other argument of `CreateInferenceEndpointOperator` (with `repository`), or of
        `ResumeInferenceEndpointOperator` (without): `task`, `custom_image`, `env`, `secrets`, `retries`, …
    """
    if not isinstance(name, ResolveMixin) and not (isinstance(name, str) and is_template(name)):
        check_name(name)
    if repository is None and hardware is not None:
        raise ValueError(
            "hardware is given without repository. An existing endpoint keeps its own hardware: leave hardware out, "
            "or give repository to create an endpoint."
        )
    refuse_options(options, options.get("trigger_rule"), creates=repository is not None)
    # A start that fails is released by the task `release`, which knows who else uses the endpoint.
    policies = {"on_timeout": "none", "on_failure": "none"}
    start: dict[str, Any] = {"timeout": max_startup, **policies, **options}
    if repository is not None:
        own = {"hardware": hardware, "hardware_order": hardware_order}
        start |= {"repository": repository} | {name: value for name, value in own.items() if value is not None}
        start |= {} if framework is _DEFAULT_FRAMEWORK else {"framework": framework}
    start |= {} if deferrable is None else {"deferrable": deferrable}
    connection = {} if hf_endpoints_conn_id is _DEFAULT_CONNECTION else {"hf_endpoints_conn_id": hf_endpoints_conn_id}
    connection |= {} if namespace is None else {"namespace": namespace}
    use = {"lease": lease, "max_cost": max_cost, "max_runtime": max_runtime}
    idle = None if max_idle is None else float(seconds_of(max_idle))
    if idle is not None and not 0 < idle < math.inf:
        raise ValueError(
            f"max_idle={max_idle!r} is not valid. Give a positive number of seconds or a timedelta, or None for no "
            "limit."
        )
    group = InferenceEndpointGroup(name, group_id, connection, start, release, use, idle)
    group.own_limit = None if max_idle is DEFAULT_MAX_IDLE else max_idle
    if deferrable is False or is_template(hf_endpoints_conn_id):
        group.refuse_without_watch()
    return group


class InferenceEndpointGroup(DependencyMixin):
    """What `inference_endpoint` returns; see there.

    `with … as endpoint` gives the started endpoint, for the argument `endpoint` of operators and sensors; it is a
    mapping, the endpoint's summary and its lease, when a task gets it. The group itself takes arrows (`>>`) once
    it was entered, also in `chain(…)`: what comes after it waits for the work. A `Label` takes its `task_group`.
    """

    def __init__(
        self,
        name: Any,
        group_id: str | None,
        connection: dict[str, Any],
        start: dict[str, Any],
        release: AfterUse | None,
        use: dict[str, Any],
        max_idle: float | None,
    ) -> None:
        self._name = name
        self._group_id = group_id
        self._connection = connection
        self._start = start
        self._release = release
        self._use = use
        self._max_idle = max_idle
        self.own_limit: float | timedelta | None = None  # `max_idle`, if the DAG's author has given one
        self._stack = ExitStack()
        self._tasks: Tasks | None = None
        self.task_group: TaskGroup | None = None

    def __enter__(self) -> Any:
        """Open the group; the started endpoint."""
        group = TaskGroup(**self._group_arguments(_default_id(self._name)), add_suffix_on_collision=True)
        with ExitStack() as stack:  # a bad argument must not leave the group open for whatever is made next
            self.task_group = stack.enter_context(group)
            self._tasks = self._place()
            self._stack = stack.pop_all()
        return self._tasks.start.output

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the arrows around what was added inside."""
        with self._stack:  # closed also where the work is refused
            if kind is None and self._tasks is not None:
                self._tasks.connect()

    def __call__(self, function: Callable[..., Any]) -> Any:
        """Decorate a function that makes tasks: it is called with the endpoint as its first argument.

        What comes back is as from Airflow's `@task_group`: call it, `partial` or `expand` it with the other arguments.
        """
        first, *rest = inspect.signature(function).parameters.values()
        if first.kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            raise TypeError(f"{function.__name__} takes no endpoint. Add the endpoint as its first parameter.")

        @wraps(function)
        def work(*args: Any, **kwargs: Any) -> Any:
            tasks = self._place()
            result = function(tasks.start.output, *args, **kwargs)
            tasks.connect()
            return result

        work.__signature__ = inspect.Signature(rest)  # type: ignore[attr-defined]
        return task_group(**self._group_arguments(function.__name__))(work)

    def _place(self) -> Tasks:
        tasks = Tasks.place(self._name, self._connection, self._start, self._release, self._use, self._max_idle)
        if not tasks.is_watched:  # the connection may be that of `default_args`
            self.refuse_without_watch()
        return tasks

    def refuse_without_watch(self) -> None:
        """Refuse a `max_idle` that was given, where nothing can watch it."""
        if self.own_limit is not None:
            raise ValueError(
                f"max_idle={self.own_limit!r} is watched in the triggerer, which needs deferrable=True and "
                "hf_endpoints_conn_id without a template, also in default_args. Set these, or leave max_idle out."
            )

    def _group_arguments(self, default_id: str) -> dict[str, Any]:
        # The tasks inside mean this connection unless they name another one.
        defaults = {name: value for name, value in self._connection.items() if name == "hf_endpoints_conn_id"}
        return {"group_id": self._group_id or default_id, "default_args": defaults, "tooltip": _TOOLTIP}

    # What Airflow asks of something that takes arrows

    @property
    def _group(self) -> Any:
        if self.task_group is None:
            raise RuntimeError("inference_endpoint(…) has no tasks yet. Set dependencies after its `with` block.")
        return self.task_group

    @property
    def roots(self) -> list[Any]:
        """The first tasks."""
        return list(self._group.roots)

    @property
    def leaves(self) -> list[Any]:
        """The last tasks."""
        return list(self._group.leaves)

    def update_relative(self, *args: Any, **kwargs: Any) -> None:
        """As `TaskGroup.update_relative`."""
        self._group.update_relative(*args, **kwargs)

    def set_upstream(self, *args: Any, **kwargs: Any) -> None:
        """As `TaskGroup.set_upstream`."""
        self._group.set_upstream(*args, **kwargs)

    def set_downstream(self, *args: Any, **kwargs: Any) -> None:
        """As `TaskGroup.set_downstream`."""
        self._group.set_downstream(*args, **kwargs)


def _default_id(name: Any) -> str:
    return name if isinstance(name, str) and re.fullmatch(r"[\w-]+", name) else "endpoint"
