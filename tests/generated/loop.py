"""Event loops in virtual time, of the triggerer and of tasks: asyncio's, that wait by giving their turn back."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.generated.hub import Hub, Process

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs inside a process of the hub. What asyncio would give to a thread is done at once."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: Process | None = None
        super().__init__(_Selector(self._give_turn))
        # Seconds since 1970 have no nanoseconds in a float: what is due now would never be reached.
        self._clock_resolution = 1e-3

    def time(self) -> float:
        """The hub's clock."""
        return self._hub.clock.now

    def do_soon(self, act: Callable[[], object]) -> None:
        """Have `act` called inside the loop, by somebody outside of it."""
        self.call_soon(act)
        if self._waiting is not None:
            self._hub.after(0, self._waiting.wake)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Do it here and now."""
        future = self.create_future()
        asyncio._set_running_loop(None)  # as in a thread, which may run a loop of its own, and sleep
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            future.set_exception(error)
        finally:
            asyncio._set_running_loop(self)
        return future

    def _give_turn(self, seconds: float | None) -> None:
        process = self._hub.current()
        assert process is not None
        self._waiting = process
        asyncio._set_running_loop(None)  # of this thread: others run while this one waits
        try:
            process.wait(seconds)
        finally:
            asyncio._set_running_loop(self)
            self._waiting = None


class _Selector(selectors.SelectSelector):
    """Nothing ever comes over a socket: to select is to wait."""

    def __init__(self, wait: Callable[[float | None], None]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait, unless something is ready in the loop itself."""
        if timeout is None or timeout > 0:
            self._wait(timeout)
        return []


def run_in_virtual_time(hub: Hub, main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, for whichever process calls it."""
    loop = VirtualLoop(hub)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
