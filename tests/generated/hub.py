"""Processes that take turns in virtual time: each a greenlet that gives its turn back where a real one would wait.

Deterministic: what is due first goes first, and of what is due at one moment what was asked for first.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]

from tests.generated.clock import VirtualClock


@dataclass(order=True)
class Due:
    """Something that is to happen at a moment; `cancelled`, it does not."""

    at: float
    turn: int
    act: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Hub:
    """Plays what is due, moment by moment. It lives in the greenlet that makes it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.closed = False
        self.moments = 0  # how many have been played
        self._queue: list[Due] = []
        self._turns = itertools.count()
        self._main = getcurrent()
        self._processes: list[Process] = []

    def after(self, seconds: float, act: Callable[[], None]) -> Due:
        """Have `act` called so many seconds from now, by the hub itself: it must not wait."""
        due = Due(self.clock.now + max(0.0, seconds), next(self._turns), act)
        heapq.heappush(self._queue, due)
        return due

    def spawn(self, run: Callable[[], None]) -> Process:
        """A process that begins at this moment."""
        process = Process(self, run)
        self._processes = [each for each in self._processes if not each.greenlet.dead]
        self._processes.append(process)
        self.after(0, process.wake)
        return process

    def play(self, until: float, most: int) -> bool:
        """Play until nothing is left (True), or until that moment, or so many moments."""
        while self._queue:
            if self._queue[0].at > until or self.moments >= most:
                return False
            due = heapq.heappop(self._queue)
            if not due.cancelled:
                self.clock.now = max(self.clock.now, due.at)
                self.moments += 1
                due.act()
        return True

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`, for whichever process calls it."""
        process = self.current()
        if process is not None:
            process.sleep(seconds)

    def current(self) -> Process | None:
        """The process whose turn it is; None in the hub's own greenlet."""
        here = getcurrent()
        return here.process if isinstance(here, _Turn) else None

    def close(self) -> None:
        """End every process where it stands; none gets another turn in which it could do anything."""
        self.closed = True
        for process in self._processes:
            if not process.greenlet.dead:
                process.greenlet.throw(GreenletExit)


class _Turn(greenlet):  # type: ignore[misc]
    process: Process


class Process:
    """One process: `run` in a greenlet of its own."""

    def __init__(self, hub: Hub, run: Callable[[], None]) -> None:
        self.hub = hub
        self.gone = False  # killed: it never gets another turn
        self.greenlet = _Turn(run, hub._main)
        self.greenlet.process = self
        self._signals: list[Callable[[], None]] = []

    @property
    def over(self) -> bool:
        """Whether it has ended, or will never go on."""
        return self.gone or self.greenlet.dead

    def wake(self) -> None:
        """Give it a turn."""
        if not self.over and not self.hub.closed:
            self.greenlet.switch()

    def wait(self, seconds: float | None) -> None:
        """Give the turn back for so long at most; a signal or `wake` ends that early."""
        if self.hub.closed:
            raise GreenletExit
        due = None if seconds is None else self.hub.after(seconds, self.wake)
        self.hub._main.switch()
        if due is not None:
            due.cancelled = True
        while self._signals:
            self._signals.pop(0)()

    def sleep(self, seconds: float) -> None:
        """Give the turn back for so long. Signals are handled meanwhile, and the sleep goes on, as Python's does."""
        until = self.hub.clock.now + max(0.0, seconds)
        while True:
            self.wait(until - self.hub.clock.now)
            if self.hub.clock.now >= until:
                return

    def signal(self, handler: Callable[[], None]) -> None:
        """Have `handler` called inside the process, where it waits; what it raises is raised there."""
        if not self.over:
            self._signals.append(handler)
            self.hub.after(0, self.wake)

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it runs any more, no `finally` either."""
        self.gone = True
