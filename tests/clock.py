"""A clock that a test controls: the emulator's, and the time and the sleep of this package's code in this process.

It moves only by the test, by a sleep of this package, or by a batch's check of its budget. So figures of
money and time are the same on a slow machine. Timers of event loops and of other libraries stay real.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Clock

# Imported by a task only when it is deferred or works: what is not there yet can't be given the clock.
from airflow_provider_hf_endpoints.inference import batch  # noqa: F401
from airflow_provider_hf_endpoints.inference.job import spending
from airflow_provider_hf_endpoints.inference.job.budget import Notice
from airflow_provider_hf_endpoints.triggers import endpoints  # noqa: F401

_OURS = "airflow_provider_hf_endpoints."
_NOT = (f"{_OURS}emulator.", f"{_OURS}inference.http.")  # has the clock itself; times what is really sent
_TIMES = time
_REST = 0.005  # seconds of the machine's time for whoever works between two ticks
_IN_FLIGHT = 0.1  # seconds of the clock: the longest time that a row takes here


def owned_clock(monkeypatch: pytest.MonkeyPatch, *, stopped: bool = True) -> Clock:
    """A clock by which the modules of the provider and of the tests go until the test ends.

    :param stopped: False for one that runs, and is put forward besides
    """
    clock = Clock(stopped=stopped)
    stand_in = _time_of(clock)
    today = _datetime_of(clock)
    for name, module in list(sys.modules.items()):
        if not name.startswith((_OURS, "tests.contract.")) or name.startswith(_NOT):
            continue
        if vars(module).get("time") is _TIMES:
            monkeypatch.setattr(module, "time", stand_in)
        if vars(module).get("datetime") is datetime:
            monkeypatch.setattr(module, "datetime", today)
    return clock


def ticking(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Let a batch's looks at its budget move the clock: a short tick each, and nothing between two of them."""
    ticks = _Ticks(clock)
    monkeypatch.setattr(spending, "TICK", 0.02)
    monkeypatch.setattr(spending, "asyncio", SimpleNamespace(sleep=ticks.tick, to_thread=asyncio.to_thread))
    monkeypatch.setattr(spending, "follow", ticks.follow)


class _Ticks:
    """What moves the clock of a batch: its looks; and once the budget is spent, the time of what is in flight."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._look_on = spending.follow
        self._rests: Iterator[float] | None = None  # once it is spent: the machine's seconds between two steps

    async def follow(self, *arguments: Any, end: Callable[[Notice], None], **options: Any) -> None:
        """`spending.follow`, which goes on ticking until the batch has ended."""
        self._rests = None

        def ended(notice: Notice) -> None:
            self._rests = chain([_REST], repeat(100 * _REST))
            end(notice)

        await self._look_on(*arguments, end=ended, **options)
        while True:
            await self.tick(spending.TICK)

    async def tick(self, seconds: float) -> None:
        """Instead of a sleep between two looks. A few long steps let end what a row in flight waits for."""
        rests = self._rests
        await asyncio.sleep(_REST if rests is None else next(rests))
        self._clock.advance(seconds if rests is None else _IN_FLIGHT)


def _time_of(clock: Clock) -> Any:
    """The module `time`, as much of it as is used, by `clock`."""
    began = clock()
    return SimpleNamespace(time=clock, monotonic=lambda: clock() - began, sleep=clock.advance)


def _datetime_of(clock: Clock) -> type[datetime]:
    """The class `datetime` with the now of `clock`; a real one is an instance of it, too."""

    class Kind(type(datetime)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Owned(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(clock(), tz)

    return Owned
