"""Tasks that use an endpoint cannot skip what stops the endpoint, whatever they tell Airflow to skip.

A function that calls `SkipMixin().skip` may name all tasks downstream, the release among them. Airflow does not exempt
teardowns: the release would be skipped, the run would succeed, and the endpoint would bill. The list of tasks to skip
is an exception that passes through the task's `execute`, so it can be shortened there, before Airflow gets it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, DecoratedOperator, DownstreamTasksSkipped

from airflow_provider_hf_endpoints.operators.changing.unended import run_after_any_setup

log = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]


class UnskippableTeardown(BaseOperator):
    """A stop or an update. As a teardown, no task upstream can skip it, in whichever order the arrows were drawn."""

    unskippable = True

    def as_teardown(self, **options: Any) -> Any:
        """See Airflow."""
        made = super().as_teardown(**options)
        keep_releases(self.get_flat_relatives(upstream=True))
        if getattr(self, "stops_endpoint", False):
            run_after_any_setup(self)
        return made

    def update_relative(self, other: Any, upstream: bool = True, edge_modifier: Any = None) -> None:
        """Airflow calls this for an arrow that another task draws to or from this one."""
        super().update_relative(other, upstream, edge_modifier)
        if upstream and self.is_teardown:
            _keep_before(other)

    def set_upstream(self, task_or_task_list: Any, edge_modifier: Any = None) -> None:
        """See Airflow."""
        super().set_upstream(task_or_task_list, edge_modifier)
        if self.is_teardown:
            keep_releases(self.get_flat_relatives(upstream=True))


def keep_releases(tasks: Iterable[Any]) -> None:
    """Make these tasks, and those that are placed before them later, skip nothing that stops an endpoint.

    Airflow has no hook around `execute` that sees an exception, and runs a copy of the task. So the class of the task
    is exchanged for a subclass with the same name. Mapped tasks are left as they are: a mapped task skips no others.
    """
    for task in tasks:
        kind: Any = type(task)
        ours = kind.__module__.startswith(f"{_PACKAGE}.") and not issubclass(kind, DecoratedOperator)
        ours = ours or hasattr(kind, "keeps_releases")
        if isinstance(task, BaseOperator) and not ours and not task.inherits_from_empty_operator:
            task.__class__ = _keeping(kind)


def _keep_before(task: Any) -> None:
    """A task, or a group of tasks, and all before it."""
    tasks = getattr(task, "leaves", [task])
    keep_releases(tasks)
    for each in tasks:
        keep_releases(each.get_flat_relatives(upstream=True))


@cache
def _keeping(kind: Any) -> Any:
    """A subclass of an operator's class that Airflow shows and stores as the class itself."""

    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _shortened(self):
            return kind.execute(self, *args, **kwargs)

    def resume_execution(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _shortened(self):
            return kind.resume_execution(self, *args, **kwargs)

    def update_relative(self: Any, other: Any, upstream: bool = True, edge_modifier: Any = None) -> None:
        kind.update_relative(self, other, upstream, edge_modifier)
        if upstream:
            _keep_before(other)

    def set_upstream(self: Any, task_or_task_list: Any, edge_modifier: Any = None) -> None:
        kind.set_upstream(self, task_or_task_list, edge_modifier)
        keep_releases(self.get_flat_relatives(upstream=True))

    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    methods = {"execute": execute, "resume_execution": resume_execution, "keeps_releases": True}
    arrows = {"update_relative": update_relative, "set_upstream": set_upstream}
    return type(kind)(kind.__name__, (kind,), names | methods | arrows)


@contextmanager
def _shortened(task: Any) -> Iterator[None]:
    """Around the execution of a task: what it skips is passed on without the releases."""
    try:
        yield
    except DownstreamTasksSkipped as skip:
        named = skip.tasks if isinstance(skip.tasks, list | tuple | set) else [skip.tasks]
        releases = {each.task_id for each in task.dag.tasks if _is_unskippable(each)}
        kept = [each for each in named if _id(each) not in releases]
        if len(kept) < len(named):
            log.warning(
                "Task %s skips %s as well, which would leave an endpoint running. These tasks are not skipped. Leave "
                "teardowns out of what a task skips.",
                task.task_id,
                ", ".join(sorted(_id(each) for each in named if each not in kept)),
            )
        skip.tasks = kept
        raise


def _is_unskippable(task: Any) -> bool:
    return task.is_teardown and getattr(task.operator_class, "unskippable", False)


def _id(skipped: str | tuple[str, int]) -> str:
    return skipped if isinstance(skipped, str) else skipped[0]
