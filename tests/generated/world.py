"""A small Airflow beside an emulated service, in one thread and in virtual time: scheduler, workers and triggerer.

What becomes of a DAG run is decided by Airflow's own scheduler code on its own tables, and a task is run by Airflow's
own task runner. Simulated are processes, time, the network, and the supervisors between.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import structlog
from airflow.sdk import DagRunState, TaskInstanceState
from airflow.sdk.api.datamodels._generated import TaskInstance as TaskInstanceSDK
from airflow.sdk.api.datamodels._generated import TIRunContext
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time import task_runner
from airflow.sdk.serde import deserialize, serialize
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from pydantic import TypeAdapter
from sqlalchemy import select

from airflow_provider_hf_endpoints.endpoints.api.transport import prepare_for_loop
from tests.generated import database
from tests.generated.clock import VirtualClock, in_time_of
from tests.generated.hub import Due, Hub, Process
from tests.generated.loop import VirtualLoop
from tests.generated.supervisor import Line, Memory, may_be_skipped, when
from tests.generated.wire import ACTOR

TICK = 1.0  # seconds between something that changed and the scheduler's look at it
BOOT = 2.0  # seconds from `queued` to the first line of a task's code, more or less
HEARTBEAT = 5.0  # seconds, up to which a supervisor hears late that its task was ended
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LOST_AFTER = 300.0  # seconds without a heartbeat, after which a task counts as lost

log = logging.getLogger(__name__)


@dataclass
class Attempt:
    """One process of one try of a task."""

    ti_id: Any
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    began: float
    first_reschedule: datetime | None = None
    process: Process | None = None
    runtime: Any = None
    ended: float | None = None
    end: str = "running"
    told: bool = False  # whether its supervisor has sent SIGTERM

    @property
    def place(self) -> tuple[str, str, str, int]:
        """The task instance, whatever its attempt."""
        return (self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def alive(self) -> bool:
        """Whether its process may still do something."""
        return self.process is not None and not self.process.over

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped} try {self.try_number}"


@dataclass
class Waiting:
    """A trigger that runs for a task."""

    attempt: Attempt
    task: asyncio.Task[None] | None = None
    limit: datetime | None = None  # Airflow's own, of the deferral


@dataclass
class World:
    """See the module. Made by `a_world`."""

    hub: Hub
    memory: Memory
    dags: dict[str, Any] = field(default_factory=dict)  # as a worker has them
    seen: dict[str, Any] = field(default_factory=dict)  # as the scheduler sees them
    stored: dict[str, str] = field(default_factory=dict)  # as the database keeps them
    attempts: list[Attempt] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)  # DAGs that somebody has paused
    limited: bool = False  # whether pools or concurrency limits have a say
    on_state: Callable[[Attempt, str], None] = lambda attempt, state: None
    said: list[str] = field(default_factory=list)  # every line that any process has logged
    _triggers: dict[tuple[str, str, str, int], Waiting] = field(default_factory=dict)
    _changed: set[tuple[str, str]] = field(default_factory=set)
    _judged: set[tuple[str, str]] = field(default_factory=set)
    _known: set[tuple[str, str]] = field(default_factory=set)
    _tick: Due | None = None
    _loop: VirtualLoop | None = None
    _runner: Any = None

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.hub.clock.now

    @property
    def session(self) -> Any:
        """The database's."""
        return database.open_database()

    # ------------------------------------------------------------------------------------------- what a case sets up

    def add(self, dag: Any) -> None:
        """A DAG that the scheduler knows from now on."""
        self.dags[dag.dag_id] = dag
        self.seen[dag.dag_id], self.stored[dag.dag_id] = database.store(dag)

    def new_run(self, dag_id: str, number: int, logical_date: datetime) -> None:
        """A scheduled run, queued."""
        interval = (logical_date, logical_date + timedelta(days=1))
        self.seen[dag_id].create_dagrun(
            run_id=f"run{number}",
            logical_date=logical_date,
            data_interval=interval,
            run_after=interval[1],
            run_type=DagRunType.SCHEDULED,
            triggered_by=DagRunTriggeredByType.TIMETABLE,
            state=DagRunState.QUEUED,
            session=self.session,
        )
        self.session.commit()
        self.look_soon()

    # ------------------------------------------------------------------------------------------- scheduler

    def look_soon(self, seconds: float = TICK) -> None:
        """Have the scheduler look, at that moment at the latest."""
        if self._tick is not None and not self._tick.cancelled and self._tick.at <= self.now + seconds:
            return
        if self._tick is not None:
            self._tick.cancelled = True
        self._tick = self.hub.after(seconds, self._look)

    def runs(self, *states: str) -> list[Any]:
        """The DAG runs, oldest first."""
        from airflow.models.dagrun import DagRun

        found = self.session.scalars(select(DagRun).order_by(DagRun.dag_id, DagRun.logical_date)).all()
        return [run for run in found if not states or run.state in states]

    def tis(self, dag_id: str | None = None, run_id: str | None = None, states: Any = ()) -> list[Any]:
        """Task instances, those in `states` where some are given."""
        from airflow.models.taskinstance import TaskInstance

        query = select(TaskInstance)
        query = query if dag_id is None else query.where(TaskInstance.dag_id == dag_id)
        query = query if run_id is None else query.where(TaskInstance.run_id == run_id)
        query = query.where(TaskInstance.state.in_(states)) if states else query
        return list(self.session.scalars(query).all())

    def ti(self, place: tuple[str, str, str, int]) -> Any:
        """One of them; None where it is gone."""
        from airflow.models.taskinstance import TaskInstance

        dag_id, run_id, task_id, map_index = place
        query = select(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
        return self.session.scalars(query).one_or_none()

    def _look(self) -> None:
        """One loop of the scheduler."""
        self._tick = None
        session = self.session
        self._judged, self._changed = self._changed, set()
        self._scheduler()._start_queued_dagruns(session)
        session.commit()
        for run in self.runs(DagRunState.RUNNING):
            if run.dag_id in self.paused or not self._is_to_be_judged(run):
                continue
            run.dag = self.seen[run.dag_id]
            before = self._finished(run)
            ready, _ = run.update_state(session=session, execute_callbacks=False)
            run.schedule_tis(ready, session=session)
            session.commit()
            if run.state != DagRunState.RUNNING or before != self._finished(run):
                self.changed(run.dag_id, run.run_id)
        session.expire_all()
        self._scheduler().check_trigger_timeouts(session=session)
        session.commit()
        self._drop_triggers()
        self._begin_in_triggerer()
        for ti in self._to_be_queued():
            self._queue(ti)
        session.commit()
        self._look_when_something_is_due()

    def changed(self, dag_id: str, run_id: str) -> None:
        """Something of a run changed: the scheduler judges it soon, and not before."""
        self._changed.add((dag_id, run_id))
        self.look_soon()

    def _is_to_be_judged(self, run: Any) -> bool:
        """Runs of which nothing changed are judged as before: that is left out, for it is what takes the time."""
        new = (run.dag_id, run.run_id) not in self._known
        self._known.add((run.dag_id, run.run_id))
        among = {dag_id for dag_id, _ in self._judged}
        looks_at_others = any(task.depends_on_past or task.wait_for_downstream for task in self.dags[run.dag_id].tasks)
        return new or (run.dag_id, run.run_id) in self._judged or (looks_at_others and run.dag_id in among)

    def _finished(self, run: Any) -> int:
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import func

        query = select(func.count()).where(
            TaskInstance.dag_id == run.dag_id,
            TaskInstance.run_id == run.run_id,
            TaskInstance.state.in_(("success", "failed", "skipped", "upstream_failed", "removed")),
        )
        return int(self.session.scalar(query))

    def _scheduler(self) -> Any:
        if self._runner is None:
            from airflow.executors.base_executor import BaseExecutor
            from airflow.jobs.job import Job
            from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

            executor = BaseExecutor(parallelism=1000)
            executor.name = type("Name", (), {"alias": None, "module_path": "simulated"})()
            self._runner = SchedulerJobRunner(Job(), executors=[executor])  # type: ignore[no-untyped-call]
        return self._runner

    def _to_be_queued(self) -> list[Any]:
        if self.limited:
            chosen = self._scheduler()._executable_task_instances_to_queued(1000, session=self.session)
            places = [(ti.dag_id, ti.run_id, ti.task_id, ti.map_index) for ti in chosen]
            self.session.commit()
            self.session.expire_all()
            return [self.ti(place) for place in places]
        waiting = self.tis(states=(TaskInstanceState.SCHEDULED,))
        running = {(run.dag_id, run.run_id) for run in self.runs(DagRunState.RUNNING)}
        waiting = [ti for ti in waiting if (ti.dag_id, ti.run_id) in running and ti.dag_id not in self.paused]
        for ti in waiting:
            ti.state = TaskInstanceState.QUEUED
            ti.queued_dttm = when(self.now)
        return waiting

    def _look_when_something_is_due(self) -> None:
        moments = []
        later_states = (
            TaskInstanceState.UP_FOR_RETRY,
            TaskInstanceState.DEFERRED,
            TaskInstanceState.UP_FOR_RESCHEDULE,
        )
        for ti in self.tis(states=later_states):
            if ti.state == TaskInstanceState.UP_FOR_RETRY:
                ti.task = self.seen[ti.dag_id].get_task(ti.task_id)
                moments.append(ti.next_retry_datetime())
                self._changed.add((ti.dag_id, ti.run_id))
            elif ti.state == TaskInstanceState.DEFERRED and ti.trigger_timeout is not None:
                moments.append(ti.trigger_timeout)
            elif ti.state == TaskInstanceState.UP_FOR_RESCHEDULE:
                moments.append(self._rescheduled_to(ti))
                self._changed.add((ti.dag_id, ti.run_id))
        later = [moment.timestamp() - self.now for moment in moments if moment is not None]
        if later:
            self.look_soon(max(TICK, min(later) + 0.5))

    def _rescheduled_to(self, ti: Any) -> datetime | None:
        from airflow.models.taskreschedule import TaskReschedule

        query = select(TaskReschedule.reschedule_date).where(TaskReschedule.ti_id == ti.id)
        found: datetime | None = max(self.session.scalars(query).all(), default=None)
        return found

    # ------------------------------------------------------------------------------------------- workers

    def _queue(self, ti: Any) -> None:
        place = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        ti_id = ti.id
        self.hub.after(BOOT * random.uniform(0.75, 1.25), lambda: self._boot(place, ti_id))

    def _boot(self, place: tuple[str, str, str, int], ti_id: Any) -> None:
        ti = self.ti(place)
        if ti is None or ti.id != ti_id or ti.state != TaskInstanceState.QUEUED:
            return  # ended by somebody meanwhile: the API server refuses its start
        attempt = Attempt(ti.id, *place, try_number=ti.try_number, began=self.now)
        attempt.first_reschedule = self._first_reschedule(ti)
        context = self._begin(ti)
        self.attempts.append(attempt)
        attempt.process = self.hub.spawn(lambda: self._run(attempt, context))
        self.on_state(attempt, "running")

    def _begin(self, ti: Any) -> TIRunContext:
        """As the execution API answers to a task's start."""
        before = ti.state
        ti.state = TaskInstanceState.RUNNING
        if not ti.next_kwargs:
            ti.start_date = when(self.now)
        ti.end_date = None
        if not ti.next_method:
            self.memory.clear(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        run = ti.dag_run
        context = TIRunContext.model_validate(
            {
                "dag_run": {
                    "dag_id": run.dag_id,
                    "run_id": run.run_id,
                    "logical_date": run.logical_date,
                    "data_interval_start": run.data_interval_start,
                    "data_interval_end": run.data_interval_end,
                    "run_after": run.run_after,
                    "start_date": run.start_date,
                    "end_date": run.end_date,
                    "run_type": run.run_type,
                    "state": run.state,
                    "consumed_asset_events": [],
                    "partition_key": None,
                },
                "max_tries": ti.max_tries,
                "variables": [],
                "connections": [],
                "xcom_keys_to_clear": [],
                "should_retry": before == TaskInstanceState.RESTARTING
                or (ti.max_tries != 0 and ti.try_number <= ti.max_tries),
                "next_method": ti.next_method or None,
                "next_kwargs": ti.next_kwargs if ti.next_method else None,
                "start_date": ti.start_date,
            }
        )
        self.session.commit()
        return context

    def _first_reschedule(self, ti: Any) -> datetime | None:
        from airflow.models.taskreschedule import TaskReschedule

        query = select(TaskReschedule.start_date).where(TaskReschedule.ti_id == ti.id)
        found: datetime | None = min(self.session.scalars(query).all(), default=None)
        return found

    def _run(self, attempt: Attempt, server: TIRunContext) -> None:
        """The process of a task."""
        ACTOR.set(attempt)
        ti = task_runner.RuntimeTaskInstance.model_construct(  # type: ignore[call-arg]
            id=UUID(str(attempt.ti_id)),
            task_id=attempt.task_id,
            dag_id=attempt.dag_id,
            run_id=attempt.run_id,
            try_number=attempt.try_number,
            map_index=attempt.map_index,
            task=self.dags[attempt.dag_id].get_task(attempt.task_id),
            _ti_context_from_server=server,
            max_tries=server.max_tries,
            start_date=server.start_date or when(self.now),
            state=TaskInstanceState.RUNNING,
        )
        attempt.runtime = ti
        context = ti.get_template_context()
        state, _, error = task_runner.run(ti, context, _QUIET)
        context["exception"] = error
        task_runner.finalize(ti, state, context, _QUIET, error)

    def ended(self, attempt: Attempt, msg: Any) -> None:
        """The message that ends an attempt; refused where somebody has ended the task already."""
        ti = self.ti(attempt.place)
        if ti is None or ti.id != attempt.ti_id or ti.state != TaskInstanceState.RUNNING:
            attempt.end = "refused"
            raise RuntimeError("409: the task instance is not running any more")
        ti.end_date = when(self.now)
        ti.next_method = ti.next_kwargs = None
        state = str(getattr(msg, "state", "") or "")
        match type(msg).__name__:
            case "SucceedTask":
                ti.state = TaskInstanceState.SUCCESS
            case "TaskState":
                ti.state = TaskInstanceState(state.rsplit(".", 1)[-1].lower())
            case "RetryTask":
                ti.prepare_db_for_next_try(session=self.session)
                ti.state = TaskInstanceState.UP_FOR_RETRY
            case "RescheduleTask":
                self._note_reschedule(ti, attempt, msg)
                ti.state = TaskInstanceState.UP_FOR_RESCHEDULE
            case "DeferTask":
                self._defer(ti, attempt, msg)
        attempt.end, attempt.ended = str(ti.state.value), self.now
        self.session.commit()
        self.on_state(attempt, attempt.end)
        self.changed(attempt.dag_id, attempt.run_id)

    def _note_reschedule(self, ti: Any, attempt: Attempt, msg: Any) -> None:
        from airflow.models.taskreschedule import TaskReschedule

        self.session.add(TaskReschedule(ti.id, when(attempt.began), when(self.now), msg.reschedule_date))

    def skip(self, attempt: Attempt, tasks: Any) -> None:
        """What a branch or a short circuit tells to skip."""
        places = [task if isinstance(task, tuple | list) else (task, -1) for task in tasks]
        for ti in self.tis(attempt.dag_id, attempt.run_id):
            if [ti.task_id, ti.map_index] in [list(each) for each in places] and may_be_skipped(ti.state):
                ti.state = TaskInstanceState.SKIPPED
                ti.start_date = ti.end_date = when(self.now)
        self.session.commit()

    # ------------------------------------------------------------------------------------------- triggerer

    def _defer(self, ti: Any, attempt: Attempt, msg: Any) -> None:
        ti.state = TaskInstanceState.DEFERRED
        ti.next_method, ti.next_kwargs = msg.next_method, msg.next_kwargs
        ti.trigger_timeout = None if msg.trigger_timeout is None else when(self.now) + msg.trigger_timeout
        kwargs = json.loads(json.dumps(msg.trigger_kwargs))
        self.memory.rendered.append(kwargs)
        waiting = Waiting(attempt, limit=ti.trigger_timeout)
        self._triggers[attempt.place] = waiting
        self.hub.after(TICK, lambda: self._start_trigger(waiting, msg.classpath, kwargs))

    def _begin_in_triggerer(self) -> None:
        """What the scheduler has deferred itself, without a worker."""
        from airflow.models.trigger import Trigger

        for ti in self.tis(states=(TaskInstanceState.DEFERRED,)):
            place = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
            row = None if place in self._triggers else self.session.get(Trigger, ti.trigger_id)
            if row is not None:
                waiting = Waiting(Attempt(ti.id, *place, try_number=ti.try_number, began=self.now, end="deferred"))
                waiting.limit = ti.trigger_timeout
                self._triggers[place] = waiting
                kwargs = json.loads(json.dumps(serialize(row.kwargs)))
                self.hub.after(TICK, functools.partial(self._start_trigger, waiting, row.classpath, kwargs))

    def _start_trigger(self, waiting: Waiting, classpath: str, kwargs: Any) -> None:
        if self._triggers.get(waiting.attempt.place) is not waiting:
            return
        if self._loop is None:
            self._loop = VirtualLoop(self.hub)
            self.hub.spawn(self._triggerer)
        module, _, name = classpath.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**_given(kwargs))
        attempt = waiting.attempt
        trigger.timeout_after = waiting.limit
        trigger.task_instance = TaskInstanceSDK(
            id=UUID(str(attempt.ti_id)),
            task_id=attempt.task_id,
            dag_id=attempt.dag_id,
            run_id=attempt.run_id,
            try_number=attempt.try_number,
            map_index=attempt.map_index,
            dag_version_id=UUID(int=0),
        )

        def begin() -> None:
            assert self._loop is not None
            waiting.task = self._loop.create_task(self._trigger(trigger, waiting))

        self._loop.do_soon(begin)

    def _triggerer(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _trigger(self, trigger: Any, waiting: Waiting) -> None:
        """As `TriggerRunner.run_trigger`."""
        ACTOR.set(waiting.attempt)
        try:
            async for event in trigger.run():
                self._fire(waiting, event)
                return
        except asyncio.CancelledError:
            await asyncio.wait_for(trigger.on_kill(), timeout=30)
        finally:
            await trigger.cleanup()

    def _fire(self, waiting: Waiting, event: Any) -> None:
        from airflow.models.trigger import handle_event_submit

        place = waiting.attempt.place
        if self._triggers.get(place) is not waiting:
            return
        del self._triggers[place]
        ti = self.ti(place)
        if ti is None or ti.state != TaskInstanceState.DEFERRED:
            return
        handle_event_submit(event, task_instance=ti, session=self.session)
        self.memory.rendered.append(event.payload)
        self.session.commit()
        if ti.state != TaskInstanceState.SCHEDULED:  # the trigger has ended the task itself
            self.changed(ti.dag_id, ti.run_id)
        self.look_soon()

    def _drop_triggers(self) -> None:
        """Cancel the triggers of tasks that are not deferred any more."""
        for place, waiting in list(self._triggers.items()):
            ti = self.ti(place)
            if ti is not None and ti.state == TaskInstanceState.DEFERRED and ti.id == waiting.attempt.ti_id:
                continue
            del self._triggers[place]
            if waiting.task is not None and self._loop is not None:
                timed_out = ti is not None and ti.next_method == "__fail__"
                if not timed_out:
                    self._loop.do_soon(waiting.task.cancel)

    # ------------------------------------------------------------------------------------------- what people do

    def ends_from_outside(self) -> None:
        """Have the supervisors hear of what people did to running tasks, and the triggerer of deferred ones."""
        self.session.commit()
        self.session.expire_all()
        for attempt in self.attempts:
            ti = self.ti(attempt.place) if attempt.alive else None
            if attempt.alive and (ti is None or ti.id != attempt.ti_id or ti.state != TaskInstanceState.RUNNING):
                self.hub.after(HEARTBEAT, lambda attempt=attempt: self.terminate(attempt))  # type: ignore[misc]
        for run in self.runs():
            self.changed(run.dag_id, run.run_id)

    def terminate(self, attempt: Attempt) -> None:
        """SIGTERM, and SIGKILL where that does not end it in time."""
        if not attempt.alive:
            self._let_restart(attempt)
            return
        if attempt.told:
            return
        attempt.told = True
        assert attempt.process is not None

        def on_kill() -> None:
            if attempt.runtime is not None:
                attempt.runtime.task.on_kill()

        attempt.process.signal(on_kill)
        self.hub.after(GRACE, lambda: self.kill(attempt))

    def kill(self, attempt: Attempt, notice_after: float = TICK) -> None:
        """SIGKILL; Airflow notices some time later."""
        if attempt.alive:
            assert attempt.process is not None
            attempt.process.kill()
            attempt.end, attempt.ended = "killed", self.now
        self.hub.after(notice_after, lambda: self._let_restart(attempt))

    def _let_restart(self, attempt: Attempt) -> None:
        """What the scheduler does about a task whose process has gone without a word."""
        ti = self.ti(attempt.place)
        over = (TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)
        if ti is None or ti.state not in over or ti.try_number != attempt.try_number:
            return
        if any(each.alive for each in self.attempts if each.place == attempt.place):
            return
        ti.task = self.seen[ti.dag_id].get_task(ti.task_id)
        ti.handle_failure(error="its process is gone", session=self.session)
        self.session.commit()
        self.changed(attempt.dag_id, attempt.run_id)

    def state_of_run(self, dag_id: str, run_id: str) -> Any:
        """The answer to `GetDagRunState`; None where there is no such run."""
        return next((run.state for run in self.runs() if (run.dag_id, run.run_id) == (dag_id, run_id)), None)

    def states_of(self, msg: Any) -> dict[str, Any]:
        """The answer to `GetTaskStates`."""
        found: dict[str, Any] = {}
        for ti in self.tis(msg.dag_id):
            if msg.run_ids and ti.run_id not in msg.run_ids:
                continue
            if msg.task_ids and ti.task_id not in msg.task_ids:
                continue
            if msg.map_index is not None and ti.map_index != msg.map_index:
                continue
            name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
            found.setdefault(ti.run_id, {})[name] = ti.state
        return found


def _given(stored: Any) -> dict[str, Any]:
    given: Any = deserialize(stored)
    return dict(given)


class _Quiet:
    """A log for the task runner that keeps errors only."""

    def exception(self, event: str, **_: Any) -> None:
        log.error("task runner: %s", event, exc_info=True)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


_QUIET: Any = _Quiet()


@contextmanager
def a_world() -> Iterator[World]:
    """An empty world; inside the `with`, the whole process lives in its time."""
    clock = VirtualClock()
    hub = Hub(clock)
    world = World(hub, Memory())
    database.empty()
    prepare_for_loop()  # now: it runs a loop of its own, which has no place in a simulated one

    def attempt() -> Any:
        return ACTOR.get()

    line = Line(world.memory, attempt, world.ended, world.states_of, world.state_of_run, world.skip, lambda: hub.closed)
    with ExitStack() as stack:
        stack.enter_context(in_time_of(clock, hub.sleep))
        stack.enter_context(patch.object(task_runner, "SUPERVISOR_COMMS", line, create=True))
        stack.enter_context(patch("signal.signal"))
        # One stack of contexts for a process: here all processes would share it.
        stack.enter_context(patch.object(task_runner, "set_current_context", lambda context: nullcontext()))
        stack.enter_context(patch.object(task_runner, "TypeAdapter", functools.cache(TypeAdapter)))
        stack.enter_context(_heard_by(world))
        stack.enter_context(patch("airflow.sdk.execution_time.timeout.timeout", _limit_of(hub)))
        try:
            yield world
        finally:
            hub.close()
            database.open_database().rollback()


@contextmanager
def _heard_by(world: World) -> Iterator[None]:
    """Every line that is logged goes to the world, and nowhere else."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.said.append(self.format(record))

    def hear(_: Any, level: str, event: dict[str, Any]) -> Any:
        world.said.append(f"{level} {event}")
        raise structlog.DropEvent

    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [Ear()]
    processors = list(structlog.get_config()["processors"])
    kept = structlog.get_config()["processors"]
    kept[:] = [hear]
    try:
        yield
    finally:
        root.handlers, kept[:] = handlers, processors


def _limit_of(hub: Hub) -> Callable[..., Any]:
    """`execution_timeout` in virtual time."""

    @contextmanager
    def limit(seconds: float, *_: Any) -> Iterator[None]:
        process = hub.current()
        assert process is not None

        def strike() -> None:
            raise AirflowTaskTimeout("Timeout")

        due = hub.after(seconds, lambda: process.signal(strike))
        try:
            yield
        finally:
            due.cancelled = True

    return limit
