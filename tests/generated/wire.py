"""The way to the emulator without a socket: httpx's transports hand requests to it in this process, in virtual time.

Here the network and the service misbehave, as the case says: slow answers, lost ones, 429 and 5xx, reads that lag.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.generated.hub import Hub
from tests.generated.loop import run_in_virtual_time

URL = "http://127.0.0.1:9"  # nobody listens there: what misses this way fails at once
CONTROL = re.compile(r"^/v2/endpoint/([^/?]+)(?:/([^/?]+))?(/[^?]*)?$")
LATENCY = 0.2  # seconds, half on the way there and half back

# Who acts: an attempt of a task, or the trigger that waits for it.
ACTOR: ContextVar[Any] = ContextVar("actor", default=None)

Ill = Literal["429", "500", "503", "lost", "unsent", "404"]


@dataclass(frozen=True)
class Trouble:
    """Something that the service does for a while.

    :param what: an error status, `lost` (the request is done, its answer lost), `unsent` (it never arrives), or `404`.
    :param after, seconds: when it begins, and for how long.
    :param hits: how many requests it hits at most.
    :param only: the kind of request that it hits: `read`, `change`, or both.
    """

    what: Ill
    after: float
    seconds: float
    hits: int = 1
    only: Literal["read", "change", "any"] = "any"


@dataclass(frozen=True)
class Change:
    """A request that changed an endpoint, as it arrived."""

    at: float
    who: Any  # see `ACTOR`
    action: str  # create, update, delete, pause, resume, scale-to-zero
    name: str
    status: int
    answered: bool
    state: str | None  # of the endpoint, just before


@dataclass
class Wire:
    """One case's way to its emulator."""

    hub: Hub
    emulator: Emulator
    troubles: tuple[Trouble, ...] = ()
    lag: float = 0.0  # seconds by which reads of an endpoint are behind what was done to it
    began: float = 0.0
    changes: list[Change] = field(default_factory=list)
    on_change: Callable[[str], None] = lambda name: None
    requests: int = 0
    _hits: dict[int, int] = field(default_factory=dict)
    _stale: dict[str, tuple[float, Any]] = field(default_factory=dict)

    def sync(self, request: httpx.Request) -> httpx.Response:
        """As an HTTP transport does it, for whichever process asks."""
        plan = self._plan(request)
        self.hub.sleep(LATENCY / 2)
        answer = self._to_the_end(self._answer(request, plan), request)
        self.hub.sleep(LATENCY / 2)
        return self._deliver(answer, plan, request)

    async def asynchronous(self, request: httpx.Request, sleep: Callable[[float], Awaitable[None]]) -> httpx.Response:
        """The same in an event loop."""
        plan = self._plan(request)
        await sleep(LATENCY / 2)
        answer = await self._answer(request, plan)
        await sleep(LATENCY / 2)
        return self._deliver(answer, plan, request)

    # ------------------------------------------------------------------------------------------- inside

    def _to_the_end(self, work: Coroutine[Any, Any, httpx.Response], request: httpx.Request) -> httpx.Response:
        """What the emulator answers. Its control plane waits for nothing, so that no loop is needed there."""
        if not request.url.path.startswith(("/v2/", "/v3/", "/api/")):
            return run_in_virtual_time(self.hub, work)
        try:
            work.send(None)
        except StopIteration as end:
            answer: httpx.Response = end.value
            return answer
        work.close()
        raise NotImplementedError(f"{request.url.path}: the emulator waits for what only an event loop brings")

    def _plan(self, request: httpx.Request) -> str | None:
        """What goes wrong with this request."""
        self.requests += 1
        changes = request.method in ("POST", "PUT", "DELETE") and "/metrics/" not in request.url.path
        for number, trouble in enumerate(self.troubles):
            begins = self.began + trouble.after
            if not begins <= self.hub.clock.now < begins + trouble.seconds:
                continue
            if trouble.only != "any" and (trouble.only == "change") is not changes:
                continue
            if trouble.what == "404" and not (request.method == "GET" and CONTROL.match(request.url.path)):
                continue
            if self._hits.get(number, 0) < trouble.hits:
                self._hits[number] = self._hits.get(number, 0) + 1
                return trouble.what
        return None

    async def _answer(self, request: httpx.Request, plan: str | None) -> httpx.Response:
        if plan == "unsent":
            return httpx.Response(599)
        if plan is not None and plan != "lost":
            return httpx.Response(int(plan), json={"error": "simulated trouble", "code": "TROUBLE"})
        found = CONTROL.match(request.url.path)
        name = found[2] if found else None
        if found and request.method == "POST" and name is None:
            name = json.loads(request.content or b"{}").get("name")
        changing = name is not None and request.method in ("POST", "PUT", "DELETE")
        changing = changing and not ((found and found[3]) or "").startswith(("/metrics", "/debug"))
        before = self._look(str(name)) if changing else None
        answer = await _through(self.emulator, request)
        if changing and found:
            action = {"PUT": "update", "DELETE": "delete"}.get(request.method, (found[3] or "/create")[1:])
            state = None if before is None else before["status"]["state"]
            answered = plan is None
            self.changes.append(
                Change(self.hub.clock.now, ACTOR.get(), action, str(name), answer.status_code, answered, state)
            )
            if self.lag and answer.status_code < 300:
                self._stale[str(name)] = (self.hub.clock.now + self.lag, before)
            self.on_change(str(name))
        elif self.lag and found and request.method == "GET" and not found[3]:
            answer = self._as_before(answer, name)
        return answer

    def _as_before(self, answer: httpx.Response, name: str | None) -> httpx.Response:
        """A read that lags: the endpoint as it was before what was done to it a moment ago."""
        now = self.hub.clock.now
        stale = {each: body for each, (until, body) in self._stale.items() if now < until}
        if name is not None:
            if name not in stale:
                return answer
            body = stale[name]
            missing = {"error": f"Endpoint '{name}' not found", "code": "NOT_FOUND"}
            return httpx.Response(404, json=missing) if body is None else httpx.Response(200, json=body)
        if not stale or answer.status_code != 200:
            return answer
        answer.read()
        page = answer.json()
        kept = [each for each in page["items"] if each["name"] not in stale]
        page["items"] = kept + [body for body in stale.values() if body is not None]
        return httpx.Response(200, json=page)

    def _look(self, name: str) -> Any:
        try:
            return self.emulator.endpoint(name)
        except KeyError:
            return None

    def _deliver(self, answer: httpx.Response, plan: str | None, request: httpx.Request) -> httpx.Response:
        if plan == "unsent":
            raise httpx.ConnectError("simulated: nobody listens", request=request)
        if plan == "lost":
            raise httpx.ReadError("simulated: the answer is lost", request=request)
        answer.request = request
        return answer


async def _through(emulator: Emulator, request: httpx.Request) -> httpx.Response:
    """The request through the emulator's ASGI application."""
    status, headers, chunks = 0, [], []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], message.get("headers", [])
        else:
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(key.lower(), value) for key, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 9),
    }
    await emulator._app(scope, receive, send)
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(b"".join(chunks)))


@contextmanager
def all_requests_through(wire: Wire) -> Iterator[None]:
    """While this lasts, whatever httpx sends goes to the case's emulator."""

    def handle(_: Any, request: httpx.Request) -> httpx.Response:
        request.read()
        return wire.sync(request)

    async def handle_async(_: Any, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await wire.asynchronous(request, asyncio.sleep)

    before = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request
    httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign,assignment]
    httpx.AsyncHTTPTransport.handle_async_request = handle_async  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request = before  # type: ignore[method-assign]
