"""Whether the endpoint is sent anything just now: the gate is open, pauses for a while, or is closed but for probes.

A refusal is followed by a pause: as long as the endpoint asked, else long enough for the rest of a wave to come in.
Sending begins with one request after a pause that the endpoint asked for, and where it takes next to nothing. Each step
without a refusal then allows four times as many, so that an outage costs few requests. An endpoint that finishes
requests and takes none in their place is treated as if it had asked for a pause. When every request that is out was
refused, the gate closes and lets one request through every few seconds, as a cold or restarting endpoint needs.
Decisions only; the clock is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.errors import InferenceError, OverloadedError

FEWEST = 3  # refusals in a row that close it when nothing else is out
FEW = 0.1  # of the refusals in a row: so many requests still out are taken for hung ones
PAUSE = 0.1  # seconds after a refusal in a row, or as long as that took, by when those beside it have come:
LONGEST_PAUSE = 0.5  # seconds at most
FREED = 8  # answers after which no request was taken in their place; fewer may be chance
FREED_PAUSE = 0.5  # seconds after that, twice as many each time until the pause is as long as between two probes
WAVES = 10  # pauses in a row, without an answer between them, that close it
RAMP = 4.0  # times as many requests with each step after a pause that was asked for
SHORTEST_STEP = 0.05  # seconds
REFUSAL_LATENCIES = 2.0  # a step, in times that a refusal took
RAMP_STEPS = 6  # until it is over: 4**6 is more than any limit


@dataclass(slots=True)
class Episode:
    """Refusals in a row. They are over when a request is answered that was sent no earlier than the first refused one.

    :param sent_at: when the first of them was sent
    :param begins: when it came
    """

    sent_at: float
    begins: float
    sent: int = 0  # since it begins
    refused: int = 0  # of those
    freed: int = 0  # answers since to what was sent before
    pauses: int = 0  # that were made because of it

    @property
    def none_taken(self) -> bool:
        """Whether no request was taken in place of those that were answered. A full endpoint takes some."""
        tried = min(self.freed, self.refused)
        return tried >= FREED and self.sent - self.refused <= FEW * tried

    @property
    def hardly_taken(self) -> bool:
        """Whether next to nothing that was sent since is still out: a request that is taken stays out."""
        return self.sent - self.refused <= max(1.0, FEW * self.refused)


class Gate:
    """Opens and closes with what the endpoint answers.

    :param probe_interval: seconds between two probes of a closed gate
    :param patience: seconds for which a closed gate may stay closed
    """

    def __init__(self, probe_interval: float = 5.0, patience: float = 1200.0) -> None:
        self._probe_interval = probe_interval
        self._patience = patience
        self._streak = 0
        self._waves = 0
        self._episode: Episode | None = None
        self._ever_open = False
        self._closed_at: float | None = None
        self._next_probe = 0.0
        self._hold_until = 0.0
        self._asked_until = 0.0  # the same of the pauses that were asked for, or made as if they were
        self._probing = False
        self._ramping = False
        self._sent_in_ramp = 0
        self._step = SHORTEST_STEP
        self._longest_step = math.inf
        self.last_error: InferenceError | None = None

    @property
    def closed(self) -> bool:
        """Whether only probes pass."""
        return self._closed_at is not None

    @property
    def takes_nothing(self) -> bool:
        """Whether the endpoint finishes what it has, and takes nothing in its place."""
        return self._episode is not None and self._episode.none_taken

    def answered(self, sent_at: float | None = None) -> None:
        """The endpoint worked on a request, well or badly: it is there.

        :param sent_at: when it was sent. What was taken before an outage is finished during it
        """
        if self._episode is not None and sent_at is not None and sent_at < self._episode.sent_at:
            self._episode.freed += 1
        else:
            self._episode = None
        self._streak = self._waves = 0
        self._ever_open = True
        self._closed_at = None
        self._probing = False

    def refused(self, error: InferenceError, now: float, in_flight: int, sent_at: float | None = None) -> None:
        """The endpoint did not take a request (429, 503, no connection).

        :param in_flight: requests still out; with none of them, the refusals are all of them
        :param sent_at: when it was sent
        """
        self.last_error = error
        self._probing = False
        self._streak += 1
        if sent_at is not None:
            self._step = max(SHORTEST_STEP, REFUSAL_LATENCIES * (now - sent_at))
            if isinstance(error, OverloadedError):
                self._episode = None  # it says itself that it is full: that is the limit's to answer
            elif self._episode is None:
                self._episode = Episode(sent_at, now)
            elif sent_at >= self._episode.begins:
                self._episode.refused += 1
        asked = error.retry_after
        if asked is not None and asked > self._longest_asked:
            # For longer than the batch waits for an endpoint, this one is away: it is asked again meanwhile.
            asked = self._longest_asked
            self._closed_at = now if self._closed_at is None else self._closed_at
        self._pause(asked, now)
        if self._closed_at is not None:
            self._next_probe = max(self._next_probe, now + self._probe_interval)
        elif not self._ever_open or self._waves >= WAVES or self._all_refused(in_flight):
            # An endpoint of which no answer has come was not there when it was first asked.
            self._closed_at = now if self._ever_open or sent_at is None else sent_at
            self._next_probe = now + self._probe_interval

    @property
    def _longest_asked(self) -> float:
        return self._patience / 2

    def _all_refused(self, in_flight: int) -> bool:
        return self._streak >= FEWEST and in_flight <= FEW * self._streak

    def _pause(self, asked: float | None, now: float) -> None:
        episode = self._episode
        if asked is None and episode is not None and self.takes_nothing:
            if now < self._asked_until:
                return  # it was on its way when the pause began
            asked = min(self._probe_interval, FREED_PAUSE * 2.0**episode.pauses)
            episode.pauses += 1
        if asked is None and self._streak < 2:
            return  # one refusal among answers: no reason to hold the others up
        if now >= self._hold_until:
            self._waves += 1
        self._hold_until = max(self._hold_until, now + (self._rest_of_wave if asked is None else asked))
        if asked is not None:
            self._asked_until = self._hold_until
        if asked is not None or (episode is not None and episode.hardly_taken):
            self._ramping, self._sent_in_ramp = True, 0
            # A connection may take seconds to fail, which is not a reason to take minutes over sending again.
            self._longest_step = math.inf if asked is not None else LONGEST_PAUSE

    @property
    def _rest_of_wave(self) -> float:
        return max(PAUSE, min(self._step / REFUSAL_LATENCIES, LONGEST_PAUSE))

    @property
    def _ramp_step(self) -> float:
        return min(self._step, self._longest_step)

    def admits(self, now: float, limit: int, in_flight: int) -> int:
        """How many more requests may be sent at `now`."""
        if now < self._hold_until:
            return 0
        if self._closed_at is not None:
            return 0 if self._probing or now < self._next_probe else 1
        free = max(0, limit - in_flight)
        if not self._ramping:
            return free
        steps = int((now - self._hold_until) / self._ramp_step)
        if steps >= RAMP_STEPS:
            self._ramping = False
            return free
        return min(free, max(0, int(RAMP**steps) - self._sent_in_ramp))

    def sent(self, now: float) -> None:
        """A request went out; while the gate is closed that was the probe."""
        self._sent_in_ramp += 1
        if self._episode is not None:
            self._episode.sent += 1
        if self._closed_at is not None:
            self._probing = True
            self._next_probe = now + self._probe_interval

    def unclear(self) -> None:
        """A request ended without telling whether the endpoint is there (a timeout)."""
        self._probing = False

    def opens_at(self, now: float) -> float:
        """When `admits` may answer differently without a new answer from the endpoint."""
        if self._closed_at is not None:
            return max(self._hold_until, self._next_probe)
        if now < self._hold_until or not self._ramping:
            return self._hold_until
        # A hair later: at the very moment the step may not have begun, by rounding.
        step = self._ramp_step
        return self._hold_until + (int((now - self._hold_until) / step) + 1) * step + 1e-6

    def gave_up(self, now: float) -> bool:
        """Whether the endpoint has been away for longer than the batch waits."""
        return self._closed_at is not None and now - self._closed_at > self._patience
