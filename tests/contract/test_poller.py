"""The shared poll against the real emulator: one lookup, few requests, and an answer for every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints import poller as poller_module
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import AuthenticationError, InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller, poller_for
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Goal, Ready, TimedOut
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End

TOKEN = "hf_poller_token"


def goal(seconds: float = 60.0, **changes: Any) -> Goal:
    now = datetime.now(UTC)
    return Goal(started=now, deadline=now + timedelta(seconds=seconds), **changes)


def create(emulator: Emulator, *names: str) -> None:
    with EndpointsClient(TOKEN, base_url=emulator.url, namespace=emulator.namespace) as client:
        for name in names:
            client.create_inference_endpoint(
                name,
                repository="gpt2",
                framework="pytorch",
                accelerator="cpu",
                instance_size="x2",
                instance_type="intel-icl",
                region="us-east-1",
                vendor="aws",
            )


class Waiting:
    """A poller on the emulator that counts the lookups of its connection."""

    def __init__(self, emulator: Emulator, tokens: list[str] | None = None) -> None:
        self.emulator = emulator
        self.tokens = tokens or [TOKEN]
        self.lookups = 0
        self.poller = EndpointPoller(self.open_client, emulator.namespace)

    async def open_client(self) -> AsyncEndpointsClient:
        token = self.tokens[min(self.lookups, len(self.tokens) - 1)]
        self.lookups += 1
        return AsyncEndpointsClient(token, base_url=self.emulator.url)

    def control_requests(self) -> list[str]:
        prefix = f"/v2/endpoint/{self.emulator.namespace}"
        paths = [each.path.partition("?")[0] for each in self.emulator.requests if each.method == "GET"]
        return [path for path in paths if path.startswith(prefix)]


def run(play: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Bounded, so that a waiter that is forgotten fails the test instead of hanging it."""
    return asyncio.run(asyncio.wait_for(play(), timeout=120))


def test_many_waits_share_one_lookup_and_list_pages() -> None:
    """120 waits that begin together cost one lookup and two pages a round, and all of them end."""
    names = [f"e-{i}" for i in range(120)]
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=600.0) as emulator:
        create(emulator, *names)
        waiting = Waiting(emulator)

        async def play() -> list[End]:
            waits = [asyncio.ensure_future(waiting.poller.wait(name, goal())) for name in names]
            await asyncio.sleep(2)
            emulator.advance(600)  # all are ready at the same moment, however long it took to create them
            return await asyncio.gather(*waits)

        ends = run(play)
        assert [Ready] * 120 == [type(end) for end in ends]
        assert sorted(names) == sorted(end.endpoint.name for end in ends if end.endpoint is not None)
        assert waiting.lookups == 1
        assert {"/v2/endpoint/acme"} == set(waiting.control_requests()), "single GETs where pages are fewer"
        rounds = len(waiting.control_requests()) / 2
        assert rounds <= 10, f"{rounds} rounds of two pages for a start of two seconds"


def test_newcomers_take_what_others_have_just_seen() -> None:
    """Waits that a new triggerer takes up one after the other cost no list each: the last page serves them."""
    names = [f"e-{i}" for i in range(90)]
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=600) as emulator:
        create(emulator, *names)
        waiting = Waiting(emulator)
        now = datetime.now(UTC)
        old = Goal(started=now - timedelta(hours=1), deadline=now + timedelta(hours=1))

        async def play() -> None:
            told: asyncio.Queue[str] = asyncio.Queue()
            waits = []
            for begin in range(0, 90, 30):
                some = names[begin : begin + 30]
                waits += [asyncio.create_task(waiting.poller.wait(name, old, told.put_nowait)) for name in some]
                for _ in some:
                    await told.get()
            for wait in waits:
                wait.cancel()

        run(play)
        assert ["/v2/endpoint/acme"] == waiting.control_requests()


