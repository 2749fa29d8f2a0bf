"""Airflow's decisions about a run, requested only if the answer may have changed: its own code, on fewer instances.

Airflow checks the dependencies of every unfinished task instance in every loop. The answer is the same as in the loop
before if nothing that they depend on has ended since, and it is no if a direct upstream task has not
ended. Such instances are left out here. `test_world.py` checks that this changes no decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import State, TaskInstanceState

from tests.generated.tables import RunKey, Tables

# What is asked about in every loop: time alone may have changed the answer.
_TIMED = (TaskInstanceState.UP_FOR_RETRY, TaskInstanceState.UP_FOR_RESCHEDULE)
# Rules that say no as long as a task before is not over and none has ended but well.
_WAIT_FOR_ALL = ("all_success", "all_done", "all_done_setup_success", "none_failed")


@dataclass(frozen=True)
class _Looks:
    """At which tasks the dependencies of one task look: `direct` is before it, the others further up."""

    direct: frozenset[str]
    others: frozenset[str]
    group: str | None  # the mapped group that the task is in
    rule: str


class Decisions:
    """What was decided about each run, and at which tasks each task of a DAG looks."""

    def __init__(self, tables: Tables, everything: bool = False) -> None:
        self._tables = tables
        self._everything = everything  # leave out nothing, as Airflow does
        self._states: dict[RunKey, dict[tuple[str, int], Any]] = {}  # when it was decided last
        self._looks: dict[tuple[int, str], _Looks] = {}  # by the DAG's id() and the task

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """While this lasts, Airflow reads task instances from the tables and leaves out what cannot have changed."""
        ready, decisions = DagRun._get_ready_tis, self

        def get_ready(
            run: Any, schedulable_tis: list[Any], finished_tis: list[Any], session: Any
        ) -> tuple[list[Any], bool, bool]:
            asked = schedulable_tis if decisions._everything else decisions._to_be_asked(run, schedulable_tis)
            states = [ti.state for ti in asked]
            # Airflow reads once more what it has just asked, to see what has changed: these are the same objects.
            with patch.object(TaskInstance, "filter_for_tis", staticmethod(lambda tis: None)):
                found, _, expanded = ready(run, asked, finished_tis, session)
            changed = any(ti.state != before for ti, before in zip(asked, states, strict=True))
            if expanded:
                decisions._tables.forget()
            # Scheduled now. One that is cleared before the next loop is asked about again.
            decisions._states.setdefault((run.dag_id, run.run_id), {}).update(
                {(ti.task_id, ti.map_index): "busy" for ti in found}
            )
            return found, changed, expanded

        def fetch_instances(dag_id: str, run_id: str, task_ids: Any = None, state: Any = None, **_: Any) -> list[Any]:
            states = (state,) if isinstance(state, str) else state
            found = decisions._tables.tis(dag_id, run_id, states or ())
            return [ti for ti in found if task_ids is None or ti.task_id in task_ids]

        with (
            patch.object(DagRun, "_get_ready_tis", get_ready),
            patch.object(DagRun, "fetch_task_instances", staticmethod(fetch_instances)),
        ):
            yield

    def _to_be_asked(self, run: Any, tis: list[Any]) -> list[Any]:
        key = (run.dag_id, run.run_id)
        now = {(ti.task_id, ti.map_index): _as_others_see(ti.state) for ti in self._tables.tis(*key)}
        before = self._states.get(key, {})
        self._states[key] = now
        changed: dict[str, dict[int, Any]] = defaultdict(dict)  # what is new or gone has changed as well
        for task_id, index in dict(now.items() ^ before.items()):
            changed[task_id][index] = now.get((task_id, index), "gone")
        ended: dict[str, set[Any]] = defaultdict(set)
        for (task_id, _), state in now.items():
            if state in State.finished:
                ended[task_id].add(state)
        return [ti for ti in tis if self._may_be_decided(run.dag, ti, changed, ended)]

    def _may_be_decided(
        self, dag: Any, ti: Any, changed: dict[str, dict[int, Any]], ended: dict[str, set[Any]]
    ) -> bool:
        if ti.state in _TIMED or ti.task.depends_on_past or ti.task.wait_for_downstream:
            return True
        looks = self._of(dag, ti.task)
        seen = [
            state
            for task_id in {ti.task_id, *looks.direct, *looks.others} & changed.keys()
            for index, state in changed[task_id].items()
            if index < 0 or ti.map_index in (index, -1) or self._is_apart(dag, task_id, looks)
        ]
        if not seen:
            return False
        return _direct_ones_allow(looks, ended) or any(state not in (None, "busy", "success") for state in seen)

    def _is_apart(self, dag: Any, task_id: str, looks: _Looks) -> bool:
        """Whether a task depends on all indexes of another: only within one mapped group it looks at its own alone."""
        return looks.group is None or self._of(dag, dag.get_task(task_id)).group != looks.group

    def _of(self, dag: Any, task: Any) -> _Looks:
        key = (id(dag), task.task_id)
        if key not in self._looks:
            self._looks[key] = _looks_of(task)
        return self._looks[key]


def _as_others_see(state: Any) -> Any:
    """Dependencies look at what is over; an instance that may be scheduled is asked about itself."""
    return state if state is None or state in State.finished else "busy"


def _direct_ones_allow(looks: _Looks, ended: dict[str, set[Any]]) -> bool:
    if not looks.direct or looks.rule == "always":
        return True
    over = [ended[task_id] for task_id in looks.direct if task_id in ended]
    if not over:
        return False
    well = all(states == {TaskInstanceState.SUCCESS} for states in over)
    return not (well and len(over) < len(looks.direct) and looks.rule in _WAIT_FOR_ALL)


def _looks_of(task: Any) -> _Looks:
    further = task.get_flat_relative_ids(upstream=True) - task.upstream_task_ids
    others = {each.task_id for each in task.get_upstreams_only_setups()} | _mapped_dependencies(task)
    if task.is_teardown:
        others |= further
    group = task.get_closest_mapped_task_group()
    return _Looks(
        direct=frozenset(task.upstream_task_ids),
        others=frozenset(others),
        group=None if group is None else group.node_id,
        rule=str(getattr(task.trigger_rule, "value", task.trigger_rule)),
    )


def _mapped_dependencies(task: Any) -> set[str]:
    """The tasks whose results a task, or a group around it, is expanded over."""
    mapped = [*task.iter_mapped_task_groups(), *([task] if hasattr(task, "iter_mapped_dependencies") else [])]
    return {each.task_id for one in mapped for each in one.iter_mapped_dependencies()}
