"""The workers of a simulated world: each attempt of a task is a process that runs Airflow's own task runner.

What the execution API would answer to it, and write down of it, is done here.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from airflow.models.taskinstance import _stop_remaining_tasks
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.trigger import handle_event_submit
from airflow.sdk.execution_time import task_runner
from airflow.triggers.base import TriggerEvent
from airflow.utils.state import TaskInstanceState

from tests.generated import versions
from tests.generated.attempts import Attempt
from tests.generated.scheduler import TICK
from tests.generated.supervisor import may_be_skipped, when
from tests.generated.wire import ACTOR

if TYPE_CHECKING:
    from airflow.sdk.api.datamodels._generated import TIRunContext

    from tests.generated.tables import Place
    from tests.generated.world import World

BOOT = 2.0  # seconds from `queued` to the first line of a task's code, more or less
ANSWER = 120.0  # seconds until a person answers
GRACE = 5.0  # seconds between SIGTERM and SIGKILL


_OF_RUN = [
    *("dag_id", "run_id", "logical_date", "data_interval_start", "data_interval_end"),
    *("run_after", "start_date", "end_date", "run_type", "state"),
]

log = logging.getLogger(__name__)


class Refused(RuntimeError):
    """The API server takes no end of a task that somebody has ended already."""


class Workers:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.attempts: list[Attempt] = []
        self._rescheduled: dict[Any, datetime] = {}  # by the id of a task instance: when it was first

    # ------------------------------------------------------------------------------------------- begin

    def queue(self, ti: Any) -> None:
        """A task instance begins soon."""
        place = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        ti_id = ti.id
        self._world.hub.after(BOOT * random.uniform(0.75, 1.25), lambda: self._boot(place, ti_id))

    def _boot(self, place: Place, ti_id: Any) -> None:
        world = self._world
        ti = world.tables.ti(place)
        if ti is None or ti.id != ti_id or ti.state != TaskInstanceState.QUEUED:
            return  # ended by somebody meanwhile: the API server refuses its start
        attempt = Attempt(ti.id, *place, try_number=ti.try_number, began=world.now)
        attempt.first_reschedule = self._rescheduled.get(ti.id)
        context = self._begin(ti)
        self.attempts.append(attempt)
        attempt.process = world.hub.spawn(lambda: self._run(attempt, context))
        world.on_state(attempt, "running")

    def _begin(self, ti: Any) -> TIRunContext:
        """As the execution API answers to a task's start."""
        world, before = self._world, ti.state
        ti.state = TaskInstanceState.RUNNING
        if not ti.next_kwargs:
            ti.start_date = when(world.now)
        ti.end_date = None
        if not ti.next_method:
            world.memory.clear(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        run = world.tables.run(ti.dag_id, ti.run_id)
        return versions.run_context(
            {
                "dag_run": {name: getattr(run, name) for name in _OF_RUN}
                | {"consumed_asset_events": [], "partition_key": None},
                "max_tries": ti.max_tries,
                "variables": [],
                "connections": [],
                "xcom_keys_to_clear": [],
                "should_retry": before == TaskInstanceState.RESTARTING
                or (ti.max_tries != 0 and ti.try_number <= ti.max_tries),
                "next_method": ti.next_method or None,
                "next_kwargs": versions.next_kwargs_of(ti) if ti.next_method else None,
                "start_date": ti.start_date,
            },
            versions.upstream_map_indexes(world.seen[ti.dag_id].get_task(ti.task_id), ti, world.session),
        )

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
            task=self._world.dags[attempt.dag_id].get_task(attempt.task_id),
            _ti_context_from_server=server,
            max_tries=server.max_tries,
            start_date=getattr(server, "start_date", None) or when(self._world.now),
            state=cast(Any, TaskInstanceState.RUNNING),
        )
        attempt.runtime = ti
        context = ti.get_template_context()
        with suppress(Refused):  # the process ends with it
            state, _, error = task_runner.run(ti, context, QUIET)
            context["exception"] = error
            task_runner.finalize(ti, state, context, QUIET, error)

    # ------------------------------------------------------------------------------------------- end

    def ended(self, attempt: Attempt, msg: Any) -> None:
        """The message that ends an attempt; refused where somebody has ended the task already."""
        world = self._world
        ti = world.tables.ti(attempt.place)
        if ti is None or ti.id != attempt.ti_id or ti.state != TaskInstanceState.RUNNING:
            attempt.end, attempt.ended = "refused", world.now
            raise Refused("409: the task instance is not running any more")
        ti.end_date = when(world.now)
        ti.next_method = ti.next_kwargs = None
        state = str(getattr(msg, "state", "") or "")
        match type(msg).__name__:
            case "SucceedTask":
                ti.state = TaskInstanceState.SUCCESS
            case "TaskState":
                ti.state = TaskInstanceState(state.rsplit(".", 1)[-1].lower())
            case "RetryTask":
                ti.prepare_db_for_next_try(session=world.session)
                ti.state = TaskInstanceState.UP_FOR_RETRY
            case "RescheduleTask":
                self._note_reschedule(ti, attempt, msg)
                ti.state = TaskInstanceState.UP_FOR_RESCHEDULE
            case "DeferTask":
                world.triggerer.defer(ti, attempt, msg)
            case "AwaitInputTask":
                self._ask(ti, msg)
        attempt.end, attempt.ended = str(ti.state.value), world.now
        self._fail_fast(ti)
        world.on_state(attempt, attempt.end)
        world.scheduler.changed(attempt.dag_id, attempt.run_id)

    def _fail_fast(self, ti: Any) -> None:
        """A task has failed for good: where its DAG says so, all the others end, but teardowns."""
        world = self._world
        dag = world.seen[ti.dag_id]
        if ti.state == TaskInstanceState.FAILED and dag.fail_fast:
            ti.task = dag.get_task(ti.task_id)
            world.session.flush()
            teardowns = {task_id: task.is_teardown for task_id, task in dag.task_dict.items()}
            _stop_remaining_tasks(task_instance=ti, task_teardown_map=teardowns, session=world.session)
            world.ends_from_outside()

    def _ask(self, ti: Any, msg: Any) -> None:
        """A person is asked, who answers after a while as the question itself says, or not in time."""
        world, ti_id, place = self._world, ti.id, (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        ti.state = TaskInstanceState.AWAITING_INPUT
        ti.next_method, ti.next_kwargs = msg.next_method, msg.next_kwargs
        answer = {"next": "Approve", "nothing": "Reject"}.get(world.memory.asked[str(ti_id)])
        event: dict[str, Any] = {"chosen_options": [answer], "params_input": {}, "responded_by_user": None}
        if answer is None:
            event = {"error": "nobody has answered", "error_type": "timeout"}

        def resume() -> None:
            come: Any = TriggerEvent(event | {"responded_at": when(world.now)})  # type: ignore[no-untyped-call]
            ti = world.tables.ti(place)
            if ti is not None and ti.id == ti_id and ti.state == TaskInstanceState.AWAITING_INPUT:
                handle_event_submit(come, task_instance=ti, session=world.session)
                world.scheduler.look_soon()

        world.hub.after(msg.timeout.total_seconds() if answer is None else ANSWER, resume)

    def _note_reschedule(self, ti: Any, attempt: Attempt, msg: Any) -> None:
        began = when(attempt.began)
        self._rescheduled.setdefault(ti.id, began)
        self._world.session.add(TaskReschedule(ti.id, began, when(self._world.now), msg.reschedule_date))

    def skip(self, attempt: Attempt, tasks: Any) -> None:
        """What a branch or a short circuit tells to skip."""
        places = [list(task) if isinstance(task, tuple | list) else [task, -1] for task in tasks]
        for ti in self._world.tables.tis(attempt.dag_id, attempt.run_id):
            if [ti.task_id, ti.map_index] in places and may_be_skipped(ti.state):
                ti.state = TaskInstanceState.SKIPPED
                ti.start_date = ti.end_date = when(self._world.now)

    # ------------------------------------------------------------------------------------------- killed

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
        self._world.hub.after(GRACE, lambda: self.kill(attempt))

    def kill(self, attempt: Attempt, notice_after: float = TICK) -> None:
        """SIGKILL; Airflow notices some time later."""
        if attempt.alive:
            assert attempt.process is not None
            attempt.process.kill()
            attempt.end, attempt.ended = "killed", self._world.now
        self._world.hub.after(notice_after, lambda: self._let_restart(attempt))

    def _let_restart(self, attempt: Attempt) -> None:
        """What the scheduler does about a task whose process has gone without a word."""
        world = self._world
        ti = world.tables.ti(attempt.place)
        over = (TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)
        if ti is None or ti.state not in over or ti.try_number != attempt.try_number:
            return
        if any(each.alive for each in self.attempts if each.place == attempt.place):
            return
        ti.task = world.seen[ti.dag_id].get_task(ti.task_id)
        world.session.flush()
        ti.handle_failure(error="its process is gone", session=world.session)
        world.scheduler.changed(attempt.dag_id, attempt.run_id)


class _Quiet:
    """A log for the task runner that keeps errors only."""

    def exception(self, event: str, *args: Any, **_: Any) -> None:
        log.error("task runner: %s", event % args if args else event, exc_info=True)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


QUIET: Any = _Quiet()
