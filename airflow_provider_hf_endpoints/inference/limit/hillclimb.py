"""Finding how much a silent server can take: the smallest setting that brings nearly as much as any.

Throughput grows with what is in flight up to where all slots are taken, and is flat beyond. The search doubles while
that pays, then narrows down from both sides to where the flat part begins, and stays a little above. Now and then it
looks at a neighbour, so that a change of the fleet is noticed. An answer's idle time (`window.py`) hints at how far a
first setting is too high; throughput decides whether the hint was right. Settings are per replica.
"""

from __future__ import annotations

import math
from enum import Enum, auto

ENOUGH = 0.98  # of the best throughput: that setting brings nearly as much
AS_FAST = 0.99  # the same for a look below: each may be followed by another
IMPOSSIBLE = 1.1  # so many times what a setting could bring at most: the fleet has changed meanwhile
PAYS = 1.05  # so many times as much a doubled setting has to bring
WRONG = 0.9  # a hint that brings less than this share was wrong
PRECISE = 1.08  # so close are a setting that is enough and one that is not, at the end of the search
ABOVE = 1.06  # of the smallest setting that is enough: a small queue, so that a slot never stands empty
IDLE = 0.3  # share of an answer's time that hints at a setting far too high
LEAST_BUSY = 0.2  # of an answer's time, whatever a hint says
UP = 1.25  # a look at the neighbour above, less a request: of eight slots one more is a step as it is
DOWN = 0.88  # and one below
STEEP = 1.1  # so many times as much at the neighbour above: far from the flat part, so doubling goes on
STAY = 6  # windows between two looks
CHANGED = 1.25  # so many times more or less than before, twice in a row: the fleet is not what it was
NEWEST = 0.3  # weight of the newest window in what a settled setting brings


class Phase(Enum):
    """What the search is doing."""

    GROWING = auto()  #: doubling while that pays
    SHRINKING = auto()  #: halving while that costs nothing
    NARROWING = auto()  #: between a setting that is enough and one that is not
    SETTLED = auto()  #: on the setting that was found
    LOOKING_UP = auto()
    LOOKING_DOWN = auto()


class HillClimb:
    """Chooses the next setting from what the settings before it brought."""

    def __init__(self) -> None:
        self._phase = Phase.GROWING
        self._best = 0.0  # throughput of the flat part, if it is known
        self._enough = math.inf  # smallest setting known to bring it
        self._too_little = 0.0  # largest known not to
        self._here = 0.0  # what the settled setting brings
        self._home = 0.0  # the settled setting
        self._stayed = 0
        self._looked_up = False
        self._surprises = 0
        self._trusts_hints = True
        self._hinted = False
        self.reason = "start"

    @property
    def growing(self) -> bool:
        """Whether each setting is twice the one before."""
        return self._phase is Phase.GROWING

    def stop_growing(self) -> None:
        """No more doubling: something else has set a limit, which may be more than is needed. A look below is next."""
        if self._phase is Phase.GROWING:
            self._phase, self._stayed, self._looked_up = Phase.SETTLED, STAY - 1, True

    def scale(self, factor: float) -> float | None:
        """The fleet has become so many times as large: a search goes on, a settled setting is measured again.

        :return: the settled setting, where another was being looked at
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

        :param share: the setting that was measured
        :param rate: throughput of all replicas under it
        :param ceiling: what the next may not exceed
        :param idle: share of an answer's time in which it did not grow, None where that is not known
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
        """Remember whether a setting brings enough."""
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
        # It paid: what was enough before is too little now.
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
        """More brings nothing: is less enough too?"""
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
        """Small steps from now on, the next one up; or doubling as before, where there was no hint.

        What a long queue brought depends on the length of the rows in it, and is not a measure for either.
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
        """On the setting that was found, or on what is allowed of it."""
        self._home = share
        ratio = rate / self._here if self._here else 1.0
        self._surprises = self._surprises + 1 if not 1 / CHANGED < ratio < CHANGED else 0
        if self._surprises >= 2:
            # The shape of the hill is as good a guess as before, its height is not.
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
        """The look measured a change of the fleet, not the setting: measure the settled one again, then look again."""
        self._best = 0.0
        return self._settle(self._home, 0.0, look_up=True)

    def _looked_below(self, share: float, rate: float) -> float:
        if self._here and rate > IMPOSSIBLE * self._here:
            return self._look_again()
        if rate >= AS_FAST * max(self._best, self._here):
            self.reason = "less is as fast"
            return self._settle(share, rate)
        return self._settle(self._home, self._here)
