"""Whether requests may be sent to the endpoint: the gate is open, pauses, or is closed except for probes.

After a refusal, the gate pauses: as long as the endpoint asks, else until the rest of the wave has arrived.
After a pause that the endpoint asked for, and if the endpoint accepts hardly anything, sending begins with one request.
Each step without a refusal allows four times as many, so that an outage costs few requests. An endpoint that finishes
requests and accepts no new ones is treated as if it had asked for a pause. If every request in flight was refused, the
gate closes and lets one request through every few seconds. A cold or restarting endpoint needs that.
Decisions only; the clock is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.errors import InferenceError, OverloadedError

FEWEST = 3  # refusals in a row that close the gate if nothing else is in flight
FEW = 0.1  # of the refusals in a row: so many requests still in flight are considered hung
PAUSE = 0.1  # seconds after a refusal in a row, or as long as the refusal took; then those sent beside it have arrived:
LONGEST_PAUSE = 0.5  # seconds at most
FREED = 8  # answers after which no new request was accepted; fewer may be chance
FREED_PAUSE = 0.5  # seconds after that, doubled each time up to the probe interval
WAVES = 10  # pauses in a row, without an answer between them, that close the gate
RAMP = 4.0  # times as many requests with each step after a requested pause
SHORTEST_STEP = 0.05  # seconds
REFUSAL_LATENCIES = 2.0  # length of a step, as a multiple of the time of a refusal
RAMP_STEPS = 6  # until the ramp is over: 4**6 is more than any limit


@dataclass(slots=True)
class Episode:
    """Refusals in a row. They end when a request is answered that was not sent before the first refused one.

    :param sent_at: when the first of them was sent
    :param begins: when the first refusal arrived
    """

    sent_at: float
    begins: float
    sent: int = 0  # since it began
    refused: int = 0  # of these
    freed: int = 0  # answers since then to earlier requests
    pauses: int = 0  # because of it

    @property
    def none_taken(self) -> bool:
        """Whether no new request was accepted after others were answered. A full endpoint accepts some."""
        tried = min(self.freed, self.refused)
        return tried >= FREED and self.sent - self.refused <= FEW * tried

    @property
    def hardly_taken(self) -> bool:
        """Whether hardly any request sent since is still in flight: an accepted request stays in flight."""
        return self.sent - self.refused <= max(1.0, FEW * self.refused)


class Gate:
    """Opens and closes by the answers of the endpoint.

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
        self._asked_until = 0.0  # the same for requested pauses, and those treated as such
        self._probing = False
        self._ramping = False
        self._sent_in_ramp = 0
        self._step = SHORTEST_STEP
        self._longest_step = math.inf
        self.last_error: InferenceError | None = None
        self._same_since = 0.0  # for how long it has been of this kind

    @property
    def closed(self) -> bool:
        """Whether only probes pass."""
        return self._closed_at is not None

    @property
    def takes_nothing(self) -> bool:
        """Whether the endpoint finishes its requests and accepts no new ones."""
        return self._episode is not None and self._episode.none_taken

    def answered(self, sent_at: float | None = None) -> None:
        """The endpoint has worked on a request, with any result, so it is available.

        :param sent_at: when it was sent. Requests accepted before an outage are finished during it
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
        """The endpoint did not accept a request (429, 503, no connection).

        :param in_flight: requests still in flight; if there are none, all were refused
        :param sent_at: when it was sent
        """
        if type(error) is not type(self.last_error):
            self._same_since = now
        self.last_error = error
        self._probing = False
        self._streak += 1
        if sent_at is not None:
            self._step = max(SHORTEST_STEP, REFUSAL_LATENCIES * (now - sent_at))
            if isinstance(error, OverloadedError):
                self._episode = None  # it reports itself that it is full: the limit reacts to that
            elif self._episode is None:
                self._episode = Episode(sent_at, now)
            elif sent_at >= self._episode.begins:
                self._episode.refused += 1
        asked = error.retry_after
        if asked is not None and asked > self._longest_asked:
            # This pause is longer than the batch waits for an endpoint, so the endpoint is asked again meanwhile.
            asked = self._longest_asked
            self._closed_at = now if self._closed_at is None else self._closed_at
        self._pause(asked, now)
        if self._closed_at is not None:
            self._next_probe = max(self._next_probe, now + self._probe_interval)
        elif not self._ever_open or self._waves >= WAVES or self._all_refused(in_flight):
            # An endpoint that has never answered was not available at the first request.
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
                return  # it was in flight when the pause began
            asked = min(self._probe_interval, FREED_PAUSE * 2.0**episode.pauses)
            episode.pauses += 1
        if asked is None and self._streak < 2:
            return  # one refusal among answers is no reason to pause
        if now >= self._hold_until:
            self._waves += 1
        self._hold_until = max(self._hold_until, now + (self._rest_of_wave if asked is None else asked))
        if asked is not None:
            self._asked_until = self._hold_until
        if asked is not None or (episode is not None and episode.hardly_taken):
            self._ramping, self._sent_in_ramp = True, 0
            # A connection may take seconds to fail. That is no reason to take minutes for the ramp.
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
        """A request was sent; while the gate is closed, it is the probe."""
        self._sent_in_ramp += 1
        if self._episode is not None:
            self._episode.sent += 1
        if self._closed_at is not None:
            self._probing = True
            self._next_probe = now + self._probe_interval

    def unclear(self) -> None:
        """A request ended without showing whether the endpoint is available (a timeout)."""
        self._probing = False

    def opens_at(self, now: float) -> float:
        """When `admits` may change without a new answer from the endpoint."""
        if self._closed_at is not None:
            return max(self._hold_until, self._next_probe)
        if now < self._hold_until or not self._ramping:
            return self._hold_until
        # Slightly later: at the exact moment, rounding may say that the step has not begun.
        step = self._ramp_step
        return self._hold_until + (int((now - self._hold_until) / step) + 1) * step + 1e-6

    @property
    def gives_up_at(self) -> float | None:
        """When the endpoint will have been away for longer than the batch waits; None where it is not away."""
        if self._closed_at is None or self.last_error is None:
            return None
        ends_at = self._closed_at + self._patience
        return ends_at if self._ever_open else min(ends_at, self._same_since + self.last_error.patience)

    def gave_up(self, now: float) -> bool:
        """Whether that is the case."""
        return self.gives_up_at is not None and now > self.gives_up_at
