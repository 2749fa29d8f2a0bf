"""The watch of an endpoint without work, in the triggerer: when the watch ends, and how it releases the endpoint.

It ends the lease in the same way as the release, so that other holders keep the endpoint. The release still runs
after the work, and finds nothing left to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_hf_endpoints._airflow import ENDED_BADLY, read_xcom, states_of
from airflow_provider_hf_endpoints.endpoints.upkeep.release import AfterUse, Release, after_use, state_after
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.protocol import Shared, leave
from airflow_provider_hf_endpoints.operators.common.held import is_replaced
from airflow_provider_hf_endpoints.operators.using.acquired import Acquired
from airflow_provider_hf_endpoints.operators.using.idle import SPARE
from airflow_provider_hf_endpoints.operators.using.leases import LeasedEndpoint

# A task in one of these states has not begun: it waits for the scheduler, for a slot, or for a worker.
_NOT_BEGUN = frozenset({"None", "scheduled", "queued", "no_status"})
# A task in one of these states has ended without having begun.
_LEFT_OUT = ENDED_BADLY - {"failed"}
_AT_WORK = frozenset({"running", "deferred", "restarting", "up_for_retry", "up_for_reschedule"})
# A look is a query of Airflow's database. The first looks come soon, because most work begins at once.
_SHORTEST, _LONGEST = 2.0, 60.0  # seconds between looks
_GROWTH = 0.25  # of the time since the watch began


@dataclass(frozen=True)
class Idleness:
    """How long the endpoint has waited, by the looks so far. Pure.

    :param begun: whether the start was seen running
    :param since: when its end was seen, seconds since the epoch; None: not yet
    """

    begun: bool = False
    since: float | None = None

    def after(self, start: str, now: float) -> Idleness:
        """After one more look at the start. If it ran and now waits, it waits for a slot: the endpoint is running."""
        if self.since is not None or start in _AT_WORK:
            return replace(self, begun=True)
        over = start == "success" or self.begun
        return replace(self, since=now) if over else self


def verdict(
    work: Iterable[str], idle: Idleness, max_idle: float, ends: float, now: float
) -> Literal["watch", "work has begun", "idle"]:
    """What a look means. If all work is skipped, there is no work to wait for.

    :param work: the states of its tasks
    :param ends: when the watch ends in any case
    """
    states = list(work)
    waiting = [state for state in states if state not in _LEFT_OUT]
    if (states and not waiting) or any(state not in _NOT_BEGUN for state in waiting):
        return "work has begun"
    waited = idle.since is not None and now >= idle.since + max_idle
    return "idle" if waited or now >= ends else "watch"


class IdleTrigger(BaseTrigger):
    """The trigger of `WatchIdleOperator`, with the same arguments."""

    def __init__(
        self,
        acquire_task_id: str,
        start_task_id: str,
        work: Sequence[str],
        max_idle: float,
        hf_endpoints_conn_id: str,
        release: AfterUse | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.acquire_task_id, self.start_task_id, self.work = acquire_task_id, start_task_id, list(work)
        self.max_idle, self.release, self.hf_endpoints_conn_id = max_idle, release, hf_endpoints_conn_id
        self._tried = False  # whether it has tried to end the lease before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """With the operator's arguments."""
        names = ("acquire_task_id", "start_task_id", "work", "max_idle", "release", "hf_endpoints_conn_id")
        return (f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until work has begun, or the endpoint is released."""
        began, idle, ends = time.time(), Idleness(), self._ends()
        while True:
            now = time.time()
            try:
                states = await sync_to_async(self._states)()
                idle = idle.after(states.pop(self._key_of_start, "None"), now)
                match verdict(states.values(), idle, self.max_idle, ends, now):
                    case "work has begun":
                        yield TaskSuccessEvent()
                        return
                    case "idle":
                        await sync_to_async(self._let_go)()
                        yield TaskFailedEvent()
                        return
            except Exception as error:  # noqa: BLE001 - an error here would fail a run whose work continues
                self.log.warning(
                    ("The watch failed to read the task states or to release the endpoint; trying again: %r"), error
                )
            await asyncio.sleep(min(_LONGEST, max(_SHORTEST, _GROWTH * (now - began))))

    @property
    def _key_of_start(self) -> str:
        """Its key among the states. A task of a mapped group has its index there."""
        map_index = getattr(self.task_instance, "map_index", -1)
        return self.start_task_id if map_index is None or map_index < 0 else f"{self.start_task_id}_{map_index}"

    def _ends(self) -> float:
        """When the watch ends: the same in every triggerer, because Airflow stores the time of the timeout."""
        limit: datetime | None = getattr(self, "timeout_after", None)  # set by the triggerer
        if limit is None:
            return float("inf")
        return (limit if limit.tzinfo else limit.replace(tzinfo=UTC)).timestamp() - SPARE.total_seconds()

    def _states(self) -> dict[str, str]:
        """The states by task; mapped tasks with their index."""
        return states_of(self.task_instance, [self.start_task_id, *self.work])

    def _let_go(self) -> None:
        """End the lease. If there is no other holder, release the endpoint."""
        ti: Any = self.task_instance
        names = ("dag_id", "run_id", "map_index")
        acquire = SimpleNamespace(task_id=self.acquire_task_id, **{name: getattr(ti, name) for name in names})
        acquired = Acquired.of(read_xcom(acquire, "return_value"))
        mine = None if acquired is None else acquired.held
        if acquired is None or mine is None:
            self.log.warning("No lease to release: task %s stored none.", self.acquire_task_id)
            return
        with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:

            def switch_off(found: str | None) -> Release | None:
                policy = after_use(self.release, found)
                if policy != "none" and is_replaced(hook, acquired.namespace, acquired.name):
                    return None
                hook.get_conn().release(acquired.name, policy, namespace=acquired.namespace)
                return policy

            held = LeasedEndpoint(hook, acquired.namespace, acquired.name, None, switch_off)
            becomes = lambda found: state_after(after_use(self.release, found), found)  # noqa: E731
            again, self._tried = self._tried, True
            outcome = held.play(leave(mine, time.time, becomes, again=again))
        self.log.error(
            "No task has begun to use endpoint %s/%s within max_idle=%.0f s, so the endpoint was %s. Find out what "
            "delays the tasks (a full pool, max_active_tasks, a paused DAG), then clear the group's task acquire. To "
            "wait longer, raise max_idle of inference_endpoint(…).",
            acquired.namespace,
            acquired.name,
            self.max_idle,
            f"left to {', '.join(outcome.by)}" if isinstance(outcome, Shared) else f"released ({held.did})",
        )
