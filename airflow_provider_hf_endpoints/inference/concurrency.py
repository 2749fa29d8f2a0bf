"""How many requests are in flight: a number that the user gave, or one that is found while the batch runs.

The limit is what a replica can take times the ready replicas. It starts small, doubles while the window is
full and the throughput still grows, and is cut once per wave of refusals. Decisions only; the clock is an
argument.
"""

from __future__ import annotations

START_PER_REPLICA = 32
CEILING = 1000
GROWTH = 2.0
WORTHWHILE = 1.10  # a larger limit has to bring this much more throughput
CUT = 0.7
CREEP = 1.05
SHORTEST_WINDOW = 1.0  # seconds


class Limiter:
    """The limit, and what it learns from.

    :param fixed: the user's number, None to find one
    :param ceiling: never more than this
    :param replicas: ready replicas at the start
    """

    def __init__(self, fixed: int | None = None, *, ceiling: int = CEILING, replicas: int = 1) -> None:
        self._fixed = fixed
        #: The limit never goes above this.
        self.ceiling = fixed if fixed is not None else ceiling
        self._replicas = max(1, replicas)
        start = fixed if fixed is not None else START_PER_REPLICA * self._replicas
        self._limit = float(min(start, self.ceiling))
        self._growing = fixed is None
        self._reason = "fixed" if fixed is not None else "start"
        self._last_cut = float("-inf")
        self._window_start: float | None = None
        self._window_done = 0
        self._window_work = 0.0
        self._window_full = False
        self._best_rate = 0.0

    @property
    def limit(self) -> int:
        """Requests that may be in flight."""
        return max(1, int(self._limit))

    @property
    def reason(self) -> str:
        """Why the limit is what it is, in a word or two."""
        return self._reason

    def refused(self, now: float, sent_at: float) -> None:
        """A request was refused. Those sent before the last cut belong to the wave that it answered."""
        if sent_at <= self._last_cut:
            return
        self._last_cut = now
        self._limit = max(1.0, self._limit * CUT)
        self._growing = False
        self._reason = "refusals"
        self._reset(now)

    def answered(self, now: float, in_flight: int, work: float) -> None:
        """A request was answered.

        :param in_flight: requests out just before it was
        :param work: tokens that it brought, or 1 where the engine counts none
        """
        if self._window_start is None:
            self._reset(now)
        self._window_done += 1
        self._window_work += work
        self._window_full = self._window_full or in_flight >= self.limit
        if self._window_done >= self.limit and now - (self._window_start or now) >= SHORTEST_WINDOW:
            self._close_window(now)

    def replicas_changed(self, replicas: int) -> None:
        """The number of ready replicas is known anew; the limit follows it at once."""
        replicas = max(1, replicas)
        if self._fixed is None and replicas != self._replicas:
            self._limit = min(float(self.ceiling), self._limit * replicas / self._replicas)
            self._reason = f"{replicas} replicas"
            self._growing = True
            self._best_rate = 0.0
        self._replicas = replicas

    def _close_window(self, now: float) -> None:
        rate = self._window_work / max(now - (self._window_start or now), 1e-9)
        full = self._window_full
        self._reset(now)
        if not full or self._limit >= self.ceiling:
            self._best_rate = max(self._best_rate, rate)
            return
        if self._growing:
            if rate >= self._best_rate * WORTHWHILE:
                self._limit = min(float(self.ceiling), self._limit * GROWTH)
                self._reason = "throughput grows"
            else:
                self._growing = False
                self._reason = "throughput no longer grows"
        elif self._reason == "refusals" or self._fixed is not None:
            self._limit = min(float(self.ceiling), max(self._limit + 1.0, self._limit * CREEP))
        self._best_rate = max(self._best_rate, rate)

    def _reset(self, now: float) -> None:
        self._window_start = now
        self._window_done = 0
        self._window_work = 0.0
        self._window_full = False
