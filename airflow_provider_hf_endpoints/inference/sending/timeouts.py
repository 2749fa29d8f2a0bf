"""How long to wait for an answer: at most as long as the job says, and as long as the answers so far suggest.

A request without an answer stays in flight until its timeout. After enough answers, the first
try of a row waits several times the slowest latency. Later tries wait longer, so that a slow row gets
its answer. Decisions only.
"""

from __future__ import annotations

ENOUGH_ANSWERS = 100
TIMES_SLOWEST = 4.0  # so an engine that slows down to a third is still waited for
SHORTEST = 5.0  # seconds
LONGER_EACH_TRY = 4.0
FORGETTING = 0.999  # of the slowest, with each answer


class AdaptiveTimeout:
    """Learns from answers how long to wait.

    :param longest: seconds at most
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._answers = 0
        self._slowest = 0.0
        #: Whether there were enough answers to know the usual latency.
        self.learnt = False

    def answered(self, seconds: float) -> None:
        """Add the seconds of an answer."""
        self._answers += 1
        self.learnt = self._answers >= ENOUGH_ANSWERS
        self._slowest = max(seconds, self._slowest * FORGETTING)

    def seconds(self, failures: int) -> float:
        """Seconds to wait for a row that has failed so often."""
        if not self.learnt:
            return self._longest
        first = max(SHORTEST, TIMES_SLOWEST * self._slowest)
        return float(min(self._longest, first * LONGER_EACH_TRY**failures))
