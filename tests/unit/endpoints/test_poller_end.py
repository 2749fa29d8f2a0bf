"""The shared poll ends when nobody waits any more, and nobody who comes at that very moment is forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from airflow_provider_hf_endpoints.endpoints import poller as module
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.flows import Flow, Session
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller
from airflow_provider_hf_endpoints.endpoints.readiness import Failed, Goal
from airflow_provider_hf_endpoints.endpoints.waiting import End
from tests.unit.endpoints.play import NOW, Play, raw

HANG = 10.0  # seconds after which a waiter counts as forgotten


class SlowToClose:
    """A client of a service where every endpoint has failed; closing it takes a turn of the event loop."""

    def __init__(self, closing: asyncio.Event) -> None:
        self.session = Session(namespace="acme")
        self._closing = closing

    async def run(self, flow: Flow[Any]) -> Any:
        return Play(raw("failed")).run(flow)

    async def close(self) -> None:
        self._closing.set()
        for _ in range(5):
            await asyncio.sleep(0)


def test_who_comes_while_the_poll_ends_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that begins while the last client is being closed gets its look, from a poll that goes on."""
    monkeypatch.setattr(module, "_LINGER", 0.01)
    monkeypatch.setattr(module, "_GATHER", 0.0)
    wanted = Goal(started=NOW, deadline=NOW + timedelta(days=10_000))

    async def play() -> list[End]:
        closing = asyncio.Event()

        async def open_client() -> AsyncEndpointsClient:
            return cast(AsyncEndpointsClient, SlowToClose(closing))

        poller = EndpointPoller(open_client, "acme")
        first = await poller.wait("tickets", wanted)
        await closing.wait()
        return [first, await asyncio.wait_for(poller.wait("tickets", wanted), HANG)]

    assert [Failed, Failed] == [type(end) for end in asyncio.run(play())]
