"""Finding how much a silent server can take: which of the settings tried brought most for what it has in flight.

Settings are steps of a geometric ladder. Each keeps a running mean of its throughput, because one measurement is too
noisy to compare. What is wanted is throughput for little in flight: a setting twice as large has to bring
`2 ** ELASTICITY` times as much, or it only makes requests wait. Most of the time is spent on the best step, now and
then on a neighbour of it, so that a change of the fleet is noticed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STEP = 2.0 ** (1 / 3)
DOUBLING = 3  # steps
ELASTICITY = 0.1
SLOWEST_MEAN = 0.2  # weight of the newest measurement in a step's mean, at least
BACK_AGAIN = 0.5  # the same on coming back to a step: what it brought before may be long ago
STAY = 5  # windows on the best step between two looks at a neighbour
CHANGED = 1.3  # a step that brings so many times more or less than it used to: the fleet is not what it was


@dataclass(slots=True)
class _Seen:
    rate: float
    times: int = 1


class HillClimb:
    """Chooses the next setting from what the settings before it brought."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._growing = True
        self._stayed = 0
        self._look_up = True
        self._surprises = 0
        self._last = -1
        self.reason = "start"

    def stop_growing(self) -> None:
        """No more doubling: something else has set a limit."""
        self._growing = False

    def scale(self, factor: float) -> None:
        """The fleet has become so many times as large, and brings so many times as much at each step."""
        for seen in self._seen.values():
            seen.rate *= factor

    def next(self, share: float, rate: float, ceiling: float) -> float:
        """The next setting.

        :param share: the setting that was measured, per replica
        :param rate: throughput of all replicas under it
        :param ceiling: what it may not exceed
        """
        here = round(math.log(max(share, 1.0)) / math.log(STEP))
        top = math.ceil(math.log(max(ceiling, 1.0)) / math.log(STEP) - 1e-9)
        self._learn(here, rate)
        self._last = here
        step = self._grow(here) if self._growing else self._choose(here, top)
        step = max(0, min(step, top))
        return min(max(1.0, STEP**step), ceiling)

    def _learn(self, step: int, rate: float) -> None:
        seen = self._seen.get(step)
        if seen is None:
            self._seen[step] = _Seen(rate)
            return
        ratio = rate / max(seen.rate, 1e-9)
        self._surprises = self._surprises + 1 if not 1 / CHANGED < ratio < CHANGED else 0
        if self._surprises >= 2:
            # The shape of the hill is as good a guess as before, its height is not.
            self.scale(ratio)
            self._surprises = 0
            self._growing = False
            self._stayed, self._look_up = STAY, ratio < 1.0  # look at once in the direction that the change suggests
            return
        seen.times += 1
        slowest = SLOWEST_MEAN if step == self._last else BACK_AGAIN
        seen.rate += (rate - seen.rate) * max(slowest, 1 / seen.times)

    def _value(self, step: int) -> float:
        seen = self._seen.get(step)
        return 0.0 if seen is None else seen.rate / STEP ** (step * ELASTICITY)

    def _grow(self, here: int) -> int:
        below = [step for step in self._seen if step < here]
        if not below or self._value(here) > self._value(max(below)):
            self.reason = "throughput grows"
            return here + DOUBLING
        self._growing = False
        self.reason = "throughput no longer grows"
        return here - DOUBLING

    def _choose(self, here: int, top: int) -> int:
        best = max(self._seen, key=self._value)
        best = min(best, top)
        if best != here:
            self._stayed = 0
            self.reason = "less is as fast" if best < here else "throughput grows"
            # A step further than one is taken in ones, so that what lies between is seen too.
            return here + (1 if best > here else -1)
        self._stayed += 1
        unseen = [step for step in (here - 1, here + 1) if step not in self._seen and 0 <= step <= top]
        if unseen or self._stayed >= STAY:
            self._stayed = 0
            self._look_up = not self._look_up
            self.reason = "looking around"
            return unseen[0] if unseen else here + (1 if self._look_up else -1)
        self.reason = "best so far"
        return here
