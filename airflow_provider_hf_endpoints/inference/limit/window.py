"""The throughput of one setting of the limit, measured as exactly as the answers allow.

Throughput is the number of requests in flight divided by the time of an answer (Little's law). The answer times of one
window give it far more exactly than a count of completions. Rows differ in length, so each window fits a line, latency
over tokens, and reads the line at the same length each time. The line's value at zero tokens is the time without
generation, which is mostly waiting. Only answers to requests sent under the setting count.
"""

from __future__ import annotations

FEWEST_ANSWERS = 32
ANSWERS_BY_LIMIT = 1.25  # of the limit: then the slow answers are included
FEWEST_GROWING = 24  # the same two while a setting is doubled: its throughput must be far higher, and the
GROWING_BY_LIMIT = 0.5  # first minute ends at 256 slots, or at a queue three times as long as eight slots
SHORTEST = 1.0  # seconds
SPREAD = 0.01  # squared variation of the tokens, below which no line can be fitted
FULL = 0.9  # of the limit, on average: with fewer requests in flight a window says nothing about the limit


class Window:
    """Answers to the requests sent from one moment on.

    :param begins: when the setting was in effect
    """

    __slots__ = (
        "_first",
        "_flight",
        "_kk",
        "_kw",
        "_work",
        "answers",
        "begins",
        "cache",
        "loads",
        "seconds",
        "waiting",
    )

    def __init__(self, begins: float) -> None:
        self.begins = begins
        self.answers = 0
        self.seconds = 0.0
        self.loads = 0
        self.waiting = 0.0
        self.cache = 0.0
        self._first = 0.0
        self._flight = 0
        self._work = 0.0
        self._kk = 0.0
        self._kw = 0.0

    def add(self, now: float, latency: float, work: float, in_flight: int) -> None:
        """An answer."""
        if self.answers == 0:
            self._first = now
        self.answers += 1
        self.seconds += latency
        self._flight += in_flight
        self._work += work
        self._kk += work * work
        self._kw += work * latency

    def complete(self, now: float, limit: int, *, growing: bool) -> bool:
        """Whether the window has enough answers.

        :param growing: for the coarse question whether doubling pays
        """
        wanted = max(FEWEST_ANSWERS, ANSWERS_BY_LIMIT * limit)
        if growing:
            wanted = max(FEWEST_GROWING, GROWING_BY_LIMIT * limit)
        return self.answers >= wanted and now - self._first >= SHORTEST

    def full(self, limit: int) -> bool:
        """Whether the limit was what delayed the rows."""
        return self._flight >= FULL * limit * self.answers

    @property
    def work(self) -> float:
        """Tokens per row, on average."""
        return self._work / self.answers

    def rate(self, work: float) -> float:
        """Throughput for rows with so many tokens."""
        latency = self.seconds / self.answers + self._slope() * (work - self.work)
        return self._flight / self.answers * work / max(latency, 1e-9)

    def idle_share(self) -> float | None:
        """The share of an answer's time without generation; None if all rows have the same length."""
        if self._variance() <= SPREAD * self.work**2:
            return None
        return 1.0 - self._slope() * self._work / max(self.seconds, 1e-9)

    def _variance(self) -> float:
        return self._kk / self.answers - self.work**2

    def _slope(self) -> float:
        """Seconds per token; between none and all of the time."""
        variance = self._variance()
        if variance <= SPREAD * self.work**2:
            return 0.0
        slope = (self._kw / self.answers - self.work * self.seconds / self.answers) / variance
        return min(max(slope, 0.0), self.seconds / max(self._work, 1e-9))