def test_a_thousand_jitters_do_not_make_the_poll_faster() -> None:
    """The pace is one for all: with a jitter each, the earliest of many would set it."""
    now = datetime.now(UTC)
    old = Goal(started=now - timedelta(hours=1), deadline=now + timedelta(hours=1))
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=600) as emulator:
        create(emulator, *(f"e-{i}" for i in range(20)))
        waiting = Waiting(emulator)

        async def play() -> set[float]:
            told: asyncio.Queue[str] = asyncio.Queue()
            waits = [asyncio.create_task(waiting.poller.wait(f"e-{i}", old, told.put_nowait)) for i in range(20)]
            for _ in waits:
                await told.get()
            await asyncio.sleep(0)
            pauses = {round(ticket.due - ticket.earliest, 1) for ticket in waiting.poller._tickets}
            for wait in waits:
                wait.cancel()
            return pauses

        (half,) = run(play)
        assert 12.5 <= half <= 15.0


def test_a_few_waits_cost_no_more_than_polling_alone() -> None:
    """Three waits among 400 endpoints are asked for by name once the namespace is known to be large."""
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=1.5) as emulator:
        create(emulator, *(f"other-{i}" for i in range(400)), "a", "b", "c")
        waiting = Waiting(emulator)

        async def play() -> list[End]:
            return await asyncio.gather(*(waiting.poller.wait(name, goal()) for name in "abc"))

        assert [Ready] * 3 == [type(end) for end in run(play)]
        pages = [path for path in waiting.control_requests() if path == "/v2/endpoint/acme"]
        assert len(pages) <= 1, "one page is how the size is learnt; more would cost more than GETs"


def test_an_endpoint_that_is_deleted_ends_its_own_wait_only() -> None:
    """The others continue."""
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=2.0) as emulator:
        emulator.behave("goes", initializing_seconds=600)
        create(emulator, "stays", "goes")
        waiting = Waiting(emulator)

        async def play() -> tuple[End, End]:
            waits = asyncio.gather(waiting.poller.wait("stays", goal()), waiting.poller.wait("goes", goal()))
            async with AsyncEndpointsClient(TOKEN, base_url=emulator.url, namespace="acme") as client:
                await client.delete_inference_endpoint("goes")
            return await waits

        stays, goes = run(play)
        assert isinstance(stays, Ready)
        assert isinstance(goes, Failed)
        assert "does not exist" in goes.reason


def test_a_refused_token_is_looked_up_again_and_only_once() -> None:
    """A token that was changed in the connection is taken up; one that is simply wrong is an error."""
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        create(emulator, "a")
        renewed = Waiting(emulator, ["hf_old_token", TOKEN])
        assert isinstance(run(lambda: renewed.poller.wait("a", goal())), Ready)
        assert renewed.lookups == 2
        wrong = Waiting(emulator, ["hf_wrong_token"])
        with pytest.raises(AuthenticationError):
            run(lambda: wrong.poller.wait("a", goal()))
        assert wrong.lookups == 2


def test_errors_that_pass_are_ridden_out_and_retry_after_is_kept() -> None:
    """After a 429 with Retry-After nothing is asked before that time has passed."""
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        create(emulator, "a")
        before = len(emulator.requests)
        emulator.add_fault(path="/v2/endpoint/acme/a", method="GET", status=429, retry_after=2, count=1)
        waiting = Waiting(emulator)
        assert isinstance(run(lambda: waiting.poller.wait("a", goal())), Ready)
        asked = [each for each in emulator.requests[before:] if each.path == "/v2/endpoint/acme/a"]
        assert asked[0].status == 429
        assert asked[1].at - asked[0].at >= 2


@pytest.mark.parametrize("hanging", [1, 40])
def test_a_health_route_that_hangs_delays_nobody_else(hanging: int) -> None:
    """An endpoint that starts meanwhile is ready before the first health route answers, however many hang."""
    slow = [f"slow-{number}" for number in range(hanging)]
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=0) as emulator:
        create(emulator, *slow)
        for name in slow:
            emulator.add_fault(f"{urlsplit(emulator.endpoint(name)['status']['url']).path}/health", delay_seconds=20)
        emulator.behave("quick", initializing_seconds=2.0)
        waiting = Waiting(emulator)

        async def play() -> set[str]:
            waits = {asyncio.create_task(waiting.poller.wait(name, goal()), name=name) for name in slow}
            await asyncio.sleep(1.5)  # by now the slow ones have been asked for their health
            await asyncio.to_thread(create, emulator, "quick")
            waits.add(asyncio.create_task(waiting.poller.wait("quick", goal()), name="quick"))
            done, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in left:
                wait.cancel()
            return {wait.get_name() for wait in done if isinstance(wait.result(), Ready)}

        assert {"quick"} == run(play)


