"""The emulator's meter over time: looked at a few times a second, so that a span of time can be read from it."""

from __future__ import annotations

import bisect
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Self

from airflow_provider_hf_endpoints.emulator import Emulator

EVERY = 0.1  # seconds


class Meters:
    """What the endpoints of these names (each in the namespace of its name) had cost at any moment, in a `with`."""

    def __init__(self, emulator: Emulator, names: list[str]) -> None:
        self._emulator = emulator
        self._names = names
        self._seen: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def billed(self, name: str, start: float, stop: float) -> tuple[float, float]:
        """Replica-seconds and dollars between two moments (seconds since 1970)."""
        before, after = self._at(name, start), self._at(name, stop)
        return after[0] - before[0], after[1] - before[1]

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            for name in self._names:
                try:
                    meter = self._emulator.meter(name, name)
                except KeyError:  # not created yet
                    continue
                self._seen[name].append((time.time(), meter["billed_seconds"], meter["usd"]))

    def _at(self, name: str, moment: float) -> tuple[float, float]:
        """Read between two looks: the meter runs evenly."""
        seen = self._seen[name]
        place = bisect.bisect(seen, (moment,))
        if place == 0:
            return (0.0, 0.0) if not seen else self._first(seen, moment)
        if place == len(seen):
            return seen[-1][1:]
        (t0, s0, u0), (t1, s1, u1) = seen[place - 1], seen[place]
        share = (moment - t0) / (t1 - t0)
        return s0 + share * (s1 - s0), u0 + share * (u1 - u0)

    @staticmethod
    def _first(seen: list[tuple[float, float, float]], moment: float) -> tuple[float, float]:
        """Before the first look: what it shows had been billed in the little time since the endpoint was there."""
        return (0.0, 0.0) if seen[0][1] < 2 * EVERY or moment < seen[0][0] - EVERY else seen[0][1:]
