"""Finds the limit of a server that reports no queue: the smallest setting with nearly the best throughput.

Throughput grows with the requests in flight until all slots are used, and is flat beyond. The search doubles while
that pays, then narrows down from both sides to the start of the flat part, and stays slightly above. At intervals it
tries a neighbour, so that a change of the fleet is noticed. The idle time of an answer (`window.py`) hints how far a
first setting is too high, and throughput decides whether the hint was right. Settings are per replica.
"""

from __future__ import annotations

import math
from enum import Enum, auto

ENOUGH = 0.98  # of the best throughput: this is nearly as much
AS_FAST = 0.99  # the same for a try below, since each may be followed by another
IMPOSSIBLE = 1.1  # times the maximum that a setting could give: then the fleet has changed
PAYS = 1.05  # times the throughput that a doubled setting must give
WRONG = 0.9  # a hint with less than this share of the throughput was wrong
PRECISE = 1.08  # the search ends when a setting that is enough and one that is not are this close
ABOVE = 1.06  # times the smallest setting that is enough: a small queue, so that no slot is ever empty
IDLE = 0.3  # share of an answer's time that hints at a setting far too high
LEAST_BUSY = 0.2  # of an answer's time, whatever a hint says
UP = 1.25  # a try at the neighbour above, less one request: with eight slots, one more is already a step
DOWN = 0.88  # and one below
STEEP = 1.1  # times as much at the neighbour above: far from the flat part, so the doubling goes on
STAY = 6  # windows between two tries
CHANGED = 1.25  # times more or less than before, twice in a row: the fleet has changed
NEWEST = 0.3  # weight of the newest window in the throughput of a settled setting


class Phase(Enum):
    """The state of the search."""

    GROWING = auto()  #: doubling while that pays
    SHRINKING = auto()  #: halving while that costs nothing
    NARROWING = auto()  #: between a setting that is enough and one that is not
    SETTLED = auto()  #: at the setting that was found
    LOOKING_UP = auto()
    LOOKING_DOWN = auto()


