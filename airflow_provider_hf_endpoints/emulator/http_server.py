"""The HTTP server of an emulator: uvicorn's, with a fast end.

uvicorn checks ten times a second whether to end, and then waits a tenth of a second for its connections: 0.2 s at
the end of each of a thousand tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import uvicorn

_LOOK_EVERY = 0.1  # seconds, as in uvicorn: the header `Date` is updated at this interval
_ROUNDS = 3  # of the loop, until a closed connection has reported its end


class HttpServer(uvicorn.Server):
    """One server, for one event loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def end(self) -> None:
        """Let `serve` return. May be called from another thread, and after `serve` has returned."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Until `end`."""
        self._loop = asyncio.get_running_loop()
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """At once if no request is being answered. Otherwise as in uvicorn, which waits for the answers."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for each in sockets or []:
            each.close()
        for server in self.servers:
            await server.wait_closed()
