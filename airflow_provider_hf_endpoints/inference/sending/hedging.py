"""Which slow rows are sent a second time while their first request is in flight. No requests are sent here.

A replica that hangs, or a connection that is silently dead, delays one row, and at the end of a batch the whole batch.
The first answer counts. The other request is cancelled and its connection closed. At most 5 % of the requests are
second ones, and none are sent while the endpoint is overloaded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel

#: Share of all requests; one is always allowed.
SHARE = 0.05
#: `auto` sends a second request after TIMES the 95th percentile of the latest answers, once there are ENOUGH.
TIMES, QUANTILE, ENOUGH, LATEST = 3.0, 0.95, 100, 500
SHORTEST = 1.0  # seconds
#: Seconds without hedging after the limit was cut.
QUIET = 5.0


@dataclass(slots=True, eq=False)
class Flight:
    """A parcel with one or two requests in flight.

    :param tasks: that wait for an answer
    """

    parcel: Parcel
    sent_at: float
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    hedged: bool = False


class Hedging:
    """The requests in flight, their latencies, and which parcels to send once more.

    :param after: seconds, or `auto`
    """

    def __init__(self, after: float | Literal["auto"]) -> None:
        self._after = after
        self._latest: deque[float] = deque(maxlen=LATEST)
        self._out: dict[int, Flight] = {}
        self._sent = 0
        self._hedged = 0
        self._limit = 0
        self._quiet_until = float("-inf")

    def sent(self, parcel: Parcel, now: float, task: asyncio.Task[None]) -> bool:
        """A request was sent; true if another request for the same parcel is in flight."""
        flight = self._out.setdefault(id(parcel), Flight(parcel, now))
        flight.tasks.append(task)
        self._sent += 1
        return len(flight.tasks) > 1

    def answered(self, parcel: Parcel, seconds: float, task: asyncio.Task[None]) -> None:
        """The first answer has come. The parcel's other request, if there is one, is cancelled."""
        self._latest.append(seconds)
        flight = self._out.pop(id(parcel))
        for other in flight.tasks:
            if other is not task:
                other.cancel()

    def failed(self, parcel: Parcel, task: asyncio.Task[None]) -> bool:
        """A request failed; true while the parcel's other request is in flight."""
        flight = self._out[id(parcel)]
        flight.tasks.remove(task)
        if not flight.tasks:
            del self._out[id(parcel)]
        return bool(flight.tasks)

    def has(self, parcel: Parcel) -> bool:
        """Whether a request for a parcel is in flight."""
        return id(parcel) in self._out

    def is_out(self, flight: Flight) -> bool:
        """Whether the first request of a parcel is in flight, and no second one was sent."""
        return self._out.get(id(flight.parcel)) is flight and len(flight.tasks) == 1

    def due(self, now: float, *, closed: bool, limit: int) -> list[Flight]:
        """Parcels to send a second time; each is returned once.

        :param closed: whether the endpoint gets only probes
        :param limit: requests that may be in flight; while it shrinks, the endpoint is overloaded
        """
        if limit < self._limit:
            self._quiet_until = now + QUIET
        self._limit = limit
        patience = self.patience
        if closed or patience is None or now < self._quiet_until:
            return []
        due: list[Flight] = []
        for flight in self._out.values():  # in the order of sending
            if now - flight.sent_at < patience or self._hedged >= max(1.0, SHARE * self._sent):
                break
            if not flight.hedged:
                flight.hedged = True
                self._hedged += 1
                due.append(flight)
        return due

    @property
    def patience(self) -> float | None:
        """Seconds after which a request is hedged, None while unknown."""
        if self._after != "auto":
            return float(self._after)
        if len(self._latest) < ENOUGH:
            return None
        return max(SHORTEST, TIMES * sorted(self._latest)[int(QUANTILE * len(self._latest))])
