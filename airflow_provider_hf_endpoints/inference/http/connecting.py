"""Connections to a host with several addresses, some of which may not respond: staggered, as in RFC 8305.

If an address does not answer within 250 ms, the next one is tried beside it. The first connection is used. An address
that failed, or was slower, comes last for a minute. So a dead address delays only one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

ADDRESS_LIFETIME = 60.0  # seconds for which a host's addresses, and what is known of each, are remembered
STAGGER = 0.25  # seconds

_UNKNOWN = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}

#: As `getaddrinfo` gives them: family, type, protocol, and what `connect` takes.
Target = tuple[int, int, int, tuple[Any, ...]]


class Addresses:
    """The addresses of one host, looked up at most once a minute, for any number of connections."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: list[Target] = []
        self._found_until = 0.0
        self._doubtful: dict[Target, float] = {}  # until when
        self._asking: asyncio.Lock | None = None
        self._turn = itertools.count()

    async def connect(self) -> socket.socket:
        """A connected socket.

        :raises OSError: the host is unknown, or none of its addresses accepts a connection
        """
        try:
            return await self._race(self._in_order(await self._resolve()))
        except OSError:
            self._found_until = 0.0  # the host may have moved
            raise

    async def _resolve(self) -> list[Target]:
        self._asking = self._asking or asyncio.Lock()
        async with self._asking:
            if time.monotonic() >= self._found_until:
                found = await _look_up(self._host, self._port)
                self._found = alternating(dict.fromkeys((info[0], info[1], info[2], info[4]) for info in found))
                self._found_until = time.monotonic() + ADDRESS_LIFETIME
            return self._found

    def _in_order(self, found: Sequence[Target]) -> list[Target]:
        """The addresses in rotation, so that all of a host's addresses get connections; doubtful ones come last."""
        now = time.monotonic()
        first = next(self._turn) % len(found)
        turned = [*found[first:], *found[:first]]
        return sorted(turned, key=lambda target: self._doubtful.get(target, 0.0) > now)

    async def _race(self, targets: Sequence[Target]) -> socket.socket:
        if len(targets) == 1:
            return await _connected(targets[0])
        left = list(targets)
        running: dict[asyncio.Task[socket.socket], Target] = {}
        failures: list[OSError] = []
        try:
            while left or running:
                if left:
                    target = left.pop(0)
                    running[asyncio.create_task(_connected(target))] = target
                patience = STAGGER if left else None
                done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    target = running.pop(task)
                    error = task.exception()
                    if error is None:
                        self._doubt(running.values())
                        return task.result()
                    if not isinstance(error, OSError):
                        raise error
                    failures.append(error)
                    self._doubt([target])
            raise _summed_up(failures)
        finally:
            for task in running:
                task.add_done_callback(_close)
                task.cancel()

    def _doubt(self, targets: Iterable[Target]) -> None:
        until = time.monotonic() + ADDRESS_LIFETIME
        for target in targets:
            self._doubtful[target] = until


def alternating(targets: Iterable[Target]) -> list[Target]:
    """The addresses, alternating between families, otherwise in the given order: if one family does not work, the next
    try uses the other."""
    found = list(targets)
    of_first = [target for target in found if target[0] == found[0][0]]
    of_others = [target for target in found if target[0] != found[0][0]]
    pairs = itertools.zip_longest(of_first, of_others)
    return [target for pair in pairs for target in pair if target is not None]


async def _look_up(host: str, port: int) -> list[Any]:
    """A host's addresses, looked up in a separate thread.

    A resolver may take minutes and cannot be interrupted, and the event loop would wait for its own threads at its end.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def tell(answer: list[Any] | None, error: Exception | None) -> None:
        if found.done():
            return  # no caller waits any more
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(answer or [])

    def ask() -> None:
        answer, trouble = None, None
        try:
            answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            trouble = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, answer, trouble)

    threading.Thread(target=ask, name=f"addresses of {host}", daemon=True).start()
    return await found


async def _connected(target: Target) -> socket.socket:
    family, kind, protocol, address = target
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def is_unknown_host(error: BaseException | None) -> bool:
    """Whether an exception, or the one behind it, says that no name server knows the host.

    A name server that does not answer says nothing about the name.
    """
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno in _UNKNOWN
        error = error.__cause__ or error.__context__
    return False


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close a connection that was slower than another."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _summed_up(failures: Sequence[OSError]) -> OSError:
    words = dict.fromkeys(str(error) or type(error).__name__ for error in failures)
    return OSError("; ".join(words))
