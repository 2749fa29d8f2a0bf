"""Simulated time for a whole batch: an event loop that jumps to its next timer when nothing runs.

While a thread works for the loop, time stands still, so that reading and writing cost no simulated second. Code that
calls `time.monotonic` or `time.time` gets the simulated time too.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

from airflow_provider_hf_endpoints.inference.inputs.source import LineSource

_Result = TypeVar("_Result")
_NAP = 0.02  # real seconds for which a working thread is waited for at once
_REAL = time.monotonic


class _Selector(selectors.DefaultSelector):
    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if self.loop.working:
            return super().select(_NAP if timeout is None else min(timeout, _NAP))
        if timeout is None:
            return super().select(_NAP)
        self.loop.now += timeout
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The event loop; `now` is the simulated time in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.working = 0  # threads that work for the loop
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_default_executor(ThreadPoolExecutor(4))

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Sleep, for who holds up the loop or a thread of it."""
        self.now += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        self.working += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: Any) -> None:
        self.working -= 1


@contextmanager
def _simulated_time(loop: SimulatedLoop) -> Iterator[None]:
    began = time.time() - loop.now

    def wall() -> float:
        return began + loop.now

    with (
        mock.patch.object(time, "monotonic", loop.time),
        mock.patch.object(time, "time", wall),
        mock.patch.object(time, "sleep", loop.pass_by),
        mock.patch.object(LineSource, "_pause", lambda _, seconds: loop.pass_by(seconds)),
    ):
        yield


def run(main: Callable[[SimulatedLoop], Coroutine[Any, Any, _Result]], *, real_bound: float) -> tuple[_Result, float]:
    """What `main` returns, and the simulated seconds that it took.

    :param real_bound: real seconds after which it counts as hung
    :raises TimeoutError: it hangs
    """
    loop = SimulatedLoop()
    ends = _REAL() + real_bound
    hung = False

    def watch() -> None:
        nonlocal hung
        if _REAL() > ends:
            hung = True
            for task in asyncio.all_tasks(loop):
                task.cancel("hung")
        loop.call_later(5.0, watch)

    asyncio.set_event_loop(loop)
    try:
        with _simulated_time(loop):
            began = loop.now
            loop.call_later(5.0, watch)
            result = loop.run_until_complete(main(loop))
            return result, loop.now - began
    except asyncio.CancelledError as error:
        if not hung:
            raise
        raise TimeoutError(f"the batch hangs: not over after {real_bound} real seconds") from error
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
