"""Whose code holds an event loop: every callback is timed, and told apart into this provider's, Python's garbage
collector, and everything else, which in a triggerer is Airflow.

Times are of the thread's own CPU, so that the turns of other processes on a busy machine do not count.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

_PACKAGE = f"{Path('/')}airflow_provider_hf_endpoints{Path('/')}"

# Tasks that run a trigger of this provider: Airflow's own part of their steps cannot be told apart from it.
own_tasks: WeakSet[asyncio.Task[Any]] = WeakSet()


class Holds:
    """The longest of each since they were last taken, in seconds; the collector's time is in neither of the others."""

    def __init__(self) -> None:
        self.own = self.other = self.collector = 0.0
        self._collecting = 0.0
        self._began = 0.0

    def take(self) -> dict[str, float]:
        """The longest so far, as a line's fields; begins again."""
        taken = {"own": self.own, "other": self.other, "collector": self.collector}
        self.own = self.other = self.collector = 0.0
        return taken

    def watch(self) -> None:
        """Time every callback of this process's event loops from now on."""
        run: Callable[[asyncio.Handle], None] = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            task = _task_of(handle)
            own = task is not None and _is_own(task)
            self._collecting, began = 0.0, time.thread_time()
            run(handle)
            spent = time.thread_time() - began - self._collecting
            if own or (task is not None and _is_own(task)):
                self.own = max(self.own, spent)
            else:
                self.other = max(self.other, spent)

        asyncio.Handle._run = timed  # type: ignore[method-assign]
        gc.callbacks.append(self._collected)

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
            return
        spent = time.thread_time() - self._began
        self._collecting += spent
        self.collector = max(self.collector, spent)


def _task_of(handle: asyncio.Handle) -> asyncio.Task[Any] | None:
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return owner if isinstance(owner, asyncio.Task) else None


def _is_own(task: asyncio.Task[Any]) -> bool:
    """Whether the provider's code is among what the task awaits."""
    if task in own_tasks:
        return True
    at: Any = task.get_coro()
    while at is not None:
        code = getattr(at, "cr_code", None) or getattr(at, "gi_code", None)
        if code is not None and _PACKAGE in code.co_filename:
            return True
        at = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None)
    return False


def sample_stacks(path: Path, thread: int, late: float = 0.03) -> None:
    """Append the stack of `thread` to a file whenever a callback of its loop has run for more than `late` seconds."""
    current = [0.0]
    run = asyncio.Handle._run

    def noted(handle: asyncio.Handle) -> None:
        current[0] = time.monotonic()
        run(handle)
        current[0] = 0.0

    asyncio.Handle._run = noted  # type: ignore[method-assign]

    def look() -> None:
        while True:
            time.sleep(late / 3)
            began = current[0]
            if began and time.monotonic() - began > late:
                stack = "".join(traceback.format_stack(sys._current_frames()[thread])[-12:])
                with path.open("a") as file:
                    file.write(f"--- {time.monotonic() - began:.3f} s\n{stack}\n")

    threading.Thread(target=look, daemon=True).start()
