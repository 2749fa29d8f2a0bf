"""A small Airflow beside an emulated service, in one thread and in virtual time: scheduler, workers and triggerer.

What becomes of a DAG run is decided by Airflow's own scheduler code on its own tables, and a task is run by Airflow's
own task runner. Simulated are processes, time, the network, and the supervisors between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest.mock import patch

from airflow.models.taskmap import TaskMap
from airflow.sdk.execution_time import task_runner
from airflow.utils.state import TaskInstanceState

from airflow_provider_hf_endpoints.endpoints.api.transport import prepare_for_loop
from tests.generated import database
from tests.generated.attempts import Attempt
from tests.generated.clock import VirtualClock, in_time_of
from tests.generated.decisions import Decisions
from tests.generated.hub import Hub
from tests.generated.scheduler import Scheduler
from tests.generated.supervisor import Line, Memory, XComKey, when
from tests.generated.surroundings import surroundings
from tests.generated.tables import RunKey, Tables
from tests.generated.triggerer import Triggerer
from tests.generated.wire import ACTOR
from tests.generated.workers import Workers

HEARTBEAT = 5.0  # seconds, up to which a supervisor hears late that its task was ended
LOST_AFTER = 300.0  # seconds without a heartbeat, after which a task counts as lost


class World:
    """See the module. Made by `a_world`."""

    def __init__(self, hub: Hub, session: Any) -> None:
        self.hub = hub
        self.session = session
        self.memory = Memory()
        self.tables = Tables(session)
        self.dags: dict[str, Any] = {}  # as a worker has them
        self.seen: dict[str, Any] = {}  # as the scheduler sees them
        self.stored: dict[str, str] = {}  # as the database keeps them
        self.paused: set[str] = set()  # DAGs that somebody has paused
        self.timed_out: set[RunKey] = set()  # runs that `dagrun_timeout` has ended
        self.limited = False  # whether pools or concurrency limits have a say
        self.on_state: Callable[[Attempt, str], None] = lambda attempt, state: None
        self.said: list[str] = []  # every line that any process has logged
        self.scheduler = Scheduler(self)
        self.workers = Workers(self)
        self.triggerer = Triggerer(self)
        self.memory.on_length = self._note_length

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.hub.clock.now

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt of every task, oldest first."""
        return self.workers.attempts

    def add(self, dag: Any) -> None:
        """A DAG that the scheduler knows from now on."""
        self.dags[dag.dag_id] = dag
        self.seen[dag.dag_id], self.stored[dag.dag_id] = database.store(dag, self.session)

    # ------------------------------------------------------------------------------------------- what people do

    def end(self, place: Any, state: TaskInstanceState) -> None:
        """Mark a task that is not over."""
        ti = self.tables.ti(place)
        if ti is not None and ti.state in (
            "running",
            "deferred",
            "awaiting_input",
            "up_for_retry",
            "up_for_reschedule",
        ):
            ti.state = state
            ti.end_date = when(self.now)
        self.ends_from_outside()

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """As the button does: the task, and what is behind it."""
        from airflow.models.taskinstance import clear_task_instances

        # Of a copy, as the API server has one: in Airflow 3.3 the groups inside of a mapped one move to the subset.
        whole = database.read(dag_id, self.session)
        dag = whole.partial_subset([task_id], include_downstream=True, include_upstream=False)
        tis = [ti for ti in self.tables.tis(dag_id, run_id) if ti.task_id in dag.task_dict]
        self.session.flush()
        clear_task_instances([ti for ti in tis if ti.state is not None], session=self.session)
        self.ends_from_outside()

    def end_run(self, dag_id: str, run_id: str, state: Literal["success", "failed"]) -> None:
        """Mark a run."""
        from airflow.api.common import mark_tasks

        self.session.flush()
        mark = getattr(mark_tasks, f"set_dag_run_state_to_{state}")
        mark(dag=self.seen[dag_id], run_id=run_id, commit=True, session=self.session)
        self.ends_from_outside()

    def trigger(self, msg: Any) -> bool:
        """A task asks for a run of another DAG; whether there was none of that name."""
        if self.tables.run(msg.dag_id, msg.run_id) is not None:
            return False
        self.scheduler.new_run(msg.dag_id, msg.run_id, msg.logical_date or when(self.now))
        return True

    def pause_dag(self, dag_id: str) -> None:
        """Pause a DAG: nothing of it is scheduled any more."""
        from airflow.models.dag import DagModel

        self.paused.add(dag_id)
        self.session.get(DagModel, dag_id).is_paused = True

    def ends_from_outside(self) -> None:
        """Have the supervisors hear of what people did to running tasks, and the triggerer of deferred ones."""
        self.session.flush()
        self.tables.forget(everything=True)
        for attempt in self.attempts:
            ti = self.tables.ti(attempt.place) if attempt.alive else None
            if attempt.alive and (ti is None or ti.id != attempt.ti_id or ti.state != TaskInstanceState.RUNNING):
                self.hub.after(HEARTBEAT, lambda attempt=attempt: self.workers.terminate(attempt))  # type: ignore[misc]
        for run in self.tables.runs():
            self.scheduler.changed(run.dag_id, run.run_id)
        self.scheduler.runs_changed()

    # ------------------------------------------------------------------------------------------- what tasks ask

    def state_of_run(self, dag_id: str, run_id: str) -> Any:
        """The answer to `GetDagRunState`; None where there is no such run."""
        run = self.tables.run(dag_id, run_id)
        return None if run is None else run.state

    def _note_length(self, key: XComKey, length: int) -> None:
        """Over how many the tasks are mapped that take this result."""
        dag_id, run_id, task_id, map_index, _ = key
        self.session.merge(
            TaskMap(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index, length=length, keys=None)
        )
        self.session.flush()

    def states_of(self, msg: Any) -> dict[str, Any]:
        """The answer to `GetTaskStates`."""
        found: dict[str, Any] = {}
        for ti in self.tables.tis(msg.dag_id):
            if msg.run_ids and ti.run_id not in msg.run_ids:
                continue
            if msg.task_ids and ti.task_id not in msg.task_ids:
                continue
            if msg.map_index is not None and ti.map_index != msg.map_index:
                continue
            name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
            found.setdefault(ti.run_id, {})[name] = ti.state
        return found


@contextmanager
def a_world(everything: bool = False) -> Iterator[World]:
    """An empty world; inside the `with`, the whole process lives in its time.

    :param everything: ask Airflow in each loop about every task, also where the answer cannot be another one
    """
    hub = Hub(VirtualClock())
    prepare_for_loop()  # now: it runs a loop of its own, which has no place in a simulated one
    with ExitStack() as stack:
        world = World(hub, stack.enter_context(database.an_empty_one()))
        stack.callback(world.tables.close)
        line = Line(
            world.memory,
            ACTOR.get,
            world.workers.ended,
            world.states_of,
            world.state_of_run,
            world.workers.skip,
            world.trigger,
            lambda: hub.closed,
            lambda dag_id: dag_id in world.paused,
        )
        stack.enter_context(Decisions(world.tables, everything).in_force())
        stack.enter_context(patch.object(task_runner, "SUPERVISOR_COMMS", line, create=True))
        stack.enter_context(surroundings(hub, world.said))
        stack.enter_context(in_time_of(hub.clock, hub.sleep))
        stack.callback(hub.close)
        yield world
