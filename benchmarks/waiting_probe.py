"""What the waiting benchmark sees from inside the process that waits: counters, and how long its event loop was held.

Imported by the triggerer (`waiting_triggers.py`) and by the in-process mode alike. Once a second it appends one JSON
line to the file that `WAITING_BENCHMARK_OUT` names.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.waiting_holds import Holds, own_tasks, sample_stacks

TICK = 0.01  # seconds between two signs of life of the event loop
OUT = "WAITING_BENCHMARK_OUT"
STACKS = "WAITING_BENCHMARK_STACKS"  # a file for the stacks of what holds the loop


@dataclass
class Seen:
    """Counters of this process; the held times are the worst since the line before."""

    pid: int = 0
    at: float = 0.0
    lookups: int = 0
    waiting: int = 0  # waits that have had their first look
    ended: int = 0
    deadlines: float = 0.0  # the sum of the waits' deadlines, seconds since the epoch
    held: float = 0.0  # seconds that the loop came late to a tick, by the wall clock
    own: float = 0.0  # seconds of CPU that one callback with this provider's code took (`waiting_holds.py`)
    other: float = 0.0  # the same of everybody else's: Airflow's
    collector: float = 0.0  # that one garbage collection took, of which the callbacks' times are free


seen = Seen()


def counting(on_look: Callable[[str], None] | None = None) -> Callable[[str], None]:
    """`on_look` that also counts the first look of a wait."""
    first = True

    def told(reason: str) -> None:
        nonlocal first
        seen.waiting += first
        first = False
        if on_look is not None:
            on_look(reason)

    return told


_watch: asyncio.Task[None] | None = None
_holds = Holds()


def watch() -> None:
    """Begin to watch this event loop, once."""
    global _watch
    if _watch is None or _watch.done():
        _watch = asyncio.get_running_loop().create_task(_tick(), context=contextvars.Context())
        _holds.watch()
        if os.environ.get(STACKS):
            sample_stacks(Path(os.environ[STACKS]), threading.get_ident())


def own() -> None:
    """The running task is one of this provider's triggers."""
    task = asyncio.current_task()
    if task is not None:
        own_tasks.add(task)


async def _tick() -> None:
    loop = asyncio.get_running_loop()
    written = loop.time()
    while True:
        wall = loop.time()
        await asyncio.sleep(TICK)
        seen.held = max(seen.held, loop.time() - wall - TICK)
        if loop.time() - written >= 1:
            written = loop.time()
            _write()


def _write() -> None:
    path = os.environ.get(OUT)
    if not path:
        return
    seen.pid, seen.at = os.getpid(), time.time()
    with Path(path).open("a") as file:
        file.write(json.dumps(asdict(seen) | _holds.take()) + "\n")
    seen.held = 0.0


def read(path: Path) -> list[dict[str, Any]]:
    """The lines so far, without one that is being written."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]
