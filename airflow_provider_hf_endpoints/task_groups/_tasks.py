"""The tasks of one use of an endpoint, and the dependencies between them and the user's work.

    acquire (setup) -> start (setup) -> the work -> work_ended (teardown) -> release (teardown) -> released (teardown)
    acquire -> watch (teardown) -> released

No task of the user is directly upstream of `release`. A task that skips its downstream tasks (a branch, a short
circuit, an approval) skips teardowns too, and a skipped release would leave the endpoint running. So `work_ended` is in
between: an empty task that is done when the work has ended, or is skipped at once. A task that can skip others gets its
own `work_ended`, because others may still work then. All other tasks share one. A function may skip tasks as
well, and nothing shows that when the DAG is parsed. So the release itself asks whether the tasks of the work have
ended, and no task of the work can skip the release (`unskippable.py`).

`watch` runs beside the start and the work, and ends when any of the work has begun. It is a teardown, so that it is
not one of the last tasks of the work or the group. It is upstream of `released`, so that its failure fails the run.

A task that takes the endpoint is work, also outside of the group: the release waits for it.

Airflow judges a run by its last tasks, without teardowns, so a failed release would not fail the run. A
teardown with `on_failure_fail_dagrun` counts, but hides a failure of the work directly upstream. Therefore there are
two: `release` after the work, so that the work counts, and `released` after the release, which counts for the release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from airflow.providers.common.compat.sdk import TriggerRule

from airflow_provider_hf_endpoints.endpoints.upkeep.release import AfterUse
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.changing.unskippable import keep_releases
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.checking.names import defaults_of
from airflow_provider_hf_endpoints.operators.starting.create import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.starting.resume import ResumeInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.acquire import AcquireInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.delays import can_skip
from airflow_provider_hf_endpoints.operators.using.idle import WatchIdleOperator
from airflow_provider_hf_endpoints.operators.using.marks import EndpointReleasedOperator, WorkEndedOperator
from airflow_provider_hf_endpoints.operators.using.release import RELEASE_RETRIES, ReleaseAcquiredOperator
from airflow_provider_hf_endpoints.task_groups._serving import settle_task
from airflow_provider_hf_endpoints.task_groups._settings import (
    OF_AN_EMPTY_TASK,
    OF_THE_RELEASE,
    OF_THE_START,
    OURS,
    refuse_rules,
    refuse_waiting_work,
    tell_ignored_defaults,
)

# The descriptions in Airflow's grid and graph.
_ACQUIRE_DOC = "Takes a lease on the endpoint, so other DAGs do not stop it, and records its state before the run."
_START_DOC = (
    "Starts the endpoint and waits until it answers; with `deferrable`, in the triggerer. Its result describes the "
    "endpoint."
)
_RELEASE_DOC = (
    "Ends the lease. If the endpoint has no other holder, stops it as `release` says and reports its cost. Runs "
    "after any result of the work, and retries until the endpoint is known to be stopped."
)
_RELEASED_DOC = "Fails if `release` has failed, so that the run fails too. No worker runs this task."
_ENDED_DOC = "Done when the tasks before it have ended, with any result. `release` waits for it. No worker runs it."
_WATCH_DOC = "Releases the endpoint if no work begins in time. Runs in the triggerer; no worker runs it."


class Tasks:
    """The tasks of one use in their group, and the dependencies between them and the work."""

    def __init__(self, acquire: Any, start: Any, release: Any, released: Any, watch: Callable[..., Any] | None) -> None:
        self.acquire, self.start, self.release, self.released = acquire, start, release, released
        self._watch = watch  # makes the watch from its label and the work; None without a limit
        self._busy: list[str] = []  # the work that the watch looks at
        self._awaited: list[str] = release.work  # the work that the release waits for
        self._shared: Any = None  # `work_ended`, if there is one

    @classmethod
    def place(
        cls,
        name: Any,
        connection: dict[str, Any],
        start_arguments: dict[str, Any],
        policy: AfterUse | None,
        use: dict[str, Any],
        max_idle: float | None,
    ) -> Tasks:
        """Add the tasks to the current group."""
        # Made first, because its id shows the prefix of the group's other ids.
        released = EndpointReleasedOperator(task_id="released", doc_md=_RELEASED_DOC, **OF_AN_EMPTY_TASK)
        prefix = released.task_id.removesuffix("released")
        connection, by_default = _where(connection, released), defaults_of(released)
        tell_ignored_defaults(by_default)
        acquire = AcquireInferenceEndpointOperator(
            task_id="acquire",
            endpoint=name,
            must_exist=not _creates(start_arguments),
            start_task_id=f"{prefix}start",
            release_task_id=f"{prefix}release",
            max_startup=start_arguments["timeout"],
            doc_md=_ACQUIRE_DOC,
            **use,
            **connection,
            **OURS,
        )
        defaults = {**OF_THE_START, "keep": policy == "keep", "doc_md": _START_DOC}
        otherwise = {"deferrable": True, **({"framework": "pytorch"} if _creates(start_arguments) else {})}
        defaults |= {name: by_default.get(name, value) for name, value in otherwise.items()}
        start = _start(name, acquire, {**defaults, **start_arguments, **connection})
        release = ReleaseAcquiredOperator(
            task_id="release",
            acquired=acquire.output,
            release=policy,
            work=[],
            hf_endpoints_conn_id=connection["hf_endpoints_conn_id"],
            doc_md=_RELEASE_DOC,
            **RELEASE_RETRIES,
            **OF_THE_RELEASE,
        )
        acquire >> start
        release.as_teardown(setups=[acquire, start])
        # Also downstream of `acquire`, so that a clear that runs the release again also runs this task again.
        released.as_teardown(setups=[acquire], on_failure_fail_dagrun=True)
        released.trigger_rule = TriggerRule.ALL_SUCCESS
        release >> released
        watch = None
        # Without a deferral there may be no triggerer, and a task that begins in the triggerer renders no template.
        if max_idle is not None and start.deferrable and not is_template(connection["hf_endpoints_conn_id"]):
            watch = partial(
                _watch,
                acquire_task_id=acquire.task_id,
                start_task_id=start.task_id,
                max_idle=max_idle,
                max_startup=acquire.max_startup,
                release=policy,
                hf_endpoints_conn_id=connection["hf_endpoints_conn_id"],
            )
        return cls(acquire, start, release, released, watch)

    @property
    def is_watched(self) -> bool:
        """Whether there is a watch, or there will be one when there is work."""
        return self._watch is not None

    def connect(self) -> None:
        """Add the dependencies: the start before the first tasks of the work, and the release after all of them."""
        own = {each.task_id for each in (self.acquire, self.start, self.release, self.released)}
        work = [each for each in self.acquire.task_group if each.task_id not in own]
        refuse_waiting_work([self.start, *work])
        settle_task(self.start, work)
        ids = {each.task_id for each in work}
        for task in work:
            if ids.isdisjoint(task.upstream_task_ids):
                self.start >> task
        refuse_rules(self.start.downstream_list)
        # All tasks, not only the last ones: those have ended as soon as an upstream task has failed, and others may
        # still be sending.
        awaited = [each for each in _outside_of_uses(work) if not each.is_setup or _is_last(each, ids)]
        self._await(awaited)
        self._look_at(work)
        # Also tasks outside of the group that come before some of the work.
        keep_releases(self.release.get_flat_relatives(upstream=True))
        self._follow(ids)

    def _await(self, tasks: Iterable[Any]) -> None:
        """Make the release wait for these tasks."""
        for task in tasks:
            self._awaited.append(task.task_id)
            if can_skip(task):
                task >> self._ended(f"{self._label(task)}_ended")
                continue
            if self._shared is None:
                self._shared = self._ended("work_ended")
            task >> self._shared

    def _ended(self, label: str) -> Any:
        """A task between the work and the release."""
        ended = WorkEndedOperator(
            task_id=self._free(label), doc_md=_ENDED_DOC, task_group=self.acquire.task_group, **OF_AN_EMPTY_TASK
        )
        # A teardown, so that it is not one of the last tasks, which decide about the run and begin the group's outgoing
        # dependencies. Of `acquire`, so that a clear that runs the release again runs this task again.
        ended.as_teardown(setups=[self.acquire])
        ended >> self.release
        return ended

    def _look_at(self, work: Iterable[Any]) -> None:
        """Make the watch end also when the first of these tasks begins."""
        busy = [each.task_id for each in work if _is_work(each)]
        if self._watch is None or not busy:
            return
        if not self._busy:
            watch = self._watch(self._free("watch"), self._busy, task_group=self.acquire.task_group)
            watch.as_teardown(setups=[self.acquire])
            watch >> self.released
        self._busy += busy

    def _follow(self, known: set[str]) -> None:
        """From now on, make the release wait for tasks outside of the group, or added later, that take the endpoint."""

        def took(other: Any, upstream: bool = True, edge_modifier: Any = None) -> None:
            if not upstream and other.task_id not in known:
                known.add(other.task_id)  # called once for each argument that takes the endpoint
                refuse_waiting_work([other])
                refuse_rules([other])
                self._await([other])
                self._look_at([other])
                keep_releases([other])

        # Airflow calls this for each task that is added downstream, and does nothing more itself.
        self.start.update_relative = took

    @property
    def _prefix(self) -> str:
        return str(self.released.task_id).removesuffix("released")

    def _label(self, task: Any) -> str:
        return str(task.task_id).removeprefix(self._prefix).replace(".", "_")

    def _free(self, label: str) -> str:
        """The label, or the first numbered one that no task or group of the user has."""
        # Not `dag.task_group_dict`, which Airflow 3.0 caches at its first use.
        groups = self.acquire.task_group.used_group_ids
        taken, free, number = {*self.acquire.dag.task_dict, *groups}, label, 0
        while f"{self._prefix}{free}" in taken:
            number += 1
            free = f"{label}__{number}"
        return free


def _creates(start_arguments: dict[str, Any]) -> bool:
    """Whether the start makes the endpoint; if not, it resumes one."""
    return "repository" in start_arguments


def _start(name: Any, acquire: Any, arguments: dict[str, Any]) -> Any:
    """The task `start`, in the current group."""
    if _creates(arguments):
        return CreateInferenceEndpointOperator(task_id="start", name=name, acquired=acquire.output, **arguments)
    return ResumeInferenceEndpointOperator(task_id="start", endpoint=name, acquired=acquire.output, **arguments)


def _where(given: dict[str, Any], task: Any) -> dict[str, Any]:
    """Where the endpoint is: as given, else by the `default_args` of the DAG and of the groups around a task."""
    defaults = defaults_of(task)
    found = {name: given.get(name, defaults.get(name)) for name in ("namespace", "hf_endpoints_conn_id")}
    if found["hf_endpoints_conn_id"] is None:
        found["hf_endpoints_conn_id"] = InferenceEndpointsHook.default_conn_name
    return found


def _watch(label: str, work: list[str], **given: Any) -> Any:
    """The watch. It keeps the list, to which work may be added until the DAG is stored."""
    return WatchIdleOperator(task_id=label, work=work, doc_md=_WATCH_DOC, **{**OURS, "retries": 0}, **given)


def _is_work(task: Any) -> bool:
    """Whether a task is work, and not this provider's around other uses inside: of those, only `acquire` counts."""
    return not isinstance(
        task, WorkEndedOperator | EndpointReleasedOperator | WatchIdleOperator | ReleaseAcquiredOperator
    )


def _is_last(task: Any, ids: set[str]) -> bool:
    return ids.isdisjoint(task.downstream_task_ids)


def _outside_of_uses(work: list[Any]) -> list[Any]:
    """The work without that of other uses inside: their last task, `released`, waits for all of it."""
    covered: set[str] = set()
    for task in work:
        if isinstance(task, EndpointReleasedOperator):
            covered |= task.get_flat_relative_ids(upstream=True) & {each.task_id for each in task.task_group or ()}
    return [each for each in work if each.task_id not in covered]
