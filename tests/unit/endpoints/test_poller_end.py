"""The shared poll ends after its last wait, and a wait that begins at that very moment is still answered."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints import poller as module
from airflow_provider_hf_endpoints.endpoints.api.flows import Flow, Session
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Goal
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End
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
    """A wait that begins while the last client is being closed gets its look, from a poll that continues."""
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


class Busy(SlowToClose):
    """A client of a service that is busy and says when to come back."""

    def __init__(self, error: errors.ApiError) -> None:
        super().__init__(asyncio.Event())
        self.looks = 0
        self._error = error

    async def run(self, flow: Flow[Any]) -> Any:
        self.looks += 1
        return Play(self._error).run(flow)


@pytest.mark.parametrize(
    "error",
    [
        errors.ServiceError("busy", status=503, retry_after=1000.0),
        errors.RateLimitError("slow down", status=429, retry_after=1000.0),
        errors.RateLimitError("slow down", status=429),
    ],
    ids=["503", "429", "429-without-a-number"],
)
def test_newcomers_keep_to_retry_after_too(monkeypatch: pytest.MonkeyPatch, error: errors.ApiError) -> None:
    """A Retry-After for one waiter applies to all waiters of the poll: a new one does not ask before that."""
    monkeypatch.setattr(module, "_GATHER", 0.0)
    wanted = Goal(started=NOW, deadline=NOW + timedelta(days=10_000))
    # Many names are had from list pages, whose errors are everybody's.
    names = [f"e-{number}" for number in range(5)]

    async def play() -> int:
        busy = Busy(error)

        async def open_client() -> AsyncEndpointsClient:
            return cast(AsyncEndpointsClient, busy)

        poller = EndpointPoller(open_client, "acme")
        waits = [asyncio.create_task(poller.wait(name, wanted)) for name in names]
        await asyncio.sleep(0.2)
        waits.append(asyncio.create_task(poller.wait("newcomer", wanted)))
        await asyncio.sleep(0.2)
        for wait in waits:
            wait.cancel()
        return busy.looks

    assert asyncio.run(play()) == 1


def test_who_was_refused_asks_more_slowly_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others ask with the same token: after the Retry-After, the next rounds are further apart."""
    monkeypatch.setattr(module, "_GATHER", 0.0)
    wanted = Goal(started=NOW, deadline=NOW + timedelta(days=10_000))

    async def play(first: Any) -> float:
        answers = iter([first])

        class Once(SlowToClose):
            async def run(self, flow: Flow[Any]) -> Any:
                return Play(next(answers, raw("initializing"))).run(flow)

        async def open_client() -> AsyncEndpointsClient:
            return cast(AsyncEndpointsClient, Once(asyncio.Event()))

        poller = EndpointPoller(open_client, "acme")
        await poller.look("tickets", 0.0)
        wait = asyncio.create_task(poller.wait("tickets", wanted))
        await asyncio.sleep(0)
        pause = poller._not_before - asyncio.get_running_loop().time()
        wait.cancel()
        return pause

    assert asyncio.run(play(raw("initializing"))) <= 0.0
    assert asyncio.run(play(errors.RateLimitError("slow down", status=429, retry_after=100.0))) > 100.4
