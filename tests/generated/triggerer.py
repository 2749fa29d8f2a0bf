"""The triggerer of a simulated world: one event loop in virtual time, in which Airflow's triggers run as they are."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.models.trigger import TRIGGER_FAIL_REPR, Trigger, TriggerFailureReason, handle_event_submit
from airflow.utils.state import TaskInstanceState

from tests.generated import versions
from tests.generated.attempts import Attempt
from tests.generated.loop import VirtualLoop
from tests.generated.scheduler import TICK
from tests.generated.supervisor import when
from tests.generated.wire import ACTOR

if TYPE_CHECKING:
    from tests.generated.tables import Place
    from tests.generated.world import World

log = logging.getLogger(__name__)

TO_CLEAN_UP = 30.0  # seconds that Airflow gives to `on_kill` of a trigger


@dataclass
class Waiting:
    """A trigger that runs for a task."""

    attempt: Attempt
    task: asyncio.Task[None] | None = None
    limit: datetime | None = None  # Airflow's own, of the deferral


class Triggerer:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: dict[Place, Waiting] = {}
        self._loop: VirtualLoop | None = None
        self.never_began: list[Attempt] = []  # those whose task was ended before the first step of their trigger

    def defer(self, ti: Any, attempt: Attempt, msg: Any) -> None:
        """A task has deferred itself: its trigger starts soon."""
        world = self._world
        ti.state = TaskInstanceState.DEFERRED
        trigger_kwargs, ti.next_kwargs = versions.kwargs_of(msg)
        ti.next_method = msg.next_method
        ti.trigger_timeout = None if msg.trigger_timeout is None else when(world.now) + msg.trigger_timeout
        kwargs = json.loads(json.dumps(trigger_kwargs))
        world.memory.rendered.append(kwargs)
        waiting = Waiting(attempt, limit=ti.trigger_timeout)
        self._waiting[attempt.place] = waiting
        world.hub.after(TICK, lambda: self._start(waiting, msg.classpath, kwargs))

    def begin(self) -> None:
        """What the scheduler has deferred itself, without a worker."""
        world = self._world
        for ti in world.tables.tis(states=(TaskInstanceState.DEFERRED,)):
            place = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
            row = None if place in self._waiting else world.session.get(Trigger, ti.trigger_id)
            if row is not None:
                attempt = Attempt(ti.id, *place, try_number=ti.try_number, began=world.now, end="deferred")
                self._waiting[place] = waiting = Waiting(attempt, limit=ti.trigger_timeout)
                kwargs = json.loads(json.dumps(versions.serialize(row.kwargs)))
                world.hub.after(TICK, functools.partial(self._start, waiting, row.classpath, kwargs))

    def drop(self) -> None:
        """Cancel the triggers of tasks that are not deferred any more."""
        for place, waiting in list(self._waiting.items()):
            ti = self._world.tables.ti(place)
            if ti is not None and ti.state == TaskInstanceState.DEFERRED and ti.id == waiting.attempt.ti_id:
                continue
            del self._waiting[place]
            if waiting.task is None:
                self.never_began.append(waiting.attempt)
            elif self._loop is not None:
                timed_out = ti is not None and ti.next_method == TRIGGER_FAIL_REPR
                if not timed_out:
                    self._loop.do_soon(waiting.task.cancel)

    def _start(self, waiting: Waiting, classpath: str, kwargs: Any) -> None:
        if self._waiting.get(waiting.attempt.place) is not waiting:
            return
        if self._loop is None:
            self._loop = VirtualLoop(self._world.hub)
            self._world.hub.spawn(self._run)
        module, _, name = classpath.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**versions.deserialize(kwargs))
        trigger.timeout_after = waiting.limit
        trigger.task_instance = versions.instance_of_trigger(waiting.attempt)

        def begin() -> None:
            assert self._loop is not None
            if self._waiting.get(waiting.attempt.place) is not waiting:
                return  # dropped in the same moment
            waiting.task = self._loop.create_task(self._wait(trigger, waiting))

        self._loop.do_soon(begin)

    def _run(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _wait(self, trigger: Any, waiting: Waiting) -> None:
        """As `TriggerRunner.run_trigger`."""
        ACTOR.set(waiting.attempt)
        try:
            async for event in trigger.run():
                self._fire(waiting, event)
                return
            self._fail(waiting, "the trigger ended without an event")
        except asyncio.CancelledError:
            if versions.TRIGGERS_HEAR_OF_KILLS:
                await asyncio.wait_for(trigger.on_kill(), timeout=TO_CLEAN_UP)
        except Exception as error:
            log.exception("a trigger failed")
            self._fail(waiting, f"{type(error).__name__}: {error}")
        finally:
            await trigger.cleanup()

    def _fire(self, waiting: Waiting, event: Any) -> None:
        ti = self._end(waiting)
        if ti is not None:
            handle_event_submit(event, task_instance=ti, session=self._world.session)
            self._world.memory.rendered.append(event.payload)
            if ti.state != TaskInstanceState.SCHEDULED:  # the trigger has ended the task itself
                self._world.scheduler.changed(ti.dag_id, ti.run_id)

    def _fail(self, waiting: Waiting, words: str) -> None:
        """As `Trigger.submit_failure`: the task goes on, to fail."""
        ti = self._end(waiting)
        if ti is not None:
            ti.next_method = TRIGGER_FAIL_REPR
            ti.next_kwargs = {"error": TriggerFailureReason.TRIGGER_FAILURE, "traceback": [words]}
            ti.state = TaskInstanceState.SCHEDULED
            ti.scheduled_dttm = when(self._world.now)

    def _end(self, waiting: Waiting) -> Any:
        """The trigger is over; its task instance, where that still waits for it."""
        place = waiting.attempt.place
        if self._waiting.get(place) is not waiting:
            return None
        del self._waiting[place]
        ti = self._world.tables.ti(place)
        if ti is None or ti.state != TaskInstanceState.DEFERRED:
            return None
        self._world.scheduler.look_soon()
        return ti
