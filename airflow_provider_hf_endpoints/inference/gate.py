"""Whether the endpoint is to be sent anything just now: open, holding as long as it asked, or closed but for
probes.

A closed gate lets one request through every few seconds. That is what a cold, restarting or overwhelmed
endpoint needs: a flood of rows that all come back with 503 wakes nothing sooner. Decisions only; the clock is
an argument.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.errors import InferenceError

FEWEST = 3  # refusals in a row that close it when hardly anything is in flight


class Gate:
    """Opens and closes with what the endpoint answers.

    :param probe_interval: seconds between two probes of a closed gate
    :param patience: seconds for which a closed gate may stay closed
    :param streak_to_close: answers of "not now" in a row, without a success between them, that close it
    """

    def __init__(self, probe_interval: float = 5.0, patience: float = 1200.0, streak_to_close: int = 10) -> None:
        self._probe_interval = probe_interval
        self._patience = patience
        self._streak_to_close = streak_to_close
        self._streak = 0
        self._ever_open = False
        self._closed_at: float | None = None
        self._next_probe = 0.0
        self._hold_until = 0.0
        self._probing = False
        self.last_error: InferenceError | None = None

    @property
    def closed(self) -> bool:
        """Whether only probes pass."""
        return self._closed_at is not None

    def answered(self) -> None:
        """The endpoint worked on a request, well or badly: it is there."""
        self._streak = 0
        self._ever_open = True
        self._closed_at = None
        self._probing = False

    def refused(self, error: InferenceError, now: float, in_flight: int) -> None:
        """The endpoint did not take a request (429, 503, no connection).

        :param in_flight: requests still out; with few of them, few refusals are all of them
        """
        self.last_error = error
        self._probing = False
        if error.retry_after is not None:
            self._hold_until = max(self._hold_until, now + error.retry_after)
        self._streak += 1
        if self._closed_at is not None:
            self._next_probe = max(self._next_probe, now + self._probe_interval)
        elif not self._ever_open or self._streak >= min(self._streak_to_close, max(FEWEST, in_flight + 1)):
            self._closed_at = now
            self._next_probe = now + self._probe_interval

    def admits(self, now: float, limit: int, in_flight: int) -> int:
        """How many more requests may be sent at `now`."""
        if now < self._hold_until:
            return 0
        if self._closed_at is None:
            return max(0, limit - in_flight)
        return 0 if self._probing or now < self._next_probe else 1

    def sent(self, now: float) -> None:
        """A request went out; while the gate is closed that was the probe."""
        if self._closed_at is not None:
            self._probing = True
            self._next_probe = now + self._probe_interval

    def unclear(self) -> None:
        """A request ended without telling whether the endpoint is there (a timeout)."""
        self._probing = False

    def opens_at(self) -> float:
        """When `admits` may answer differently without a new answer from the endpoint."""
        if self._closed_at is None:
            return self._hold_until
        return max(self._hold_until, self._next_probe)

    def gave_up(self, now: float) -> bool:
        """Whether the endpoint has been away for longer than the batch waits."""
        return self._closed_at is not None and now - self._closed_at > self._patience
