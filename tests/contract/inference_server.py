"""A real HTTP server for the data plane's tests: answers as a function says, and counts what it was asked.

Small on purpose: every fault that a connection can have is one field of `Reply`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request as it came.

    :param body: parsed, if it is JSON
    :param number: how many came before it
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    number: int


@dataclass(frozen=True)
class Reply:
    """What to answer.

    :param raw: body as bytes instead of `json`
    :param delay: seconds before the answer begins
    :param cut: close the connection after so many bytes of the answer; 0 sends nothing
    :param hang: never answer, until the client goes away
    :param close: close the connection after the answer without having said so
    :param chunked: send the body in chunks
    """

    status: int = 200
    json: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    hang: bool = False
    close: bool = False
    chunked: bool = False

    def to_bytes(self) -> bytes:
        body = self.raw if self.raw is not None else json.dumps(self.json).encode()
        lines = [f"HTTP/1.1 {self.status} Whatever", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Answer = Callable[[Request], Reply]
Sleep = Callable[[float], Awaitable[None]]


def chat_reply(text: str, *, reason: str = "stop", tokens: int = 2, **options: Any) -> Reply:
    """A chat's answer, as vLLM gives it."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "org/model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens},
    }
    return Reply(json=answer, **options)


def echo(request: Request) -> Reply:
    """A vLLM that repeats the last message, reversed."""
    if request.path.endswith("/v1/models"):
        return Reply(json={"object": "list", "data": [{"id": "org/model"}]})
    if request.method == "GET":
        return Reply(404, {"detail": "Not Found"})
    return chat_reply(request.body["messages"][-1]["content"][::-1])


class Server:
    """What the server saw; `answer` may be changed while it runs."""

    def __init__(self, answer: Answer, sleep: Sleep) -> None:
        self.answer = answer
        self._sleep = sleep
        self.url = ""
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = 0
        self.gone = 0  # clients that went away before their answer

    @property
    def posts(self) -> list[Request]:
        """Requests that were work."""
        return [request for request in self.requests if request.method == "POST"]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        is_json = "json" in headers.get("content-type", "json")
        body = raw if raw and not is_json else json.loads(raw) if raw else None
        request = Request(method, path, headers, body, len(self.requests))
        self.requests.append(request)
        self.times.append(time.monotonic())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = self.answer(request)
            if reply.hang:
                await reader.read(1)
                self.gone += 1
                return False
            if reply.delay:
                await self._sleep(reply.delay)
        finally:
            self.in_flight -= 1
        data = reply.to_bytes()
        writer.write(data if reply.cut is None else data[: reply.cut])
        await writer.drain()
        return reply.cut is None and not reply.close


@contextmanager
def serving(answer: Answer = echo, tls: ssl.SSLContext | None = None, sleep: Sleep = asyncio.sleep) -> Iterator[Server]:
    """A server on a free port, in a separate thread; `sleep` is what its delays pass by."""
    server = Server(answer, sleep)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def main() -> None:
        listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls, backlog=2048)
        port = listener.sockets[0].getsockname()[1]
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        started.set()
        await ended.wait()
        listener.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
