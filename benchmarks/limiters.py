"""Limits as others find them, behind the methods that the batch calls: what `concurrency.py` compares with."""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.wire import Load

START, MOST = 32.0, 1000.0


class _Plain(Limiter):
    """A limit that knows nothing of replicas."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = START
        self._cut_at = float("-inf")

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        if sent_at >= self._cut_at:
            self._cut_at, self._limit = now, max(1.0, self._limit * 0.9)

    def outage(self) -> None:
        pass

    def replicas_changed(self, replicas: int, now: float) -> None:
        pass


class Aimd(_Plain):
    """One more with each answer in a full window, a tenth less with a wave of refusals."""

    def answered(self, now: float, in_flight: int, work: float, sent_at: float, load: Load | None = None) -> None:
        if in_flight >= self.limit:
            self._limit = min(MOST, self._limit + 1.0 / self._limit)


class Vegas(_Plain):
    """By the latency over the lowest one seen."""

    _lowest = math.inf

    def answered(self, now: float, in_flight: int, work: float, sent_at: float, load: Load | None = None) -> None:
        latency = (now - sent_at) / max(work, 1.0)
        self._lowest = min(self._lowest, latency)
        queue = self._limit * (1.0 - self._lowest / latency)
        scale = max(1.0, math.log10(self._limit))
        if queue < 3 * scale and in_flight >= self.limit:
            self._limit = min(MOST, self._limit + scale / self._limit)
        elif queue > 6 * scale:
            self._limit = max(1.0, self._limit - scale / self._limit)


class Gradient(_Plain):
    """Gradient2: short over long latency, plus the root of the limit."""

    _long = 0.0
    _short = 0.0

    def answered(self, now: float, in_flight: int, work: float, sent_at: float, load: Load | None = None) -> None:
        latency = (now - sent_at) / max(work, 1.0)
        self._short = latency if self._short == 0 else 0.9 * self._short + 0.1 * latency
        self._long = latency if self._long == 0 else 0.998 * self._long + 0.002 * latency
        if in_flight < self.limit / 2:
            return
        gradient = max(0.5, min(1.0, 1.5 * self._long / self._short))
        wanted = self._limit * gradient + math.sqrt(self._limit)
        self._limit = min(MOST, max(1.0, self._limit + 0.2 / self._limit * (wanted - self._limit)))


OTHERS: dict[str, Callable[[], Limiter]] = {"AIMD": Aimd, "Vegas": Vegas, "gradient2": Gradient}
