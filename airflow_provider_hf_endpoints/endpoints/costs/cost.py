"""The cost of an endpoint in a span of time: replica-seconds from what the service reports, and dollars. Pure.

The service bills per replica while an endpoint initializes and runs; paused and scaledToZero are free (documentation,
October 2026). There are three sources for the duration, and the best available one is used: the start and end of the
replicas, the metric of running replicas, and the states that the caller saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.errors import CostUnknownError
from airflow_provider_hf_endpoints.endpoints.models import (
    BILLED,
    Hardware,
    InferenceEndpoint,
    InferenceEndpointStatus,
    Metrics,
    Place,
    Replica,
)

Source = Literal["replica lifetimes", "replica metric", "observed states"]
# A metric is sampled: lifetimes that fall short of it by more than this share and two of its samples have replicas
# missing.
_METRIC_SLACK = 0.1
_SAMPLES_SLACK = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """What one endpoint cost between two moments.

    :param replica_seconds: seconds billed, summed over replicas
    :param running_seconds: of those, the ones in which the replica was running; None where that is not known
    :param price_per_hour: USD per replica and hour; None where the service does not list the instance
    :param source: what the seconds are taken from
    :param rows: rows done in that time, if the caller knows them
    :param tokens: tokens read and written in that time, if the caller knows them
    :param created: when the endpoint was created, which tells it from others of the same name; None if not known
    """

    endpoint: str
    namespace: str
    start: datetime
    stop: datetime
    replica_seconds: float
    running_seconds: float | None
    price_per_hour: float | None
    source: Source
    rows: int = 0
    tokens: int = 0
    created: datetime | None = None

    @property
    def usd(self) -> float | None:
        """Dollars, by the second."""
        return None if self.price_per_hour is None else self.price_per_hour * self.replica_seconds / 3600.0

    @property
    def usd_per_1000_rows(self) -> float | None:
        """Dollars for a thousand rows; None without rows or price."""
        return None if self.usd is None or not self.rows else self.usd * 1000.0 / self.rows

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Dollars for a million tokens, prompt and completion together; None without tokens or price."""
        return None if self.usd is None or not self.tokens else self.usd * 1e6 / self.tokens

    def for_work(self, *, rows: int, tokens: int) -> Cost:
        """The same, with what was done for it."""
        return replace(self, rows=rows, tokens=tokens)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: moments in ISO 8601, minutes rounded to a thousandth."""
        running = self.running_seconds
        return {
            "endpoint": self.endpoint,
            "namespace": self.namespace,
            "start": self.start.isoformat(),
            "stop": self.stop.isoformat(),
            "replica_minutes": round(self.replica_seconds / 60, 3),
            "running_minutes": None if running is None else round(running / 60, 3),
            "initializing_minutes": None if running is None else round((self.replica_seconds - running) / 60, 3),
            "price_per_hour": self.price_per_hour,
            "usd": _rounded(self.usd),
            "rows": self.rows,
            "tokens": self.tokens,
            "usd_per_1000_rows": _rounded(self.usd_per_1000_rows),
            "usd_per_million_tokens": _rounded(self.usd_per_million_tokens),
            "source": self.source,
        }

    def summary(self) -> str:
        """One line for a log."""
        minutes = f"{self.replica_seconds / 60:.1f} replica-minutes"
        if self.running_seconds is not None:
            idle = max(0.0, self.replica_seconds - self.running_seconds)
            minutes += f" ({idle / 60:.1f} initializing, {self.running_seconds / 60:.1f} running)"
        price = "at an unknown price"
        if self.usd is not None and self.price_per_hour is not None:
            price = f"at {usd(self.price_per_hour)} an hour: {usd(self.usd, places=4)}"
        work = "".join(
            f", {usd(each, places=4)} per {what}"
            for each, what in ((self.usd_per_1000_rows, "1,000 rows"), (self.usd_per_million_tokens, "1M tokens"))
            if each is not None
        )
        return f"{self.namespace}/{self.endpoint} since {self.start:%H:%M:%S}: {minutes} {price}{work} ({self.source})"


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 9)


def weigh(
    endpoint: InferenceEndpoint,
    start: datetime,
    stop: datetime,
    *,
    price_per_hour: float | None,
    replicas: Sequence[Replica] | None,
    metrics: Metrics | None,
) -> Cost:
    """The cost of `endpoint` between `start` and `stop`, from the best witness.

    :param replicas: what the service lists, ended ones among them; None where it could not be asked
    :param metrics: running replicas over that time; None where they could not be had
    :raises CostUnknownError: there is neither, and the endpoint has stopped
    """
    running = None if metrics is None else running_seconds(metrics)
    lived = None if not replicas else lifetimes(replicas, start, stop)
    seconds: float
    source: Source
    if lived is not None and (running is None or metrics is None or lived >= _at_least(running, metrics)):
        seconds, source = lived, "replica lifetimes"
        running = None if running is None else min(running, lived)
    elif running is not None:
        seconds, source = running, "replica metric"
    elif endpoint.status not in BILLED and endpoint.status != InferenceEndpointStatus.PENDING:
        # A paused endpoint may have run the whole time before: 0 would be a guess.
        raise CostUnknownError(
            f"The cost of endpoint {endpoint.name!r} since {start:%Y-%m-%d %H:%M:%S} cannot be determined: it is "
            f"{endpoint.status} now, and the service returned neither its replicas nor their metric. "
            "See the invoice, or try again later."
        )
    else:
        # Billed as long as it was looked at, by what this one look shows.
        replicas_now = max(endpoint.ready_replica, endpoint.target_replica, 1)
        seconds = (stop - start).total_seconds() * replicas_now if endpoint.status in BILLED else 0.0
        source = "observed states"
    return Cost(
        endpoint=endpoint.name,
        namespace=endpoint.namespace,
        start=start,
        stop=stop,
        replica_seconds=seconds,
        running_seconds=running,
        price_per_hour=price_per_hour,
        source=source,
        created=endpoint.created_at,
    )


def _at_least(running: float, metrics: Metrics) -> float:
    """What the lifetimes behind a metric must come to."""
    peak = max((point.y or 0.0 for series in metrics.series for point in series.data), default=0.0)
    return running * (1 - _METRIC_SLACK) - _SAMPLES_SLACK * peak * max(1, metrics.time_window_seconds)


def lifetimes(replicas: Iterable[Replica], start: datetime, stop: datetime) -> float | None:
    """Seconds that replicas lived between `start` and `stop`; None where one has no beginning."""
    total = 0.0
    for replica in replicas:
        if replica.started_at is None:
            return None
        ended = min(stop, replica.stopped_at or stop)
        total += max(0.0, (ended - max(start, replica.started_at)).total_seconds())
    return total


def running_seconds(metrics: Metrics) -> float | None:
    """Replica-seconds under the graph of running replicas: each value counts until the next one."""
    series = [each for each in metrics.series if each.status in ("running", "")]
    points = sorted(
        {point.x: point.y for each in series for point in each.data if point.x and point.y is not None}.items()
    )
    if not points:
        return None
    ends = metrics.stop or points[-1][0]
    total = sum(count * (later - moment).total_seconds() for (moment, count), (later, _) in pairwise(points))
    return total + points[-1][1] * max(0.0, (ends - points[-1][0]).total_seconds())


def price_of(place: Place, offered: Iterable[Hardware]) -> float | None:
    """USD per replica and hour of the instance at `place`; None where the service does not list it."""
    for choice in offered:
        if choice.place == place:
            return choice.price_per_hour
    return None
