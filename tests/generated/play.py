"""Plays one case from its first run to the last moment at which anything happens, and says what it broke."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow.utils.state import TaskInstanceState

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.generated import database, tasks
from tests.generated.attempts import Attempt
from tests.generated.invariants import broken
from tests.generated.shapes import Alone, Case, Dag, Group, Person, Task
from tests.generated.wanted import Fault, lost_starts, names_in
from tests.generated.wire import URL, Wire, all_requests_through
from tests.generated.world import LOST_AFTER, a_world
from tests.generated.written import RefusedCase, build

TOKEN = "hf_canaryOfTheToken"
NAMESPACE = "acme"
KEEP = "hf_endpoints_keep"  # the Variable by which a person keeps endpoints from sweepers
HORIZON = 3 * 86400.0  # seconds: what has not ended by then never does
MOST_MOMENTS = 8000  # of the hub: a case of three runs has some hundred


@dataclass
class Played:
    """What came of a case."""

    faults: list[Fault] = field(default_factory=list)
    refused: str | None = None  # the product's own error, where a DAG was refused at parse
    runs: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    hours: float = 0.0
    lost_starts: int = 0  # see `wanted.lost_starts`
    story: list[str] = field(default_factory=list)
    xcoms: dict[str, set[str]] = field(default_factory=dict)  # the keys that are left, by the end of the task's id
    missed: list[str] = field(default_factory=list)  # XComs that a task asked for and that were not there


def play(case: Case, *, story: bool = False, everything: bool = False) -> Played:
    """Play it, in virtual time.

    :param story: tell what happened, line by line
    :param everything: see `a_world`
    """
    folder = Path(tempfile.mkdtemp(prefix="hf-endpoints-generated-"))
    tasks.FILES[:] = [folder]
    try:
        dags = [build(dag) for dag in case.dags]
        return _Play(case, dags, folder).to_the_end(story, everything)
    except RefusedCase as error:
        return Played(refused=str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Play:
    """One case on its way."""

    def __init__(self, case: Case, dags: list[Any], folder: Path) -> None:
        self.case, self.dags, self.folder = case, dags, folder
        self.started_usd: dict[tuple[str, str, Any], dict[str, float]] = {}  # by run and beginning
        self.costs: list[tuple[str, float, float]] = []  # who, reported, metered
        self.triggered = 0
        self.left = list(case.people)  # who has not come yet

    def to_the_end(self, story: bool, everything: bool) -> Played:
        """See `play`."""
        case = self.case
        random.seed(case.seed)
        tasks.USES.clear()
        extra = {"lease_path": f"file://{self.folder}/leases"} if case.leases == "files" else {}
        connection = {"conn_type": "hf_endpoints", "host": URL, "password": TOKEN, "extra": extra}
        variables = {"AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT": json.dumps(connection)}
        with ExitStack() as stack:
            stack.enter_context(patch.dict(os.environ, variables))
            self.world = world = stack.enter_context(a_world(everything))
            self.emulator = self._emulator()
            self.wire = Wire(world.hub, self.emulator, case.troubles, case.lag)
            self._find()
            self.wire.began = self.began = world.now
            stack.enter_context(all_requests_through(self.wire))
            self._set_up()
            idle = world.hub.play(world.now + HORIZON, MOST_MOMENTS)
            return self._played(idle, story)

    # ------------------------------------------------------------------------------------------- before

    def _emulator(self) -> Emulator:
        case = self.case
        failing: dict[str, Any] = (
            {"fail": "CUDA out of memory API_KEY=canary-of-the-endpoint"} if case.fails_to_start else {}
        )
        emulator = Emulator(
            token=TOKEN,
            namespace=NAMESPACE,
            public_url=URL,
            pending_seconds=5.0,
            initializing_seconds=float(case.initializing),
            loading_seconds=float(case.loading),
            deleting_seconds=5.0,
            **failing,
        )
        emulator._service.base_url = URL  # it does not listen, so it is not told
        return emulator

    def _find(self) -> None:
        """The endpoints that are there before anything begins."""
        existing = {part.name for dag in self.case.dags for part in _endpoints(dag) if not part.create}
        named = {part.name for dag in self.case.dags for part in _endpoints(dag)}
        for name in sorted(existing if self.case.found is None else named):
            body = {
                "name": name,
                "type": "protected",
                "provider": {"vendor": "aws", "region": "us-east-1"},
                "compute": {
                    "accelerator": "cpu",
                    "instanceType": "intel-icl",
                    "instanceSize": "x2",
                    "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 60},
                },
                "model": {
                    "repository": "gpt2",
                    "framework": "pytorch",
                    "task": "text-generation",
                    "image": {"huggingface": {}},
                    "secrets": {"API_KEY": "canary-of-the-endpoint"},
                },
            }
            self.emulator._service.create(NAMESPACE, body, "somebody")
            self.world.hub.clock.now += 7200 if self.case.found == "scaledToZero" else 600
            self.emulator.endpoint(name)
            if self.case.found in (None, "paused"):
                self.emulator._service.pause(NAMESPACE, name)

    def _set_up(self) -> None:
        world, case = self.world, self.case
        database.set_pools([("small", 1)], world.session)
        parts = [part for dag in case.dags for part in _tasks(dag)]
        world.limited = any(part.pool for part in parts) or any(dag.max_active_tasks != 16 for dag in case.dags)
        world.on_state = self._came_to
        world.memory.on_xcom = self._cost
        world.memory.variables |= {KEEP: " ".join(case.kept)} if case.kept else {}
        for shape, dag in zip(case.dags, self.dags, strict=True):
            world.add(dag)
            for run, after in enumerate(sorted(shape.runs)):
                day = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=run)
                world.hub.after(after, partial(world.scheduler.new_run, dag.dag_id, f"run{run}", day))

    # ------------------------------------------------------------------------------------------- meanwhile

    def _came_to(self, attempt: Attempt, state: str) -> None:
        self.started_usd.setdefault(self._beginning(attempt.dag_id, attempt.run_id), self._meters())
        for person in list(self.left):
            if person.state == state and self._is_meant(person, attempt):
                self.left.remove(person)
                self.world.hub.after(person.after, lambda person=person: self._do(person, attempt))  # type: ignore[misc]

    def _is_meant(self, person: Person, attempt: Attempt) -> bool:
        dag = self.dags[person.dag % len(self.dags)]
        task_ids = [task.task_id for task in dag.tasks if not task.inherits_from_empty_operator]
        runs = self.case.dags[person.dag % len(self.dags)].runs or (0,)
        wanted = (dag.dag_id, f"run{person.run % len(runs)}", task_ids[person.task % len(task_ids)])
        return (attempt.dag_id, attempt.run_id, attempt.task_id) == wanted

    def _do(self, person: Person, attempt: Attempt) -> None:
        world = self.world
        match person.deed:
            case "kill":
                world.workers.kill(attempt)
            case "lose":
                world.workers.kill(attempt, notice_after=LOST_AFTER)
            case "terminate":
                world.workers.terminate(attempt)
            case "fail":
                world.end(attempt.place, TaskInstanceState.FAILED)
            case "succeed":
                world.end(attempt.place, TaskInstanceState.SUCCESS)
            case "clear":
                world.clear(attempt.dag_id, attempt.run_id, attempt.task_id)
            case "fail run":
                world.end_run(attempt.dag_id, attempt.run_id, "failed")
            case "succeed run":
                world.end_run(attempt.dag_id, attempt.run_id, "success")
            case "trigger":
                self.triggered += 1
                day = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=self.triggered)
                world.scheduler.new_run(self.dags[-1].dag_id, f"run{100 + self.triggered}", day)
            case "pause dag":
                world.pause_dag(attempt.dag_id)

    def _beginning(self, dag_id: str, run_id: str) -> tuple[str, str, Any]:
        """A run that has ended and is cleared begins again, and its costs are those since then."""
        return dag_id, run_id, self.world.tables.run(dag_id, run_id).start_date

    def _meters(self) -> dict[str, float]:
        """What the meter says of each endpoint that was ever there, by its id."""
        service = self.emulator._service
        return {each.id: float(service.meter(each)["usd"]) for each in service.everything()}

    def _cost(self, key: Any, value: Any) -> None:
        if key[4] == "cost" and isinstance(value, dict) and value.get("usd") is not None:
            name = str(value.get("name") or value.get("endpoint") or "demo").rsplit("/", 1)[-1]
            began, now = self.started_usd.get(self._beginning(key[0], key[1]), {}), self._meters()
            mine = [
                each.id
                for each in self.emulator._service.everything()
                if each.name == name
                and not self._was_never_of(key[0], key[1], each)
                and not self._is_before_the_group(key, each)
            ]
            metered = sum(now[each] - began.get(each, 0.0) for each in mine)
            self.costs.append((f"{key[0]}/{key[1]}/{key[2]}", float(value["usd"]), metered))

    def _was_never_of(self, dag_id: str, run_id: str, endpoint: Any) -> bool:
        """Whether an endpoint was deleted before a run touched it: one of the same name came after it."""
        last = endpoint.history[-1]
        if last.state != "deleted":
            return False
        touched = [(change.at, change.who) for change in self.wire.changes if change.name == endpoint.name]
        touched += [(use.since, use.who) for use in tasks.USES if use.name == endpoint.name]
        return not any(
            who is not None and (who.dag_id, who.run_id) == (dag_id, run_id) and endpoint.history[0].at <= at <= last.at
            for at, who in touched
        )

    def _is_before_the_group(self, key: Any, endpoint: Any) -> bool:
        """Whether an endpoint was deleted before a release's group began: what deleted it has reported its cost."""
        group, _, task = key[2].rpartition(".")
        last = endpoint.history[-1]
        if task != "release" or last.state != "deleted":
            return False
        acquires = [each.began for each in self.world.attempts if each.place[:3] == (*key[:2], f"{group}.acquire")]
        return bool(acquires) and last.at <= min(acquires)

    # ------------------------------------------------------------------------------------------- after

    def _played(self, idle: bool, story: bool) -> Played:
        world = self.world
        if world.memory.unanswered:
            raise NotImplementedError(f"the simulated supervisor has no answer to {sorted(world.memory.unanswered)}")
        played = Played(requests=self.wire.requests, hours=(world.now - self.began) / 3600)
        played.runs.update(str(run.state) for run in world.tables.runs())
        played.ends.update(attempt.end for attempt in world.attempts)
        played.actions.update(change.action for change in self.wire.changes)
        played.lost_starts = sum(len(lost_starts(self, name)) for name in names_in(self))
        played.faults = broken(self, idle)
        for key in world.memory.xcoms:
            played.xcoms.setdefault(key[2].rpartition(".")[2], set()).add(key[4])
        played.missed = [f"{key[2]}: {key[4]}" for key in world.memory.missed]
        if story:
            played.story = self._story()
        return played

    def _story(self) -> list[str]:
        began = self.began
        lines = [(each.began, f"{each}: {each.end}") for each in self.world.attempts]
        lines += [
            (each.at, f"    {each.action} {each.name} ({each.state}) {each.status} by {each.who}")
            for each in self.wire.changes
        ]
        for part in {part.name for dag in self.case.dags for part in _endpoints(dag)}:
            try:
                lines += [(moment["at"], f"        {part} is {moment['state']}") for moment in self._history(part)]
            except KeyError:
                continue
        runs = [f"{run.dag_id}/{run.run_id}: {run.state}" for run in self.world.tables.runs()]
        tis = [f"{ti.dag_id}/{ti.run_id}/{ti.task_id}: {ti.state}" for ti in self.world.tables.tis()]
        return [f"{at - began:9.1f} {line}" for at, line in sorted(lines)] + runs + tis

    def _history(self, name: str) -> list[dict[str, Any]]:
        found = []
        for each in self.emulator._service.everything():
            if each.name == name:
                found += [{"at": moment.at, "state": moment.state} for moment in each.history]
        return found


def _endpoints(dag: Dag) -> list[Group | Alone]:
    found: list[Group | Alone] = []
    for part in dag.parts:
        if isinstance(part, Group):
            found += [part, *(each for each in part.tasks if isinstance(each, Group))]
        elif isinstance(part, Alone):
            found.append(part)
    return found


def _tasks(dag: Dag) -> list[Task]:
    found: list[Task] = [part for part in dag.parts if isinstance(part, Task)]
    for part in _endpoints(dag):
        found += [each for each in part.tasks if isinstance(each, Task)]
    return found
