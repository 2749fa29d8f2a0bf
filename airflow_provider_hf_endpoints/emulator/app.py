"""The whole emulator as one ASGI application. It records every request, applies faults, and passes the request to the
control plane, the proxy, or the emulator's own routes. Every answer has a header that names the emulator.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_hf_endpoints.emulator.control.admin import Admin
from airflow_provider_hf_endpoints.emulator.control.page import is_page
from airflow_provider_hf_endpoints.emulator.control.routes import ControlPlane
from airflow_provider_hf_endpoints.emulator.engines.base import Engine
from airflow_provider_hf_endpoints.emulator.errors import error_body
from airflow_provider_hf_endpoints.emulator.faults import Fault, FaultBook
from airflow_provider_hf_endpoints.emulator.http import dump_json, json_response
from airflow_provider_hf_endpoints.emulator.proxy import PREFIX, Proxy
from airflow_provider_hf_endpoints.emulator.recorded import RecordedRequest
from airflow_provider_hf_endpoints.emulator.service.service import Service

NAME = "huggingface-inference-endpoints-emulator"
_MARKS = [(b"server", NAME.encode()), (b"x-emulator", b"true")]


class _Dropped(Exception):
    """The connection must be closed. Stops whatever would still answer."""


class EmulatorApp:
    """The ASGI application that the server runs."""

    def __init__(self, service: Service, engine: Engine, faults: FaultBook, kept: int) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=kept)
        self._service = service
        self._faults = faults
        self._proxy = Proxy(service, engine)
        admin = Admin(service, faults, self.requests)
        self._rest = _starlette(ControlPlane(service), admin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path, started = str(scope["method"]), str(scope["path"]), self._service.now()
        admin = path.startswith("/_emulator") or is_page(path)
        fault = None if admin else self._faults.draw(method, path)

        def record(status: int) -> None:
            if not admin:
                query = scope.get("query_string", b"").decode("latin-1")
                sent = f"{path}?{query}" if query else path
                seconds = self._service.now() - started
                self.requests.append(RecordedRequest(started, method, sent, status, seconds, fault is not None))

        marked = _Marked(send, record, cut=fault is not None and fault.kind == "cut")
        try:
            if fault is None:
                await self._route(path)(scope, receive, marked)
            else:
                await self._fail(fault, scope, receive, marked)
        except _Dropped:
            marked.finish()
            _abort(send)
        finally:
            marked.finish()

    def _route(self, path: str) -> ASGIApp:
        return self._proxy if path.startswith(PREFIX) else self._rest

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, marked: _Marked) -> None:
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault.after:
            await self._route(scope["path"])(scope, receive, _swallow)
        if fault.kind == "drop":
            raise _Dropped
        if fault.kind == "not_json":
            await _answer(marked, 200, b"<html><body>Something is in the way</body></html>", "text/html", {})
        elif fault.status is not None:
            headers = dict(fault.headers)
            if fault.retry_after is not None:
                headers["Retry-After"] = str(fault.retry_after)
            text = isinstance(fault.body, str)
            body = fault.body if fault.body is not None else error_body(fault.status, "injected fault")
            data = str(body).encode() if text else dump_json(body)
            await _answer(marked, fault.status, data, "text/plain" if text else "application/json", headers)
        else:
            await self._route(scope["path"])(scope, receive, _late(marked, fault.late_seconds))


class _Marked:
    """A `send` that adds the emulator's headers, reports the answer, and can stop in the middle of the body.

    The report comes before the last byte, so that a client that has the answer finds it among the requests.
    """

    def __init__(self, send: Send, report: Callable[[int], None], *, cut: bool) -> None:
        self._send = send
        self._report: Callable[[int], None] | None = report
        self._cut = cut
        self._status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            message = {**message, "headers": [*message.get("headers", []), *_MARKS]}
        elif self._cut and message.get("body"):
            body: bytes = message["body"]
            await self._send({**message, "body": body[: max(1, len(body) // 2)], "more_body": True})
            await asyncio.sleep(0.01)  # let it reach the client before the connection ends
            raise _Dropped
        elif not message.get("more_body", False):
            self.finish()
        await self._send(message)

    def finish(self) -> None:
        """Report the request, once."""
        report, self._report = self._report, None
        if report is not None:
            report(self._status)


def _late(send: Send, seconds: float) -> Send:
    """A `send` that delays the answer. The route has done its work by then."""

    async def held(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return held


async def _swallow(message: Message) -> None:
    """An answer that is thrown away."""


async def _answer(send: Send, status: int, body: bytes, content_type: str, headers: dict[str, str]) -> None:
    raw = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _abort(send: Send) -> None:
    """Close the connection at once. ASGI has no message for this; uvicorn's `send` belongs to the transport's owner."""
    cycle: Any = getattr(send, "__self__", None)
    if not hasattr(cycle, "transport"):
        raise RuntimeError("this server's connections cannot be dropped")
    cycle.disconnected = True  # otherwise uvicorn would report a missing answer
    cycle.transport.abort()


def _starlette(control: ControlPlane, admin: Admin) -> Starlette:
    async def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = {404: "no such route", 405: "this route has no such method"}
        return json_response(error_body(status, words.get(status, "refused")), status)

    app = Starlette(
        routes=[*control.routes(), *admin.routes()],
        exception_handlers={HTTPException: refused},
    )
    app.router.redirect_slashes = False
    return app