def test_many_who_wait_for_one_endpoint_ask_its_health_once_at_a_time() -> None:
    """A health route that hangs is not asked by every waiter for itself."""
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=0) as emulator:
        create(emulator, "a")
        emulator.add_fault("/health$", delay_seconds=4)
        waiting = Waiting(emulator)

        async def play() -> list[End]:
            first = asyncio.create_task(waiting.poller.wait("a", goal()))
            await asyncio.sleep(1.5)
            return await asyncio.gather(first, *(waiting.poller.wait("a", goal()) for _ in range(5)))

        assert [Ready] * 6 == [type(end) for end in run(play)]
        assert len([each for each in emulator.requests if each.path.endswith("/health")]) == 1


def test_the_deadline_ends_a_wait() -> None:
    """A wait that is not served in time is timed out, whatever the others do."""
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=600) as emulator:
        create(emulator, "a")
        waiting = Waiting(emulator)
        assert isinstance(run(lambda: waiting.poller.wait("a", goal(1.5))), TimedOut)


def test_a_lookup_that_fails_is_everybodys_error_and_the_next_wait_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not exist must not leave a waiter waiting, and must not break the poller permanently."""
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        create(emulator, "a")
        waiting = Waiting(emulator)
        open_client = waiting.poller._open_client

        async def missing() -> AsyncEndpointsClient:
            raise InferenceEndpointError("the connection 'x' is not defined")

        async def play() -> End:
            waiting.poller._open_client = missing
            with pytest.raises(InferenceEndpointError, match="not defined"):
                await waiting.poller.wait("a", goal())
            waiting.poller._open_client = open_client
            return await waiting.poller.wait("a", goal())

        assert isinstance(run(play), Ready)


def test_the_poller_ends_after_the_last_waiter_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a waiter no request is sent; a later waiter finds a new lookup."""
    monkeypatch.setattr(poller_module, "_LINGER", 0.2)
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        create(emulator, "a")
        waiting = Waiting(emulator)

        async def play() -> None:
            await waiting.poller.wait("a", goal())
            task = waiting.poller._task
            assert task is not None
            await task
            await waiting.poller.wait("a", goal())

        run(play)
        assert waiting.lookups == 2


def test_a_cancelled_waiter_is_forgotten_and_the_others_are_served() -> None:
    """A trigger that is cleared away leaves no ticket behind."""
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=1.0) as emulator:
        create(emulator, "a", "b")
        waiting = Waiting(emulator)

        async def play() -> End:
            cancelled = asyncio.create_task(waiting.poller.wait("a", goal()))
            other = asyncio.create_task(waiting.poller.wait("b", goal()))
            await asyncio.sleep(0.1)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            return await other

        assert isinstance(run(play), Ready)
        assert not waiting.poller._tickets


def test_a_waiter_that_is_cancelled_during_a_look_asks_for_no_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of that task may have scaled the endpoint to zero, and a health check would wake the endpoint."""
    monkeypatch.setattr(poller_module, "_LINGER", 0.2)
    with Emulator(token=TOKEN, namespace="acme", initializing_seconds=0) as emulator:
        create(emulator, "a")
        waiting = Waiting(emulator)
        survey = waiting.poller._survey

        async def play() -> None:
            wait = asyncio.create_task(waiting.poller.wait("a", goal()))

            async def and_cancel(names: set[str]) -> dict[str, Any]:
                found = await survey(names)
                wait.cancel()
                await asyncio.gather(wait, return_exceptions=True)
                return found

            monkeypatch.setattr(waiting.poller, "_survey", and_cancel)
            await asyncio.gather(wait, return_exceptions=True)
            assert waiting.poller._task is not None
            await waiting.poller._task

        run(play)
        assert [] == [each.path for each in emulator.requests if each.path.endswith("/health")]


def test_who_shares_a_poller() -> None:
    """Only waits on the same connection and namespace in the same event loop."""

    async def play() -> None:
        async def open_client() -> AsyncEndpointsClient:
            raise AssertionError("nobody waits here")

        assert poller_for("c", "acme", open_client) is poller_for("c", "acme", open_client)
        assert poller_for("c", "acme", open_client) is not poller_for("c", "other", open_client)
        assert poller_for("c", "acme", open_client) is not poller_for("d", "acme", open_client)

    run(play)
