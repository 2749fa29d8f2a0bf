"""What refusals say about the capacity of the endpoint, and what they do not.

A wave of refusals cuts the limit once, to the number of accepted requests. But a replica that is being replaced refuses
requests even if few are in flight. Therefore a limit that was not refused before is hardly cut, and is restored after a
window without a refusal. If requests are refused under the restored limit too, the
refusals are believed. Decisions only; the clock is an argument.
"""

from __future__ import annotations

import math

CUT = 0.7  # part of the limit that remains after a cut, at least
OUTCOME = 0.02  # weight of the newest answer or refusal in the share of refusals
FEW = 0.03  # rare refusals come from a replica that starts or stops, and are no reason for a cut
MARGIN = 0.9  # growth is free up to this part of the refused limit
FORGOTTEN = 1.02  # factor by which the refused limit is assumed to have risen after each:
FORGOTTEN_INTERVAL = 30.0  # seconds
STEADY = 3  # windows without a refusal, after which a limit is known to be accepted
FILLED = 0.95  # of the limit is in flight while others are refused: that says nothing about the number in flight
LONE = 2  # requests: the refused one, and one beside it
TRUSTED = 120.0  # seconds of refusals, after which a limit is no longer trusted: a rolling update takes about 50
RAISED = 1.02  # a limit raised by this factor is another limit


class Refusals:
    """Learns from refusals and from windows without them.

    :param steady: whether the first limit is known to be accepted: a number from the user
    """

    def __init__(self, *, steady: bool) -> None:
        self._share = 0.0
        self._last = -math.inf
        self._last_cut = -math.inf
        self._limit, self._at = math.inf, 0.0  # the refused limit, and when
        self._steady = STEADY if steady else 0
        self._steady_limit = math.inf
        self._known: float | None = None  # steady before the cuts
        self._known_at = 0.0
        self._returned = False  # restored to that, and not yet steady there
        self._failed = False  # refused there
        self._before: tuple[float, float | None, int] | None = None  # of the wave: limit, known limit, how steady

    def refused(self, now: float, sent_at: float, in_flight: int, limit: float) -> float | None:
        """The limit that follows from a refusal, None for no change. Those sent before the last cut belong to its wave.

        :param in_flight: requests still in flight
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
        # The requests in flight were accepted, so the capacity is at least that.
        return max(limit * CUT, min(float(in_flight), limit * MARGIN), least)

    def answered(self, sent_at: float) -> None:
        """A request was answered."""
        self._share -= OUTCOME * self._share
        if sent_at > self._last_cut:
            self._before = None  # it accepts requests: the cuts were right

    def outage(self) -> float | None:
        """The limit before the cuts: the endpoint accepts nothing, which does not show its capacity."""
        if self._before is None:
            return None
        limit, self._known, self._steady = self._before
        self._before, self._limit = None, math.inf
        return limit

    def window(self, begins: float, limit: float) -> float | None:
        """A window has passed under a limit. Returns the limit to restore, if there is one."""
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
        """Forget everything: it is about another fleet."""
        self._known, self._limit, self._steady = None, math.inf, 0

    def allowed(self, now: float) -> float:
        """The limit up to which growth is free, because it was not refused recently."""
        return self._limit * MARGIN * forgotten(now - self._at)


def forgotten(seconds: float) -> float:
    """The factor by which a limit found so many seconds ago may have risen."""
    return float(FORGOTTEN ** (seconds / FORGOTTEN_INTERVAL))
