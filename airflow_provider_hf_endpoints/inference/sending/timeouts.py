"""How long to wait for an answer: never longer than the job says, and no longer than the answers so far suggest.

A request that is never answered holds its place in flight until its timeout. Once enough answers have come, the first
try of a row waits several times the slowest of them; later tries wait longer, so that a row that is really slow gets
its answer. Decisions only.
"""

from __future__ import annotations

ENOUGH_ANSWERS = 100
TIMES_SLOWEST = 4.0  # an engine that slows to a third meanwhile is waited for
SHORTEST = 5.0  # seconds
LONGER_EACH_TRY = 4.0
FORGETTING = 0.999  # of the slowest, with each answer


class AdaptiveTimeout:
    """Learns from answers how long to wait for the next.

    :param longest: seconds, never more than this
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._answers = 0
        self._slowest = 0.0
        #: Whether enough answers have come to say what is long.
        self.learnt = False

    def answered(self, seconds: float) -> None:
        """An answer took so many seconds."""
        self._answers += 1
        self.learnt = self._answers >= ENOUGH_ANSWERS
        self._slowest = max(seconds, self._slowest * FORGETTING)

    def seconds(self, failures: int) -> float:
        """Seconds to wait for a row that has failed so many times."""
        if not self.learnt:
            return self._longest
        first = max(SHORTEST, TIMES_SLOWEST * self._slowest)
        return float(min(self._longest, first * LONGER_EACH_TRY**failures))
