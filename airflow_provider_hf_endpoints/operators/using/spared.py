"""Tasks that use an endpoint cannot skip its release, whatever they tell Airflow to skip.

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

from airflow.providers.common.compat.sdk import BaseOperator, DownstreamTasksSkipped

from airflow_provider_hf_endpoints.operators.using.marks import EndpointReleasedOperator
from airflow_provider_hf_endpoints.operators.using.release import ReleaseAcquiredOperator

log = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]
_RELEASES = (ReleaseAcquiredOperator, EndpointReleasedOperator)


def keep_releases(tasks: Iterable[Any]) -> None:
    """Make these tasks leave every release in their DAG out of what they skip.

    Airflow has no hook around `execute` that sees an exception, and runs a copy of the task. So the class of the task
    is exchanged for a subclass with the same name. Mapped tasks are left as they are: a mapped task skips no others.
    """
    for task in tasks:
        kind: Any = type(task)
        ours = kind.__module__.startswith(f"{_PACKAGE}.") or hasattr(kind, "keeps_releases")
        if isinstance(task, BaseOperator) and not ours and not task.inherits_from_empty_operator:
            task.__class__ = _keeping(kind)


@cache
def _keeping(kind: Any) -> Any:
    """A subclass of an operator's class that Airflow shows and stores as the class itself."""

    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _shortened(self):
            return kind.execute(self, *args, **kwargs)

    def resume_execution(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _shortened(self):
            return kind.resume_execution(self, *args, **kwargs)

    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    methods = {"execute": execute, "resume_execution": resume_execution, "keeps_releases": True}
    return type(kind)(kind.__name__, (kind,), names | methods)


@contextmanager
def _shortened(task: Any) -> Iterator[None]:
    """Around the execution of a task: what it skips is passed on without the releases."""
    try:
        yield
    except DownstreamTasksSkipped as skip:
        named = skip.tasks if isinstance(skip.tasks, list | tuple | set) else [skip.tasks]
        releases = {each.task_id for each in task.dag.tasks if isinstance(each, _RELEASES)}
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


def _id(skipped: str | tuple[str, int]) -> str:
    return skipped if isinstance(skipped, str) else skipped[0]
