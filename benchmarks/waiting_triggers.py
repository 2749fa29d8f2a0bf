"""The triggers that the waiting benchmark runs in a triggerer: the shipped one with counters, and its baselines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller
from airflow_provider_hf_endpoints.endpoints.readiness import Goal
from airflow_provider_hf_endpoints.endpoints.waiting import End, OnLook
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from airflow_provider_hf_endpoints.waits import event_of
from benchmarks import waiting_probe as probe

_wait = EndpointPoller.wait


async def _counted_wait(self: EndpointPoller, name: str, goal: Goal, on_look: OnLook | None = None) -> End:
    return await _wait(self, name, goal, probe.counting(on_look))


EndpointPoller.wait = _counted_wait  # type: ignore[method-assign]


class SharedTrigger(InferenceEndpointTrigger):
    """The trigger as shipped; only counters are added."""

    async def _wait(self) -> dict[str, Any]:
        probe.watch()
        event = await super()._wait()
        probe.seen.ended += 1
        return event

    async def _open_client(self) -> AsyncEndpointsClient:
        probe.seen.lookups += 1
        return await super()._open_client()


class PlainTrigger(BaseTrigger):
    """The same wait as most providers write it: a lookup, a client and a loop for each task."""

    def __init__(self, endpoint: str, started: float, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.endpoint, self.started, self.deadline = endpoint, started, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments again."""
        kwargs = {"endpoint": self.endpoint, "started": self.started, "deadline": self.deadline}
        return (f"{type(self).__module__}.{type(self).__qualname__}", kwargs)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire."""
        probe.watch()
        await asyncio.sleep(0)
        probe.seen.lookups += 1
        goal = Goal(datetime.fromtimestamp(self.started, UTC), datetime.fromtimestamp(self.deadline, UTC))
        async with await InferenceEndpointsHook().get_async_conn() as client:
            end = await client.wait(self.endpoint, goal, on_look=probe.counting())
        probe.seen.ended += 1
        yield TriggerEvent(event_of(end, self.endpoint))  # type: ignore[no-untyped-call]


class IdleTrigger(PlainTrigger):
    """Waits for nothing and asks nobody: what a trigger costs Airflow itself."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep until the deadline."""
        probe.watch()
        probe.seen.waiting += 1
        await asyncio.sleep(self.deadline - time.time())
        yield TriggerEvent({"status": "timeout"})  # type: ignore[no-untyped-call]
