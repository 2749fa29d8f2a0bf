"""Parcels that wait to be sent again, each until its time. They hold no worker. No I/O."""

from __future__ import annotations

import heapq
import itertools

from airflow_provider_hf_endpoints.inference.sending.hedging import Flight
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel


class Waiting:
    """What is due first comes first; among what is due at once, what came first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Parcel | Flight]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, parcel: Parcel | Flight, due: float) -> None:
        """Send it, or once more what is out, at `due` or later."""
        heapq.heappush(self._heap, (due, next(self._order), parcel))

    def take(self, now: float) -> Parcel | Flight | None:
        """What is due, None when nothing is."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[2]
        return None

    def due(self, now: float, most: int) -> int:
        """How many are due, about; no more than `most`."""
        return sum(1 for entry in self._heap[:most] if entry[0] <= now) if self._heap else 0

    @property
    def next_due(self) -> float | None:
        """When the next is due, None when none waits."""
        return self._heap[0][0] if self._heap else None
