"""The trigger of an `AssetWatcher` against the emulator: each change once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.hooks import endpoints as hooks
from airflow_provider_hf_endpoints.triggers import events
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from airflow_provider_hf_endpoints.triggers.events import BadWatchError, InferenceEndpointEventTrigger
from tests.contract.operators_play import HANG, MODEL, TOKEN, calls, connect, connected, moved, received

OFTEN: dict[str, Any] = {"poll_interval": 0.05}
Event = dict[str, Any]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    monkeypatch.setattr(events, "_HANDED_OVER", 0.0)
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture
def client(emulator: Emulator) -> Iterator[EndpointsClient]:
    with EndpointsClient(TOKEN, base_url=emulator.url, namespace="acme") as client:
        yield client


def make(client: EndpointsClient, *names: str) -> None:
    for name in names:
        client.create_inference_endpoint(name, **MODEL)


class Store:
    """Airflow's store for one asset; `broken` as it is while the API server is away."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.asked = 0
        self.broken = False

    async def aget(self, key: str) -> Any:
        self._serve()
        return self.kept.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self._serve()
        self.kept[key] = json.loads(json.dumps(value))

    def _serve(self) -> None:
        self.asked += 1
        if self.broken:
            raise AirflowRuntimeError(ErrorResponse())


class Watching:
    """Triggers that run, as a triggerer would run them, and the events that they have fired."""

    def __init__(self, looks: Callable[[], int]) -> None:
        self.looks = looks
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, *triggers: InferenceEndpointEventTrigger, store: Any = None) -> None:
        for trigger in map(moved, triggers):
            trigger.asset_state_store = store
            self.tasks.append(asyncio.create_task(self._run(trigger)))

    async def _run(self, trigger: InferenceEndpointEventTrigger) -> None:
        async for event in trigger.run():
            self.queue.put_nowait(json.loads(json.dumps(event.payload)))

    async def next(self) -> Event:
        return await self.queue.get()

    async def some_looks(self, more: int = 3) -> None:
        """Until the service was asked some more times: what was to be seen has been seen."""
        target = self.looks() + more
        await until(lambda: self.looks() >= target)

    async def stop(self) -> None:
        for task in self.tasks:
            assert not task.done(), "a watcher ends only when it is ended"
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()


@asynccontextmanager
async def watching(emulator: Emulator) -> AsyncIterator[Watching]:
    watch = Watching(lambda: len(emulator.requests))
    try:
        yield watch
    finally:
        await watch.stop()


