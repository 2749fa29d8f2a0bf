"""What refusals say about how many requests the endpoint takes, and what they do not.

A wave of refusals cuts the limit once, to what the endpoint has taken. But a replica that is being replaced refuses
requests even when few are in flight. A limit under which nothing was refused before is therefore left nearly as it is,
and is restored when a window passes without a refusal. If requests are refused under the restored limit too, the
refusals are believed. Decisions only; the clock is an argument.
"""

from __future__ import annotations

import math

CUT = 0.7  # of the limit is left by a cut, at least
OUTCOME = 0.02  # weight of the newest answer or refusal in the share of refusals
FEW = 0.03  # one now and then is a replica that comes or goes, and no reason for a cut
MARGIN = 0.9  # of the limit that was refused, up to which growth is free
FORGOTTEN = 1.02  # by how much that limit is believed to have risen, after each of:
FORGOTTEN_INTERVAL = 30.0  # seconds
STEADY = 3  # windows without a refusal, after which a limit is known to be taken
FILLED = 0.95  # of the limit is out while others are refused: that says nothing about how many are out
LONE = 2  # requests: the one that was refused, and one beside it
TRUSTED = 120.0  # seconds of refusals, after which a limit is trusted no more: a rolling update takes about 50
RAISED = 1.02  # so many times as much is another limit


class Refusals:
    """Learns from refusals and from windows without them.

    :param steady: the limit to begin with is taken to be one that the endpoint takes: a user's number
    """

    def __init__(self, *, steady: bool) -> None:
        self._share = 0.0
        self._last = -math.inf
        self._last_cut = -math.inf
        self._limit, self._at = math.inf, 0.0  # that was refused, and when
        self._steady = STEADY if steady else 0
        self._steady_limit = math.inf
        self._known: float | None = None  # steady before the cuts
        self._known_at = 0.0
        self._returned = False  # to that, and not yet steady there
        self._failed = False  # it was refused there
        self._before: tuple[float, float | None, int] | None = None  # the wave: limit, what was known, how steady

    def refused(self, now: float, sent_at: float, in_flight: int, limit: float) -> float | None:
        """The limit that follows from a refusal, None for no other. Those sent before the last cut belong to its wave.

        :param in_flight: requests still out
        """
        self._share += OUTCOME * (1.0 - self._share)
        self._last = now
        if self._share < FEW or sent_at < self._last_cut or (sent_at == self._last_cut == now):
            return None
        self._last_cut = now
        if self._before is None:
            self._before = limit, self._known, self._steady
        filled = in_flight >= FILLED * int(limit) - LONE
        if self._steady >= STEADY and limit <= RAISED * self._steady_limit:
            self._known, self._known_at, self._failed = limit, now, False
        elif self._returned:
            self._known, self._known_at, self._failed = limit * MARGIN, now, True
        elif self._failed and not filled:
            self._known = None
        self._steady, self._returned = 0, False
        self._limit, self._at = limit, now
        trusted = filled and not self._failed and now - self._known_at <= TRUSTED
        least = min(limit, MARGIN * self._known) if self._known is not None and trusted else 0.0
        # What is still out was taken, so the endpoint can take that much.
        return max(limit * CUT, min(float(in_flight), limit * MARGIN), least)

    def answered(self, sent_at: float) -> None:
        """A request was answered."""
        self._share -= OUTCOME * self._share
        if sent_at > self._last_cut:
            self._before = None  # it takes requests: the cuts did say how many

    def outage(self) -> float | None:
        """The endpoint takes nothing at all, which does not tell how much it can take. The limit before the cuts."""
        if self._before is None:
            return None
        limit, self._known, self._steady = self._before
        self._before, self._limit = None, math.inf
        return limit

    def window(self, begins: float, limit: float) -> float | None:
        """A window has passed under a limit: the limit to return to, if there is one."""
        if limit > RAISED * self._steady_limit:
            self._steady = 0
        self._steady_limit = limit
        if self._last >= begins:
            self._steady = max(self._steady - 1, 0)
            return None
        self._steady = min(self._steady + 1, 2 * STEADY)
        known, self._known = self._known, None
        if known is None or known <= limit:
            return None
        self._returned, self._limit = True, math.inf
        return known

    def replicas_changed(self) -> None:
        """What was learnt is of another fleet."""
        self._known, self._limit, self._steady = None, math.inf, 0

    def allowed(self, now: float) -> float:
        """The limit up to which growth is free: it was not refused lately."""
        return self._limit * MARGIN * forgotten(now - self._at)


def forgotten(seconds: float) -> float:
    """By which factor a limit may have risen that was found so many seconds ago."""
    return float(FORGOTTEN ** (seconds / FORGOTTEN_INTERVAL))
