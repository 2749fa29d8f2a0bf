"""One poll for all who wait in a process for endpoints of one connection and namespace.

N waits as N polling loops are N connection lookups, N clients and N requests an interval; here they are one lookup, one
client, and the fewest requests that show all of them. Each waiter still judges for itself: it asks for a look, some
seconds from now. asyncio, one event loop; no Airflow import.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_hf_endpoints.endpoints.api.flows import is_ridden_out
from airflow_provider_hf_endpoints.endpoints.api.transport import prepare_for_loop
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    AuthenticationError,
    InferenceEndpointError,
    RateLimitError,
    RequestTimeoutError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.health_checks import HealthChecks
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.waiting.poll_pace import PollPace
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import (
    LONGEST_POLL,
    EndpointSnapshot,
    Failed,
    Goal,
    Health,
    Ready,
    TimedOut,
    Verdict,
    Wait,
    Wake,
    judge,
    judge_wake,
    needs_health,
)
from airflow_provider_hf_endpoints.endpoints.waiting.survey import Found, Memory, survey
from airflow_provider_hf_endpoints.endpoints.waiting.wait import End, OnLook, Patience, after_error

log = logging.getLogger(__name__)

# Waiters come in bursts (Airflow claims 50 triggers a second at best): a first look waits a moment for company.
_GATHER = 0.5  # seconds
# A look that others are due for serves who would be due within this share of their pause too.
_EARLY = 0.5
_LINGER = 10.0  # seconds without a waiter, after which the poller ends
_CLIENT_AGE = 1800.0  # seconds, after which the connection is looked up again: tokens are changed now and then
_GRACE = 60.0  # seconds that a look may take beyond a waiter's deadline before the wait ends without it
_RATE_PAUSE = 5.0  # seconds after a 429 without Retry-After
_LONGEST_TOLD = 300.0  # seconds of a Retry-After that are kept to: newcomers' deadlines count as well
_WATCH_JITTER = 0.2  # the part by which the pause of who watches is shorter at most, alike for all of a round
_BREATH = 20  # waiters served before the event loop gets its turn: others live on it too

_BROKE = "The shared poll of namespace %s failed"

OpenClient = Callable[[], Awaitable[AsyncEndpointsClient]]
Look = EndpointSnapshot | InferenceEndpointError


@dataclass(eq=False)
class _Ticket:
    """A waiter's wish for a look: not before `earliest`, and best at `due` (both by the event loop's clock)."""

    name: str
    goal: Goal
    earliest: float
    due: float
    answer: asyncio.Future[Look] = field(repr=False)


class EndpointPoller:
    """Serves looks at endpoints. It starts with the first waiter and ends a little after the last.

    :param open_client: looks the connection up and makes a client; called once, after a 401, and now and then.
    :param namespace: the namespace of all its waiters; None is the client's own.
    """

    def __init__(self, open_client: OpenClient, namespace: str | None) -> None:
        self._open_client = open_client
        self._namespace = namespace
        self._tickets: set[_Ticket] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._client: AsyncEndpointsClient | None = None
        self._client_since = 0.0
        self._opening = asyncio.Lock()
        self._not_before = 0.0  # by the loop's clock; see `_rest`
        self._pace = PollPace()
        self._jitter = 1.0
        self._checks = HealthChecks()
        self._aside: set[asyncio.Task[None]] = set()  # tasks beside the poll, which must not delay it
        self.memory = Memory()

    @property
    def client(self) -> AsyncEndpointsClient | None:
        """The client of its looks, which it closes itself; None before the first look and between two clients."""
        return self._client

    async def wait(self, name: str, goal: Goal, on_look: OnLook | None = None) -> End:
        """As `EndpointsClient.wait`, with looks that are shared; raises the same, and what `open_client` raises."""
        check_name(name)
        patience = Patience()
        verdict: Verdict | None = self._known(name, goal)
        while True:
            match verdict:
                case Ready() | Failed() | TimedOut():
                    return verdict
                case Wait(seconds=seconds, reason=reason) | Wake(seconds=seconds, reason=reason):
                    if on_look is not None:
                        on_look(reason)
                    pause = seconds
                case None:
                    pause = 0.0
            began = datetime.now(UTC)
            verdict = patience.weigh(await self._verdict(name, goal, pause), began)

    async def look(self, name: str, pause: float, *, check_health: bool = False) -> Look:
        """One look, at most `pause` seconds from now, for callers that watch without an end. It wakes no endpoint.

        An error is returned and not raised, because a watch survives errors.

        :param pause: 0 for the first look, which may use a list that was just read for others. A later look joins looks
            for others in the second half of the pause.
        :param check_health: whether a running endpoint is asked for its health.
        """
        check_name(name)
        goal = Goal(started=datetime.now(UTC), check_health=check_health)
        known = self.memory.other(name) if pause == 0 else None
        fresh = goal.started - self.memory.others_at < timedelta(seconds=LONGEST_POLL)
        if known is not None and fresh and not needs_health(known, goal):
            return EndpointSnapshot(known)
        return await self._look(name, goal, pause * (1 - _WATCH_JITTER * self._jitter))

    def _known(self, name: str, goal: Goal) -> Wait | None:
        """What a newcomer may make of a list page that others have read, if that is as fresh as its own looks are."""
        endpoint = self.memory.other(name)
        if endpoint is None or needs_health(endpoint, goal):
            return None
        now = datetime.now(UTC)
        age = (now - self.memory.others_at).total_seconds()
        verdict = judge(EndpointSnapshot(endpoint), goal, now, self._draw)
        if isinstance(verdict, Wait) and verdict.seconds > age:
            return Wait(verdict.seconds - age, verdict.reason)
        return None

    def _draw(self) -> float:
        """One jitter for all of a round: with one for each waiter, the earliest of a thousand would set the pace."""
        return self._jitter

    async def _verdict(self, name: str, goal: Goal, pause: float) -> Verdict:
        """The next look, and what it means. Nothing of the look is kept: a thousand waiters would keep a thousand."""
        look = await self._look(name, goal, pause)
        now = datetime.now(UTC)
        if isinstance(look, ApiError) and is_ridden_out(look):
            return after_error(look, goal, now)
        if isinstance(look, InferenceEndpointError):
            raise look
        verdict = judge(look, goal, now, self._draw)
        if isinstance(verdict, Wake) and look.endpoint is not None:
            health = await self._checks.ask(await self._current_client(), look.endpoint)
            return judge_wake(verdict, look.endpoint, health)
        return verdict

    async def _look(self, name: str, goal: Goal, pause: float) -> Look:
        """The next look, `pause` seconds from now or a little earlier with others."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        first = pause == 0
        ticket = _Ticket(
            name,
            goal,
            earliest=now if first else now + pause * (1 - _EARLY),
            due=now + (_GATHER if first else pause),
            answer=loop.create_future(),
        )
        self._tickets.add(ticket)
        self._changed.set()
        if self._task is None or self._task.done():
            # In a separate context: its log lines do not belong to the task that asked first.
            self._task = loop.create_task(self._run(), context=contextvars.Context())
        longest = None
        if goal.deadline is not None:
            longest = max(0.0, (goal.deadline - datetime.now(UTC)).total_seconds()) + _GRACE
        try:
            async with asyncio.timeout(longest):
                return await ticket.answer
        except TimeoutError:
            return RequestTimeoutError("the shared poll returned no result before the deadline")
        finally:
            self._tickets.discard(ticket)

    async def _run(self) -> None:
        """Serve until no task has waited for a while. An error goes to the waiting tasks, and the poll continues."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._changed.clear()
                next_due = min((ticket.due for ticket in self._tickets), default=loop.time() + _LINGER)
                due = max(next_due, self._not_before)
                try:
                    async with asyncio.timeout_at(due):
                        await self._changed.wait()
                    continue  # somebody came: when the next look is due has to be seen again
                except TimeoutError:
                    pass
                if not self._tickets:
                    if self._aside or self._checks.under_way:
                        continue  # somebody still waits for a health route
                    await self._close()
                    if self._tickets:  # somebody came while the client was being closed
                        continue
                    return
                batch = [ticket for ticket in self._tickets if ticket.earliest <= loop.time()]
                self._tickets.difference_update(batch)
                await self._serve(batch)
        finally:
            await self._checks.cancel()
            await self._close()

    async def _serve(self, batch: list[_Ticket]) -> None:
        """Answer all tickets in `batch` with a look, or with the error of the look.

        Tickets that need the health of an endpoint are answered later, so that a slow health route delays no others.
        """
        self._jitter = random.uniform(0.5, 1.0)
        try:
            found = await self._survey({ticket.name for ticket in batch})
            by_name: dict[str, list[_Ticket]] = {}
            for ticket in batch:
                by_name.setdefault(ticket.name, []).append(ticket)
            for count, (name, tickets) in enumerate(by_name.items(), 1):
                self._finish(tickets, found[name])
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
            self._pace.answered()
            self._rest(0.0)
        except InferenceEndpointError as error:
            told = error.retry_after if isinstance(error, ApiError) else None
            if isinstance(error, RateLimitError):
                self._pace.refused()
                told = _RATE_PAUSE if told is None else told
            self._rest(min(told or 0.0, _LONGEST_TOLD))
            _answer(batch, error)
        except Exception as error:
            log.exception(_BROKE, self._namespace)
            _answer(batch, _ridden_out(error))

    def _rest(self, told: float) -> None:
        """Send nothing for the service's Retry-After and, added to it, the pause for the requests of the last round."""
        learnt = self._pace.pause(self.memory.asked) * self._jitter
        self._not_before = asyncio.get_running_loop().time() + told + learnt

    def _finish(self, tickets: list[_Ticket], found: Found) -> None:
        """Answer those who wait for one endpoint; later, with its health, where one of them needs that.

        A waiter that was cancelled in the meantime may have released the endpoint, which a health check would wake.
        """
        tickets = [ticket for ticket in tickets if not ticket.answer.done()]
        if isinstance(found, ApiError):
            _answer(tickets, found)
        elif found is not None and any(needs_health(found, ticket.goal) for ticket in tickets):
            self._beside(self._finish_with_health(tickets, found))
        else:
            _answer(tickets, EndpointSnapshot(found))

    async def _finish_with_health(self, tickets: list[_Ticket], found: InferenceEndpoint) -> None:
        try:
            health = await self._checks.ask(await self._current_client(), found)
        except InferenceEndpointError as error:
            _answer(tickets, error)
        except Exception as error:
            log.exception(_BROKE, self._namespace)
            _answer(tickets, _ridden_out(error))
        else:
            _answer(tickets, EndpointSnapshot(found, health))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` go on beside the poll."""
        task = asyncio.get_running_loop().create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _survey(self, names: set[str]) -> dict[str, Found]:
        client = await self._current_client()
        try:
            return await client.run(survey(client.session, self._namespace, names, self.memory))
        except AuthenticationError:
            log.info("The service does not accept the token. Reading the connection again.")
            await self._close()
            client = await self._current_client()
            return await client.run(survey(client.session, self._namespace, names, self.memory))

    async def _current_client(self) -> AsyncEndpointsClient:
        async with self._opening:  # the poll and the checks beside it may ask at the same moment
            now = asyncio.get_running_loop().time()
            if self._client is not None and now - self._client_since > _CLIENT_AGE:
                await self._close()
            if self._client is None:
                await asyncio.to_thread(prepare_for_loop)
                self._client, self._client_since = await self._open_client(), now
            return self._client

    async def _close(self) -> None:
        """Close the client, when no health check that began with it is under way any more."""
        self.memory.others.clear()
        client, self._client = self._client, None
        if client is None:
            return
        if checks := self._checks.under_way:
            self._beside(_close_after(client, checks))
        else:
            await client.close()


def _ridden_out(error: Exception) -> ServiceUnreachableError:
    """The waiting tasks must get an answer. The kind of `error` is unknown here, so it counts as an outage."""
    return ServiceUnreachableError(f"the poll failed with {type(error).__name__}: {error}")


async def _close_after(client: AsyncEndpointsClient, checks: set[asyncio.Task[Health]]) -> None:
    await asyncio.wait(checks)
    await client.close()


def _answer(tickets: Iterable[_Ticket], look: Look) -> None:
    for ticket in tickets:
        if not ticket.answer.done():
            ticket.answer.set_result(look)


_pollers: dict[tuple[asyncio.AbstractEventLoop, object, str | None], EndpointPoller] = {}


def poller_for(key: object, namespace: str | None, open_client: OpenClient) -> EndpointPoller:
    """The poller that everybody in this event loop shares for `key` (a connection) and `namespace`."""
    loop = asyncio.get_running_loop()
    for known in [each for each in _pollers if each[0].is_closed()]:
        del _pollers[known]
    place = (loop, key, namespace)
    if place not in _pollers:
        _pollers[place] = EndpointPoller(open_client, namespace)
    return _pollers[place]