class HillClimb:
    """Chooses the next setting from the throughput of the settings before."""

    def __init__(self) -> None:
        self._phase = Phase.GROWING
        self._best = 0.0  # throughput of the flat part, if known
        self._enough = math.inf  # smallest setting known to be enough
        self._too_little = 0.0  # largest setting known not to be enough
        self._here = 0.0  # throughput of the settled setting
        self._home = 0.0  # the settled setting
        self._stayed = 0
        self._looked_up = False
        self._surprises = 0
        self._trusts_hints = True
        self._hinted = False
        self.reason = "start"

    @property
    def growing(self) -> bool:
        """Whether each setting doubles the one before."""
        return self._phase is Phase.GROWING

    def stop_growing(self) -> None:
        """Stop doubling: something else has set a limit, which may be more than needed. Try below next."""
        if self._phase is Phase.GROWING:
            self._phase, self._stayed, self._looked_up = Phase.SETTLED, STAY - 1, True

    def scale(self, factor: float) -> float | None:
        """The fleet has changed by a factor. A search goes on; a settled setting is measured again.

        :return: the settled setting, if another was being tried
        """
        looking = self._phase in (Phase.LOOKING_UP, Phase.LOOKING_DOWN)
        if not looking and self._phase is not Phase.SETTLED:
            self._best *= factor
            return None
        self._best = 0.0
        self._settle(self._home, 0.0)
        return self._home if looking else None

    def next(self, share: float, rate: float, ceiling: float, idle: float | None = None) -> float:
        """The next setting.

        :param share: the measured setting
        :param rate: throughput of all replicas under it
        :param ceiling: the maximum of the next setting
        :param idle: share of an answer's time in which it did not grow, None if unknown
        """
        match self._phase:
            case Phase.GROWING:
                wanted = self._grow(share, rate, ceiling, idle)
            case Phase.SHRINKING:
                wanted = self._shrink(share, rate)
            case Phase.NARROWING:
                self._note(share, rate)
                wanted = self._narrow()
            case Phase.LOOKING_UP:
                wanted = self._looked_above(share, rate, ceiling)
            case Phase.LOOKING_DOWN:
                wanted = self._looked_below(share, rate)
            case Phase.SETTLED:
                wanted = self._stay(share, rate, ceiling)
        return max(1.0, min(wanted, ceiling))

    def _note(self, share: float, rate: float) -> bool:
        """Remember whether a setting is enough."""
        self._best = max(self._best, rate)
        if rate >= ENOUGH * self._best:
            self._enough = min(self._enough, share)
            return True
        self._too_little = max(self._too_little, share)
        return False

    def _grow(self, share: float, rate: float, ceiling: float, idle: float | None) -> float:
        before = self._best
        if before and rate < PAYS * before:
            self._note(share, rate)
            return self._start_shrinking(self._enough)
        # It paid, so what was enough before is now too little.
        self._best, self._too_little, self._enough = rate, self._enough if before else 0.0, share
        if self._far_too_high(idle):
            self._phase, self._hinted = Phase.SHRINKING, True
            self.reason = "answers wait"
            running = share * max(LEAST_BUSY, 1.0 - (idle or 0.0))
            return max(running * ABOVE, running + 1.0)
        if share >= ceiling * 0.999:
            return self._settle(share, rate)
        self.reason = "throughput grows"
        return share * 2.0

    def _far_too_high(self, idle: float | None) -> bool:
        return self._trusts_hints and idle is not None and idle > IDLE

    def _start_shrinking(self, share: float) -> float:
        """More gives nothing: try whether less is enough."""
        self.reason = "throughput no longer grows"
        if self._too_little:
            self._phase = Phase.NARROWING
            return self._narrow()
        self._phase = Phase.SHRINKING
        return share / 2.0

    def _shrink(self, share: float, rate: float) -> float:
        if self._hinted:
            return self._hint_followed(share, rate)
        enough = self._note(share, rate)
        if enough and share > 1.0:
            self.reason = "less is as fast"
            return share / 2.0
        self._phase = Phase.NARROWING
        return self._narrow()

    def _hint_followed(self, share: float, rate: float) -> float:
        """Small steps from now on, the next one up; or doubling as before, if there was no hint.

        The throughput of a long queue depends on the lengths of its rows, and is not a measure of either.
        """
        self._hinted = False
        self._trusts_hints = rate > WRONG * self._best
        self._best, self._enough = rate, share
        if self._trusts_hints:
            return self._settle(share, rate, look_up=True)
        self._phase = Phase.GROWING
        self.reason = "throughput grows"
        return share * 2.0

    def _narrow(self) -> float:
        low, high = self._too_little, self._enough
        if high / max(low, 1e-9) <= PRECISE or int(high) - int(low) <= 1:
            return self._settle(high * ABOVE, self._best)
        self.reason = "narrowing down"
        return max(low + 1.0, math.sqrt(max(low, 1.0) * high)) if high - low < 4 else math.sqrt(max(low, 1.0) * high)

    def _settle(self, share: float, rate: float, *, look_up: bool = False) -> float:
        self._phase = Phase.SETTLED
        self._home, self._here, self._stayed = share, rate, STAY - 1 if look_up else 0
        self._looked_up = self._looked_up and not look_up
        self.reason = "best so far"
        return share

    def _stay(self, share: float, rate: float, ceiling: float) -> float:
        """Stay at the found setting, or at the part of it that is allowed."""
        self._home = share
        ratio = rate / self._here if self._here else 1.0
        self._surprises = self._surprises + 1 if not 1 / CHANGED < ratio < CHANGED else 0
        if self._surprises >= 2:
            # The form of the curve is still a good estimate, its height is not.
            self._best = self._best * ratio if self._best else rate
            self._here, self._surprises = rate, 0
            self._stayed, self._looked_up = STAY, ratio > 1.0
        elif self._surprises == 0:
            newest = self._here + NEWEST * (rate - self._here) if self._here else rate
            self._best = max(self._best * (newest / self._here if self._here else 1.0), newest)
            self._here = newest
        self._stayed += 1
        self.reason = "best so far"
        if self._stayed < STAY or self._surprises:
            return share
        self._stayed = 0
        self._looked_up = not self._looked_up
        if self._looked_up and share * 1.02 < ceiling:
            self._phase = Phase.LOOKING_UP
            self.reason = "looking around"
            return max(share * UP - 1.0, share + 1.0)
        if share < 2.0:
            return share
        self._phase = Phase.LOOKING_DOWN
        self.reason = "looking around"
        return min(share * DOWN, share - 1.0)

    def _looked_above(self, share: float, rate: float, ceiling: float) -> float:
        if self._here and rate > IMPOSSIBLE * self._here * max(1.0, share / self._home):
            return self._look_again()
        if rate * ENOUGH <= self._here or share <= self._home:
            self._best = max(self._here, min(self._best, rate))
            return self._settle(self._home, self._here)
        self.reason = "throughput grows"
        grows_fast = rate > STEEP * self._here
        self._best, self._too_little, self._enough = rate, self._home, share
        if not grows_fast or share >= ceiling * 0.999:
            return self._settle(share, rate)
        self._phase = Phase.GROWING
        return share * 2.0

    def _look_again(self) -> float:
        """The try measured a change of the fleet, not the setting: measure the settled one again, then try again."""
        self._best = 0.0
        return self._settle(self._home, 0.0, look_up=True)

    def _looked_below(self, share: float, rate: float) -> float:
        if self._here and rate > IMPOSSIBLE * self._here:
            return self._look_again()
        if rate >= AS_FAST * max(self._best, self._here):
            self.reason = "less is as fast"
            return self._settle(share, rate)
        return self._settle(self._home, self._here)