def run(play: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Bounded, so that an event that never comes fails the test instead of hanging it."""
    return asyncio.run(asyncio.wait_for(play(), timeout=HANG))


async def until(seen: Callable[[], bool]) -> None:
    """Until another thread, or another task, has done something that sends no signal."""
    while not seen():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def told(event: Event) -> tuple[str, str | None]:
    return event["state"], event["previous_state"]


def test_each_change_fires_once(emulator: Emulator, client: EndpointsClient) -> None:
    """Ready, paused, failed, scaled to zero and deleted: one event each, in order, and nothing in between."""
    make(client, "demo")
    states = ("running", "paused", "failed", "scaledToZero", "deleted")

    async def play() -> list[tuple[str, str | None]]:
        seen = []
        async with watching(emulator) as watch:
            watch.start(InferenceEndpointEventTrigger("demo", states=states, fire_on_start=True, **OFTEN))
            seen.append(told(await watch.next()))
            for act in (
                client.pause_inference_endpoint,
                client.resume_inference_endpoint,
                client.scale_to_zero_inference_endpoint,
            ):
                await asyncio.to_thread(act, "demo")
                seen.append(told(await watch.next()))
            emulator.behave("demo", fail="no memory")
            await asyncio.to_thread(client.pause_inference_endpoint, "demo")
            seen.append(told(await watch.next()))
            await asyncio.to_thread(client.resume_inference_endpoint, "demo")
            seen.append(told(await watch.next()))
            await asyncio.to_thread(client.delete_inference_endpoint, "demo", wait=False)
            seen.append(told(await watch.next()))
            await watch.some_looks()
            assert watch.queue.empty()
        return seen

    seen = run(play)
    assert [state for state, _ in seen] == [
        "running",
        "paused",
        "running",
        "scaledToZero",
        "paused",
        "failed",
        "deleted",
    ]
    assert all(previous != state for state, previous in seen)


def test_an_endpoint_that_is_made_later_is_waited_for(emulator: Emulator, client: EndpointsClient) -> None:
    """The endpoint does not exist at the first look: no error, and its first start is an event."""

    async def play() -> Event:
        async with watching(emulator) as watch:
            watch.start(InferenceEndpointEventTrigger("later", states=("running",), **OFTEN))
            await watch.some_looks()
            await asyncio.to_thread(make, client, "later")
            return await watch.next()

    event = run(play)
    assert {"name": "later", "namespace": "acme", "state": "running", "reason": None}.items() <= event.items()
    assert event["url"]


def test_what_is_there_at_first_is_no_event(emulator: Emulator, client: EndpointsClient) -> None:
    """An endpoint that was paused before anybody watched fires when it is paused again, not before."""
    make(client, "demo")
    client.pause_inference_endpoint("demo")

    async def play() -> Event:
        async with watching(emulator) as watch:
            watch.start(InferenceEndpointEventTrigger("demo", states=("paused", "running"), **OFTEN))
            await watch.some_looks()
            assert watch.queue.empty()
            await asyncio.to_thread(client.resume_inference_endpoint, "demo")
            return await watch.next()

    assert told(run(play))[0] == "running"


def test_a_restart_fires_nothing_twice_and_misses_nothing(emulator: Emulator, client: EndpointsClient) -> None:
    """With Airflow's store, the next triggerer continues from what the last triggerer saw."""
    make(client, "demo")
    trigger = InferenceEndpointEventTrigger("demo", states=("failed", "paused"), **OFTEN)
    store = Store()

    async def play() -> list[tuple[str, str | None]]:
        seen = []
        async with watching(emulator) as watch:
            watch.start(trigger, store=store)
            await until(lambda: "running" in store.kept.values())
            await watch.stop()
            await asyncio.to_thread(client.pause_inference_endpoint, "demo")  # while no triggerer is there
            watch.start(trigger, store=store)
            seen.append(told(await watch.next()))
            await watch.some_looks()
            await watch.stop()
            watch.start(trigger, store=store)
            await watch.some_looks()
            assert watch.queue.empty()
            await watch.stop()
        return seen

    assert [("paused", "running")] == run(play)


def test_without_a_store_a_restart_is_a_new_beginning(emulator: Emulator, client: EndpointsClient) -> None:
    """Airflow 3.0 to 3.2 stores nothing: a change in between is lost, and no event is sent twice."""
    make(client, "demo")
    trigger = InferenceEndpointEventTrigger("demo", states=("paused",), **OFTEN)

    async def play() -> None:
        async with watching(emulator) as watch:
            for _ in range(2):
                watch.start(trigger)
                await watch.some_looks()
                await watch.stop()
                await asyncio.to_thread(client.pause_inference_endpoint, "demo")
            assert watch.queue.empty()

    run(play)


def test_a_store_that_is_away_costs_the_memory_only(emulator: Emulator, client: EndpointsClient) -> None:
    """Events continue, and the log has a warning."""
    make(client, "demo")
    store = Store()
    store.broken = True

    async def play() -> Event:
        async with watching(emulator) as watch:
            watch.start(InferenceEndpointEventTrigger("demo", states=("paused",), **OFTEN), store=store)
            await watch.some_looks()
            await asyncio.to_thread(client.pause_inference_endpoint, "demo")
            return await watch.next()

    assert told(run(play))[0] == "paused"
    assert store.asked >= 2


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_every_error_is_ridden_out(emulator: Emulator, client: EndpointsClient, status: int) -> None:
    """Also one that ends a wait: what is refused today may be allowed tomorrow, and a watcher does not end."""
    make(client, "demo")
    emulator.add_fault("/v2/endpoint/acme", status=status, count=3)

    async def play() -> Event:
        async with watching(emulator) as watch:
            watch.start(InferenceEndpointEventTrigger("demo", states=("running",), fire_on_start=True, **OFTEN))
            return await watch.next()

    assert told(run(play))[0] == "running"
    (fault,) = emulator.faults
    assert fault["hits"] == 3


def test_a_connection_that_comes_later(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing connection is logged and waited for like everything else."""
    monkeypatch.delenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT")

    async def play() -> None:
        async with watching(emulator) as watch:
            watch.start(InferenceEndpointEventTrigger("demo", states=("deleted",), fire_on_start=True, **OFTEN))
            await asyncio.sleep(0.7)  # the first look waits half a second for company
            connect(monkeypatch, emulator)
            assert told(await watch.next())[0] == "deleted"

    run(play)


def test_hundreds_of_watchers_and_waits_share_one_lookup_and_one_poll(
    emulator: Emulator, client: EndpointsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 watchers of 50 endpoints and 10 waits: one connection lookup, and no request for a watcher alone."""
    names = [f"e-{i}" for i in range(50)]
    emulator.behave("e-0", initializing_seconds=3600)
    make(client, *names)
    lookups = 0
    original = vars(hooks)["get_async_connection"]

    async def counted(conn_id: str) -> Any:
        nonlocal lookups
        lookups += 1
        return await original(conn_id)

    monkeypatch.setattr(hooks, "get_async_connection", counted)
    before = len(received(emulator))

    async def play() -> None:
        async with watching(emulator) as watch:
            for states in (("failed",), ("paused",), ("scaledToZero",), ("deleted",)):
                watch.start(*(InferenceEndpointEventTrigger(name, "acme", states) for name in names))
            waits = [
                asyncio.ensure_future(anext(InferenceEndpointTrigger("e-0", 1.0, "acme").run())) for _ in range(10)
            ]
            await watch.some_looks(1)
            await asyncio.sleep(1.0)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    run(play)
    gets = [line for line in received(emulator)[before:] if "/v2/endpoint/acme" in line]
    assert (1, 1) == (lookups, len(gets)), gets


def test_ended_it_leaves_the_endpoint_alone(emulator: Emulator, client: EndpointsClient) -> None:
    """A watch belongs to no task: pausing the DAG or a kill changes nothing at the service."""
    make(client, "demo")
    before = calls(emulator)

    async def play() -> None:
        trigger = InferenceEndpointEventTrigger("demo", **OFTEN)
        async with watching(emulator) as watch:
            watch.start(trigger)
            await watch.some_looks()
        await trigger.cleanup()
        if hasattr(trigger, "on_kill"):
            await trigger.on_kill()

    run(play)
    assert before == calls(emulator)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"states": ("scaled_to_zero",)}, "Use one or more of pending"),
        ({"states": ()}, "Use one or more of pending"),
        ({"endpoint": "{{ params.name }}"}, "are not templates"),
        ({"namespace": "a/b"}, "namespace='a/b'"),
        ({"poll_interval": 0}, "poll_interval=0 is not valid"),
    ],
)
def test_what_could_never_fire_is_refused_when_the_dag_is_read(wrong: dict[str, Any], words: str) -> None:
    """And by an error that does not end a triggerer, should another version's arguments meet it there."""
    with pytest.raises(BadWatchError, match=words) as caught:
        InferenceEndpointEventTrigger(**{"endpoint": "demo", **wrong})
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
