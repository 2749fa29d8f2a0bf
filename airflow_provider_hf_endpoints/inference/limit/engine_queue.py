"""Steering by the queue that the engine tells of along with its answers: a small queue is kept, the excess subtracted.

Decisions only; the clock is an argument.
"""

from __future__ import annotations

import math

from airflow_provider_hf_endpoints.inference.limit.refusals import forgotten
from airflow_provider_hf_endpoints.inference.limit.window import Window
from airflow_provider_hf_endpoints.inference.wire import Load

WANTED = 0.1  # waiting requests by running ones
FAR_TOO_LONG = 0.2  # of what is in flight
QUEUED_MARGIN = 0.85  # of the limit at which the queue was too long, up to which growth is free
STEP = 1.25
NEWEST = 0.2  # weight of the newest answer in the mean of the queue


class EngineQueue:
    """What is known of the engine's queue, and what follows for the limit.

    :param senders: how many send to the endpoint; each takes its part of the queue for its own
    """

    def __init__(self, senders: int) -> None:
        self._senders = senders
        #: The limit is doubled, until a queue or a refusal is heard of.
        self.growing = True
        self._mean = 0.0
        self._latency = 0.0  # of an answer, in seconds
        self._judged_from = 0.0  # answers before do not know what was done about a queue that was far too long
        self._queued_limit, self._queued_at = math.inf, 0.0

    def replicas_changed(self) -> None:
        """What was heard is of another fleet, and the queue may have told of the change before."""
        self._queued_limit, self.growing = math.inf, True

    def answered(self, latency: float) -> None:
        """An answer took so many seconds."""
        self._latency = latency if self._latency == 0 else 0.95 * self._latency + 0.05 * latency

    def told_under_another_limit(self) -> None:
        """The last word about the queue was of what was sent under a higher limit."""
        self._mean = 0.0

    def far_too_long(self, now: float, load: Load, share: float) -> float | None:
        """The excess of a queue that is not waited out for a window's sake: doubling has gone too far. None for none.

        :param share: the setting
        """
        self._mean += NEWEST * (load.waiting / self._senders - self._mean)
        excess = self._mean - WANTED * max(1.0, share - self._mean)
        if excess <= FAR_TOO_LONG * share or now < self._judged_from:
            return None
        self.growing = False
        self._judged_from = now + 2 * self._latency
        return excess

    def next(self, now: float, window: Window, limit: float, replicas: int, allowed: float) -> tuple[float, str]:
        """The limit that follows from a window, and why.

        :param limit: the one under which the window was measured
        :param allowed: up to where growth is free
        """
        waiting = window.waiting / window.loads
        share = limit / replicas
        running = max(1.0, share - waiting)
        excess = waiting - WANTED * running
        if excess > 0:
            self.growing = False
            if waiting > 2 * WANTED * running:
                self._queued_limit, self._queued_at = limit, now
            return max(1.0, (share - excess) * replicas), "queue"
        if window.cache > 0.95:
            self.growing = False
            return limit, "cache full"
        if waiting < WANTED / 2 * running:
            return min(limit * (2.0 if self.growing else STEP), allowed), "no queue"
        return limit, "small queue"

    def allowed(self, now: float) -> float:
        """Up to where growth is free: the limit at which the queue was too long lately, less a margin."""
        return self._queued_limit * QUEUED_MARGIN * forgotten(now - self._queued_at)
