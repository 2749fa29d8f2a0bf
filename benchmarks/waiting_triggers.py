"""The triggers that the waiting benchmark runs in a triggerer: the shipped one with counters, and its baselines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, Goal
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End, OnLook
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from airflow_provider_hf_endpoints.waits import event_of
from benchmarks import waiting_probe as probe

_wait = EndpointPoller.wait


async def _counted_wait(self: EndpointPoller, name: str, goal: Goal, on_look: OnLook | None = None) -> End:
    if goal.deadline is not None:
        probe.seen.deadlines += round(goal.deadline.timestamp(), 3)
    return await _wait(self, name, goal, probe.counting(on_look))


EndpointPoller.wait = _counted_wait  # type: ignore[method-assign]


class SharedTrigger(InferenceEndpointTrigger):
    """The trigger as shipped; only counters are added."""

    async def _wait(self) -> dict[str, Any]:
        probe.watch()
        probe.own()
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
    """Waits for nothing and sends no request: what a trigger costs Airflow itself."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep until the deadline."""
        probe.watch()
        probe.seen.waiting += 1
        await asyncio.sleep(self.deadline - time.time())
        yield TriggerEvent({"status": "timeout"})  # type: ignore[no-untyped-call]


class StreamTrigger(BaseEventTrigger):
    """The same wait with Airflow's own shared stream (3.3): one poll of list pages, handed to every trigger.

    As simple as it can be written: it rides out no error, looks at no health route, and knows no deadline.
    """

    supports_triggerer_queue = True

    def __init__(self, endpoint: str, started: float, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.endpoint, self.started, self.deadline = endpoint, started, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments again."""
        kwargs = {"endpoint": self.endpoint, "started": self.started, "deadline": self.deadline}
        return (f"{type(self).__module__}.{type(self).__qualname__}", kwargs)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Not called where streams are shared."""
        raise NotImplementedError("this Airflow has no shared streams")
        yield

    def shared_stream_key(self) -> tuple[str, str]:
        """All triggers share one stream."""
        return ("hf_endpoints", InferenceEndpointsHook.default_conn_name)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[dict[str, str]]:
        """The state of every endpoint by name, at every interval."""
        probe.watch()
        probe.seen.lookups += 1
        async with await InferenceEndpointsHook().get_async_conn() as client:
            while True:
                found = await client.list_inference_endpoints(limit=100)
                yield {endpoint.name: str(endpoint.status) for endpoint in found}
                await asyncio.sleep(LONGEST_POLL)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[dict[str, str]]) -> AsyncIterator[TriggerEvent]:
        """Fire when its own endpoint runs."""
        told = probe.counting()
        async for states in shared_stream:
            if states.get(self.endpoint) == "running":
                probe.seen.ended += 1
                yield TriggerEvent({"status": "ready", "name": self.endpoint})  # type: ignore[no-untyped-call]
                return
            told("not yet")


class AnthropicTrigger(BaseTrigger):
    """anthropic's batch trigger as it is shipped, pointed at a local server; only counters are added.

    It waits for a batch that takes as long as it is waited for. Its hook looks the connection up for each trigger.
    """

    def __init__(self, endpoint: str, started: float, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.endpoint, self.started, self.deadline = endpoint, started, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments again."""
        kwargs = {"endpoint": self.endpoint, "started": self.started, "deadline": self.deadline}
        return (f"{type(self).__module__}.{type(self).__qualname__}", kwargs)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Its own loop, with the longest pause between looks that ours has."""
        # Imported here: it is a dependency only of this baseline.
        from airflow.providers.anthropic.hooks.anthropic import AnthropicHook
        from airflow.providers.anthropic.triggers.batch import AnthropicBatchTrigger

        probe.watch()
        asked = AnthropicHook.get_batch
        if not hasattr(asked, "counted"):

            def counted(hook: Any, batch_id: str) -> Any:
                batch = asked(hook, batch_id)
                probe.seen.waiting += not hasattr(hook, "looked")
                probe.seen.lookups += not hasattr(hook, "looked")
                hook.looked = True
                return batch

            counted.counted = True  # type: ignore[attr-defined]
            AnthropicHook.get_batch = counted
        async for event in AnthropicBatchTrigger("anthropic_default", self.endpoint, LONGEST_POLL, self.deadline).run():
            yield event
