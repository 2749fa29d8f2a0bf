"""Time that moves only on request: `time` and `datetime` while a simulated world runs.

Nothing really waits. `datetime.now` is a method of a C type: it is replaced in the type's dictionary, and restored.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any

START = 1_780_000_000.0  # seconds since the epoch at which every world begins


class VirtualClock:
    """Seconds since the epoch, put forward by whoever drives the world."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def time(self) -> float:
        """As `time.time`, and as `time.monotonic`."""
        return self.now


@contextmanager
def in_time_of(clock: VirtualClock, sleep: Callable[[float], None]) -> Iterator[None]:
    """While this lasts, all code of the process lives in the time of `clock` and sleeps by `sleep`."""

    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        return cls.fromtimestamp(clock.now, tz)

    def utcnow(cls: type[datetime]) -> datetime:
        return cls.utcfromtimestamp(clock.now)

    real = {name: getattr(time, name) for name in ("time", "monotonic", "sleep")}
    methods = _methods_of(datetime)
    before = {name: methods[name] for name in ("now", "utcnow")}
    time.time, time.monotonic, time.sleep = clock.time, clock.time, sleep  # type: ignore[assignment]
    try:
        _replace(methods, {"now": classmethod(now), "utcnow": classmethod(utcnow)})
        yield
    finally:
        _replace(methods, before)
        for name, function in real.items():
            setattr(time, name, function)


def _methods_of(kind: type) -> dict[str, Any]:
    """The dictionary itself, which `__dict__` only shows."""
    (found,) = (each for each in gc.get_referents(kind.__dict__) if isinstance(each, dict))
    return found


def _replace(methods: dict[str, Any], changes: dict[str, Any]) -> None:
    methods.update(changes)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))
