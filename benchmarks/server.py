"""An HTTP server that is faster than any client here: a chat engine that answers at once, or after a fixed time.

`python benchmarks/server.py [--delay SECONDS] [--tls CERT KEY]` prints its port. `GET /stats` tells requests,
requests in flight now, at most and for most of the time, and connections; `POST /reset` sets them to
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from typing import cast

TEXT = "The answer follows from adding what is given, step by step, until nothing is left to add. " * 5
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "org/model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 250, "completion_tokens": 100, "total_tokens": 350},
    }
).encode()
MODELS = json.dumps({"object": "list", "data": [{"id": "org/model", "object": "model"}]}).encode()


class Stats:
    """What the server has seen."""

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.most = 0
        self.connections = 0
        self._seconds: dict[int, float] = {}  # spent at each number in flight
        self._since = time.monotonic()

    def began(self) -> None:
        """A request has come."""
        self.requests += 1
        self._change(1)
        self.most = max(self.most, self.in_flight)

    def done(self) -> None:
        """A request was answered."""
        self._change(-1)

    def _change(self, by: int) -> None:
        now = time.monotonic()
        self._seconds[self.in_flight] = self._seconds.get(self.in_flight, 0.0) + now - self._since
        self._since = now
        self.in_flight += by

    def told(self) -> dict[str, int]:
        """The counts."""
        busy = {level: seconds for level, seconds in self._seconds.items() if level}
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "most": self.most,
            "usual": max(busy, key=lambda level: busy[level], default=0),
            "connections": self.connections,
        }

    def reset(self) -> None:
        """Begin again."""
        self.requests = self.most = self.connections = 0
        self._seconds.clear()


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer with its head."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


class Engine(asyncio.Protocol):
    """One connection."""

    def __init__(self, stats: Stats, delay: float) -> None:
        self._stats = stats
        self._delay = delay
        self._buffer = b""
        self._last = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._stats.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer = b""
        self._answer(head)

    def _answer(self, head: bytes) -> None:
        stats = self._stats
        if head.startswith(b"get /stats"):
            self._write(whole(json.dumps(stats.told()).encode()))
        elif head.startswith(b"post /reset"):
            stats.reset()
            self._write(whole(b"{}"))
        elif head.startswith(b"get /v1/models"):
            self._write(whole(MODELS))
        elif head.startswith(b"get"):
            self._write(whole(b'{"detail":"Not Found"}', b"404 Not Found"))
        else:
            stats.began()
            self._last = b"connection: close" in head
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._done)
            else:
                self._done()

    def _done(self) -> None:
        self._stats.done()
        self._write(WHOLE)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            if self._last:
                self._transport.close()


WHOLE = whole(ANSWER)


async def main() -> None:
    """Listen until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    stats = Stats()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Engine(stats, options.delay), "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
