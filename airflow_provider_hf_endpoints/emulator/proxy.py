"""The proxy in front of every endpoint: who may call, and the effect of a request on an endpoint that does not run.

An ASGI application below `/endpoints/{id}`. It passes accepted requests to the endpoint's engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from starlette.types import Receive, Scope, Send

from airflow_provider_hf_endpoints.emulator.control import account
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Engine, Reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.dialects import loading_reply
from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.service.record import SERVING, Endpoint, State
from airflow_provider_hf_endpoints.emulator.service.service import Service
from airflow_provider_hf_endpoints.emulator.service.state import next_change_at

PREFIX = "/endpoints/"
MAX_BODY = 64 * 1024 * 1024  # bytes
UNAVAILABLE = {"error": "503 Service Unavailable", "code": "SERVICE_UNAVAILABLE"}
PAUSED = "The endpoint is paused, ask a maintainer to restart it"
OLD_PAUSED = "Invalid state"
FAILED = "Your endpoint is in error, check its status on endpoints.huggingface.co"
AT_ZERO = "The endpoint is scaled to zero"  # no report has the real words
_HOLD_POLL = 0.05  # seconds between looks at an endpoint that a request waits for
_HICCUP_EVERY = 3  # during the update of a single replica, one of so many requests gets a 503


class _Once:
    """A function that does its work only once."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def __call__(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


class ClientGone(Exception):
    """The client has closed the connection."""


class Proxy:
    """The ASGI application, over the service and the engine that serves its endpoints."""

    def __init__(self, service: Service, engine: Engine) -> None:
        self._service = service
        self._engine = engine
        self._updating_requests: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        endpoint_id, _, rest = str(scope["path"]).removeprefix(PREFIX).partition("/")
        path = f"/{rest}"
        endpoint = self._service.by_id(endpoint_id)
        if endpoint is None or endpoint.gone_at is not None:
            await _send(send, json_reply({"error": "Not Found: no endpoint here", "code": "NOT_FOUND"}, 404))
            return
        try:
            self._admit(endpoint, headers)
            body = await _read(receive)
            endpoint = await self._ready(endpoint, headers)
        except ApiError as error:
            await self._refuse(endpoint, send, json_reply(error.body, error.status))
        except ClientGone:
            return
        else:
            if endpoint is None:
                await self._refuse(self._service.by_id(endpoint_id), send, json_reply(UNAVAILABLE, 503))
            else:
                chats = "toolkit_chats" in self._service.settings.quirks
                now = self._service.now()
                call = Call(endpoint, scope["method"], path, headers, body, now, toolkit_chats=chats)
                await self._forward(call, receive, send)

    def _admit(self, endpoint: Endpoint, headers: dict[str, str]) -> None:
        """Raises ApiError 401 or 403. Wakes nothing."""
        if endpoint.spec["type"] == "public":
            return
        settings = self._service.settings
        token = account.authenticate(settings, headers.get("authorization"))
        if not account.may(settings, token, "infer", endpoint.namespace):
            raise account.missing_infer()

    async def _ready(self, endpoint: Endpoint, headers: dict[str, str]) -> Endpoint | None:
        """The endpoint once it serves, after a wait as long as the request allows; None if it does not serve.

        Raises ApiError 400 if it is paused or failed. Wakes it if it is scaled to zero.
        """
        quirks = self._service.settings.quirks
        held_until = self._service.now() + _patience(headers.get("x-scale-up-timeout"))
        while True:
            if endpoint.state is State.PAUSED:
                raise ApiError(400, OLD_PAUSED if "paused_invalid_state" in quirks else PAUSED)
            if endpoint.state is State.FAILED:
                raise ApiError(400, FAILED)
            if endpoint.state in SERVING and endpoint.live:
                return None if self._hiccup(endpoint) else endpoint
            left = held_until - self._service.now()
            if endpoint.state is State.SCALED_TO_ZERO:
                endpoint = self._service.wake(endpoint)
                if left <= 0 and "zero_answers_400" in quirks:
                    raise ApiError(400, AT_ZERO)
                continue
            if left <= 0:
                return None
            change = next_change_at(endpoint)
            until_change = _HOLD_POLL if change is None else max(0.001, change - self._service.now())
            await asyncio.sleep(min(left, until_change, _HOLD_POLL))
            current = self._service.by_id(endpoint.id)
            if current is None:
                return None
            endpoint = current

    def _hiccup(self, endpoint: Endpoint) -> bool:
        if endpoint.state is not State.UPDATING or len(endpoint.live) > 1:
            self._updating_requests.pop(endpoint.id, None)
            return False
        seen = self._updating_requests.get(endpoint.id, 0) + 1
        self._updating_requests[endpoint.id] = seen
        return seen % _HICCUP_EVERY == 0

    async def _forward(self, call: Call, receive: Receive, send: Send) -> None:
        endpoint = call.endpoint
        if endpoint.answers_at is not None and call.now < endpoint.answers_at:
            await self._refuse(endpoint, send, loading_reply(call) or json_reply(UNAVAILABLE, 503))
            return
        self._service.request_begins(endpoint)
        end = _Once(lambda: self._service.request_ends(endpoint))
        try:
            await _while_connected(self._answer(call, send, end), receive)
        finally:
            end()

    async def _answer(self, call: Call, send: Send, end: Callable[[], None]) -> None:
        reply = await self._engine.respond(call)
        release = _Once(reply.on_end or (lambda: None))

        def over() -> None:
            release()
            self._count_tokens(call.endpoint, reply)
            end()

        try:
            self._count(call.endpoint, reply)
            # Before the last byte: a client that has the answer may rely on the end of the request.
            await _send(send, reply, head=call.method == "HEAD", before_last=over)
        finally:
            release()

    def _count(self, endpoint: Endpoint, reply: Reply) -> None:
        traffic = self._service.traffic(endpoint)
        traffic.requests += 1
        traffic.statuses[reply.status] += 1

    def _count_tokens(self, endpoint: Endpoint, reply: Reply) -> None:
        """At the end of the answer, because a stream's tokens are not known before."""
        traffic = self._service.traffic(endpoint)
        traffic.prompt_tokens += reply.prompt_tokens
        traffic.completion_tokens += reply.completion_tokens

    async def _refuse(self, endpoint: Endpoint | None, send: Send, reply: Reply) -> None:
        if endpoint is not None:
            self._count(endpoint, reply)
        await _send(send, reply)


def _patience(header: str | None) -> float:
    """Seconds for which the header `X-Scale-Up-Timeout` asks the proxy to keep the request."""
    try:
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), 3600.0) if seconds == seconds else 0.0


async def _read(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise ApiError(413, "the request body is too large")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _while_connected(answering: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run `answering` to its end, or until the client leaves. Then it is cancelled, and the engine stops working."""
    work = asyncio.ensure_future(answering)
    await asyncio.sleep(0)
    if work.done():
        return work.result()  # most answers take no time, so there is no need to watch the client
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        return None
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


async def _send(send: Send, reply: Reply, *, head: bool = False, before_last: Callable[[], None] | None = None) -> None:
    headers: list[tuple[bytes, bytes]] = [(b"content-type", reply.content_type.encode())]
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    streaming = reply.stream is not None or reply.chunks is not None
    if not streaming:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.stream is not None and not head:
        await _send_stream(send, reply.stream)
    elif reply.chunks is not None and not head:
        for chunk in reply.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if before_last is not None:
        before_last()
    body = b"" if streaming or head else reply.body
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_stream(send: Send, stream: Any) -> None:
    async with aclosing(stream):
        async for chunk in stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
