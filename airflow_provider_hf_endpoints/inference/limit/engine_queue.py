"""The limit by the queue that the engine reports in its answers: a small queue is kept, the excess is subtracted.

Decisions only; the clock is an argument.
"""

from __future__ import annotations

import math

from airflow_provider_hf_endpoints.inference.limit.refusals import forgotten
from airflow_provider_hf_endpoints.inference.limit.window import Window
from airflow_provider_hf_endpoints.inference.wire import Load

WANTED = 0.1  # waiting requests per running one
FAR_TOO_LONG = 0.2  # of the requests in flight
QUEUED_MARGIN = 0.85  # growth is free up to this part of the limit at which the queue was too long
STEP = 1.25
NEWEST = 0.2  # weight of the newest answer in the mean of the queue


class EngineQueue:
    """The engine's queue, and the limit that follows from it.

    :param senders: how many processes send to the endpoint; each has its part of the queue
    """

    def __init__(self, senders: int) -> None:
        self._senders = senders
        #: The limit is doubled until a queue or a refusal is reported.
        self.growing = True
        self._mean = 0.0
        self._latency = 0.0  # of an answer, in seconds
        self._judged_from = 0.0  # earlier answers do not reflect the reaction to a queue that was far too long
        self._queued_limit, self._queued_at = math.inf, 0.0

    def replicas_changed(self) -> None:
        """Forget the queue: it is that of another fleet, and may have reported the change before."""
        self._queued_limit, self.growing = math.inf, True

    def answered(self, latency: float) -> None:
        """Take the seconds of an answer."""
        self._latency = latency if self._latency == 0 else 0.95 * self._latency + 0.05 * latency

    def told_under_another_limit(self) -> None:
        """The last report of the queue is about requests sent under a higher limit."""
        self._mean = 0.0

    def far_too_long(self, now: float, load: Load, share: float) -> float | None:
        """The excess of a queue that is lowered at once: the doubling has gone too far. None if there is no excess.

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
        """The limit that follows from a window, and the reason.

        :param limit: under which the window was measured
        :param allowed: the limit up to which growth is free
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
        """The limit up to which growth is free: where the queue was recently too long, less a margin."""
        return self._queued_limit * QUEUED_MARGIN * forgotten(now - self._queued_at)
