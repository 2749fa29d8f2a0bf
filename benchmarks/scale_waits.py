"""Waits of many triggerers in one namespace, in simulated time: requests a second, and how late a wait sees its end.

Real are the shared poller of each triggerer, its surveys, and every wait's decisions. Simulated are the clock, the
network, and the service: its endpoints, and the requests that it allows in five minutes.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Flow, Pause, Session
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import ApiError, RateLimitError
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal, Ready
from benchmarks.tables import head, row
from tests.generated.clock import START, in_time_of
from tests.hostile.clock import SimulatedLoop
from tests.unit.endpoints.play import raw

LATENCY = 0.1  # seconds of a request
CLAIMED = 50.0  # triggers a second that a triggerer begins: Airflow's own pace
WINDOW = 300.0  # seconds in which the service counts requests
START_SECONDS = (60.0, 900.0)  # until an endpoint is ready


@dataclass(frozen=True)
class Fleet:
    """What waits for what.

    :param arrivals: waits a second that begin, all triggerers together; None for as fast as they can
    :param allowed: requests in five minutes; None for any number
    """

    waits: int
    triggerers: int
    endpoints: int
    arrivals: float | None = None
    allowed: int | None = None


@dataclass
class Control:
    """The control plane of one namespace."""

    clock: Callable[[], float]
    ready_at: Sequence[float]
    allowed: int | None
    asked: list[float] = field(default_factory=list)  # when each request came
    refused: int = 0
    page: int = 100
    _raw: dict[tuple[int, bool], dict[str, Any]] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        """Raises `RateLimitError` where the window is full."""
        now = self.clock()
        if request.base == "absolute":  # the health route is the endpoint's own
            return Answer(200, {})
        if self.allowed is not None and len(self.asked) - bisect_left(self.asked, now - WINDOW) >= self.allowed:
            self.refused += 1
            oldest = self.asked[-self.allowed]
            raise RateLimitError("Too Many Requests", status=429, retry_after=max(1.0, oldest + WINDOW - now))
        self.asked.append(now)
        _, *name = request.path.removeprefix("/v2/endpoint/").split("/")
        if name:
            return Answer(200, {}, self._shown(int(name[0].removeprefix("e-")), now))
        begin = int(request.params.get("cursor", "0"))
        end = min(begin + self.page, len(self.ready_at))
        items = [self._shown(number, now) for number in range(begin, end)]
        following = {"nextCursor": str(end)} if end < len(self.ready_at) else {"nextCursor": None}
        return Answer(200, {}, {"items": items, "totalItems": len(self.ready_at), **following})

    def _shown(self, number: int, now: float) -> dict[str, Any]:
        ready = now >= self.ready_at[number]
        if (number, ready) not in self._raw:
            state = {"readyReplica": int(ready), "targetReplica": 1, "url": f"https://e-{number}.example"}
            self._raw[number, ready] = raw("running" if ready else "initializing", name=f"e-{number}", **state)
        return self._raw[number, ready]

    def most_in(self, seconds: float) -> float:
        """Requests a second, in the busiest time of so many seconds."""
        counts = [bisect_left(self.asked, at + seconds) - number for number, at in enumerate(self.asked)]
        return max(counts, default=0) / seconds


class Client:
    """Plays flows against the service. Sends nothing."""

    def __init__(self, control: Control) -> None:
        self.session = Session(namespace="acme")
        self._control = control

    async def run(self, flow: Flow[Any]) -> Any:
        """As `AsyncEndpointsClient.run`."""
        act: Callable[[], Any] = lambda: next(flow)  # noqa: E731
        while True:
            try:
                step = act()
            except StopIteration as stop:
                return stop.value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                act = lambda: flow.send(None)  # noqa: E731
                continue
            await asyncio.sleep(LATENCY)
            try:
                answer = self._control.answer(step)
                act = lambda answer=answer: flow.send(answer)  # type: ignore[misc]  # noqa: E731
            except ApiError as error:
                act = lambda error=error: flow.throw(error)  # type: ignore[misc]  # noqa: E731

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Figures:
    """What came of a fleet.

    :param late: seconds from an endpoint being ready until each wait for it, median and longest
    """

    requests: int
    peak: float
    minute: float
    steady: float
    refused: int
    late: tuple[float, float]


async def _play(fleet: Fleet, loop: SimulatedLoop) -> Figures:
    draw = random.Random(1)
    began = loop.now
    ready_at = [began + draw.uniform(*START_SECONDS) for _ in range(fleet.endpoints)]
    control = Control(loop.time, ready_at, fleet.allowed)

    async def open_client() -> AsyncEndpointsClient:
        return cast(AsyncEndpointsClient, Client(control))

    pollers = [EndpointPoller(open_client, "acme") for _ in range(fleet.triggerers)]
    late: list[float] = []
    apart = max(1, fleet.endpoints * fleet.triggerers // fleet.waits)  # so that all pages hold some

    async def wait(number: int) -> None:
        pace = fleet.arrivals or CLAIMED * fleet.triggerers
        await asyncio.sleep(number / pace)
        since, endpoint = loop.now, number // fleet.triggerers * apart % fleet.endpoints
        now = datetime.now(UTC)
        goal = Goal(started=now, deadline=now + timedelta(hours=12))
        end = await pollers[number % fleet.triggerers].wait(f"e-{endpoint}", goal)
        assert isinstance(end, Ready), end
        late.append(loop.now - max(ready_at[endpoint], since))

    await asyncio.gather(*(wait(number) for number in range(fleet.waits)))
    steady = [at for at in control.asked if 200.0 <= at - began < 300.0]
    return Figures(
        requests=len(control.asked),
        peak=control.most_in(1.0),
        minute=control.most_in(60.0),
        steady=len(steady) / 100.0,
        refused=control.refused,
        late=(statistics.median(late), max(late)),
    )


def play(fleet: Fleet) -> Figures:
    """One fleet, from its first wait to its last."""
    loop = SimulatedLoop()
    loop.now = START
    loop._clock_resolution = 1e-3  # type: ignore[attr-defined]  # seconds since 1970 have no nanoseconds in a float
    asyncio.set_event_loop(loop)
    try:
        with in_time_of(loop, loop.pass_by):  # type: ignore[arg-type]
            return loop.run_until_complete(_play(fleet, loop))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


def table(fleets: Sequence[Fleet]) -> None:
    """Print a line for each."""
    head(
        "waits",
        "triggerers",
        "endpoints",
        "begin, a second",
        "allowed in 5 min",
        "requests/s: most in 1 s, in a minute, steady",
        "refused",
        "late: median, longest (s)",
    )
    for fleet in fleets:
        found = play(fleet)
        pace = fleet.arrivals or CLAIMED * fleet.triggerers
        row(
            fleet.waits,
            fleet.triggerers,
            fleet.endpoints,
            f"{pace:g}",
            fleet.allowed or "any",
            f"{found.peak:.0f}, {found.minute:.1f}, {found.steady:.1f}",
            found.refused,
            f"{found.late[0]:.1f}, {found.late[1]:.0f}",
        )
