"""The scheduler of a simulated world: Airflow's own decisions about runs, taken when something has changed.

What is due is looked at once, a moment after the change; between two changes nothing is looked at.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.taskreschedule import TaskReschedule
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

from tests.generated import versions
from tests.generated.hub import Due
from tests.generated.supervisor import when
from tests.generated.tables import RunKey

if TYPE_CHECKING:
    from tests.generated.world import World

TICK = 1.0  # seconds between something that changed and the scheduler's look at it
_LATER = (TaskInstanceState.UP_FOR_RETRY, TaskInstanceState.DEFERRED, TaskInstanceState.UP_FOR_RESCHEDULE)
_FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")


class Scheduler:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._changed: set[RunKey] = set()
        self._judged: set[RunKey] = set()
        self._known: set[RunKey] = set()
        self._runs_changed = False  # whether a run may start that could not before
        self._tick: Due | None = None
        self._runner = versions.scheduler_runner()

    def new_run(self, dag_id: str, run_id: str, logical_date: datetime) -> None:
        """A scheduled run, queued."""
        world = self._world
        interval = (logical_date, logical_date + timedelta(days=1))
        world.session.flush()
        run = world.seen[dag_id].create_dagrun(
            run_id=run_id,
            logical_date=logical_date,
            data_interval=interval,
            run_after=interval[1],
            run_type=DagRunType.SCHEDULED,
            triggered_by=DagRunTriggeredByType.TIMETABLE,
            state=DagRunState.QUEUED,
            session=world.session,
        )
        world.tables.add(run)
        self.runs_changed()

    def runs_changed(self) -> None:
        """A run is new, over, cleared or paused: others may start."""
        self._runs_changed = True
        self.look_soon()

    def changed(self, dag_id: str, run_id: str) -> None:
        """Something of a run changed: the scheduler judges it soon, and not before."""
        self._changed.add((dag_id, run_id))
        self.look_soon()

    def look_soon(self, seconds: float = TICK) -> None:
        """Have the scheduler look, at that moment at the latest."""
        world = self._world
        if self._tick is not None and not self._tick.cancelled and self._tick.at <= world.now + seconds:
            return
        if self._tick is not None:
            self._tick.cancelled = True
        self._tick = world.hub.after(seconds, self._look)

    # ------------------------------------------------------------------------------------------- one loop

    def _look(self) -> None:
        """One loop of the scheduler."""
        self._tick = None
        world, session = self._world, self._world.session
        self._judged, self._changed = self._changed, set()
        session.flush()
        if self._runs_changed:
            self._runs_changed = False
            self._runner._start_queued_dagruns(session)
        for run in world.tables.runs(DagRunState.RUNNING):
            if run.dag_id not in world.paused and not self._is_out_of_time(run) and self._is_to_be_judged(run):
                self._judge(run)
        self._time_out()
        world.triggerer.drop()
        world.triggerer.begin()
        for ti in self._to_be_queued():
            world.workers.queue(ti)
        self._look_when_something_is_due()

    def _is_out_of_time(self, run: Any) -> bool:
        """Whether `dagrun_timeout` ends it now. Then all that is left is skipped, as Airflow's scheduler does."""
        limit = self._world.seen[run.dag_id].dagrun_timeout
        if limit is None or run.start_date is None or run.start_date + limit > when(self._world.now):
            return False
        run.set_state(DagRunState.FAILED)
        for ti in self._world.tables.tis(run.dag_id, run.run_id):
            if ti.state not in _FINISHED:
                ti.state = TaskInstanceState.SKIPPED
        self._world.timed_out.add((run.dag_id, run.run_id))
        self._world.ends_from_outside()
        return True

    def _judge(self, run: Any) -> None:
        world, session = self._world, self._world.session
        run.dag = world.seen[run.dag_id]
        before = self._finished(run)
        ready, _ = run.update_state(session=session, execute_callbacks=False)
        session.flush()
        if ready:
            run.schedule_tis(ready, session=session)
        if run.state != DagRunState.RUNNING:
            self.runs_changed()
        if run.state != DagRunState.RUNNING or before != self._finished(run):
            self.changed(run.dag_id, run.run_id)

    def _is_to_be_judged(self, run: Any) -> bool:
        """Runs of which nothing changed are judged as before: that is left out, for it is what takes the time."""
        key = (run.dag_id, run.run_id)
        new = key not in self._known
        self._known.add(key)
        among = {dag_id for dag_id, _ in self._judged}
        tasks = self._world.dags[run.dag_id].tasks
        looks_at_others = any(task.depends_on_past or task.wait_for_downstream for task in tasks)
        return new or key in self._judged or (looks_at_others and run.dag_id in among)

    def _finished(self, run: Any) -> int:
        return len(self._world.tables.tis(run.dag_id, run.run_id, _FINISHED))

    def _time_out(self) -> None:
        """Fail what has been deferred for too long."""
        now = when(self._world.now)
        deferred = self._world.tables.tis(states=(TaskInstanceState.DEFERRED,))
        if any(ti.trigger_timeout is not None and ti.trigger_timeout < now for ti in deferred):
            self._world.session.flush()
            self._runner.check_trigger_timeouts(session=self._world.session)

    def _to_be_queued(self) -> list[Any]:
        world, session = self._world, self._world.session
        waiting = world.tables.tis(states=(TaskInstanceState.SCHEDULED,))
        if not waiting:
            return []
        if world.limited:
            session.flush()
            chosen = self._runner._executable_task_instances_to_queued(1000, session=session)
            places = [(ti.dag_id, ti.run_id, ti.task_id, ti.map_index) for ti in chosen]
            world.tables.forget()
            return [world.tables.ti(place) for place in places]
        running = {(run.dag_id, run.run_id) for run in world.tables.runs(DagRunState.RUNNING)}
        waiting = [ti for ti in waiting if (ti.dag_id, ti.run_id) in running and ti.dag_id not in world.paused]
        for ti in waiting:
            ti.state = TaskInstanceState.QUEUED
            ti.queued_dttm = when(world.now)
        return waiting

    def _look_when_something_is_due(self) -> None:
        moments = []
        for ti in self._world.tables.tis(states=_LATER):
            if ti.dag_id in self._world.paused and ti.state != TaskInstanceState.DEFERRED:
                continue  # nothing of it is scheduled, however long it has been due
            if ti.state == TaskInstanceState.UP_FOR_RETRY:
                ti.task = self._world.seen[ti.dag_id].get_task(ti.task_id)
                moments.append(ti.next_retry_datetime())
                self._changed.add((ti.dag_id, ti.run_id))
            elif ti.state == TaskInstanceState.DEFERRED and ti.trigger_timeout is not None:
                moments.append(ti.trigger_timeout)
            elif ti.state == TaskInstanceState.UP_FOR_RESCHEDULE:
                moments.append(self._rescheduled_to(ti))
                self._changed.add((ti.dag_id, ti.run_id))
        for run in self._world.tables.runs(DagRunState.RUNNING):
            limit = self._world.seen[run.dag_id].dagrun_timeout
            if limit is not None and run.start_date is not None and run.dag_id not in self._world.paused:
                moments.append(run.start_date + limit)
        later = [moment.timestamp() - self._world.now for moment in moments if moment is not None]
        if later:
            self.look_soon(max(TICK, min(later) + 0.5))

    def _rescheduled_to(self, ti: Any) -> datetime | None:
        query = select(TaskReschedule.reschedule_date).where(TaskReschedule.ti_id == ti.id)
        self._world.session.flush()
        found: datetime | None = max(self._world.session.scalars(query).all(), default=None)
        return found
