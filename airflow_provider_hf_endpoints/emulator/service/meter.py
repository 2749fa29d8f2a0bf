"""The cost of an endpoint: seconds and dollars by state and by replica. Pure: a function of (endpoint, now).

The service bills per minute and replica while an endpoint initializes and runs; paused and scaledToZero are free. A
replica exists in no other states, so the billed time is the replicas' lifetimes, divided at the changes of state.
Prices apply to the service's minutes: with `seconds_per_minute=1` a second here costs what a minute costs there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from airflow_provider_hf_endpoints.emulator.service.record import Endpoint, Replica


def measure(endpoint: Endpoint, now: float) -> dict[str, Any]:
    """The meter at `now`, for an endpoint advanced to `now`.

    `seconds` is by the clock, and `replica_seconds` counts every replica. `usd` is exact; for `usd_by_minute` every
    replica's lifetime is rounded up to whole minutes.
    """
    states: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "replica_seconds": 0.0, "usd": 0.0})
    for index, moment in enumerate(endpoint.history):
        if moment.state == "deleted":
            break
        following = endpoint.history[index + 1 : index + 2]
        end = following[0].at if following else now
        line = states[moment.state]
        line["seconds"] += end - moment.at
        for replica in endpoint.replicas:
            seconds = _overlap(replica, moment.at, end, now)
            line["replica_seconds"] += seconds
            line["usd"] += _usd(endpoint, replica, seconds)
    replicas = [_replica(endpoint, replica, now) for replica in endpoint.replicas]
    return {
        "namespace": endpoint.namespace,
        "name": endpoint.name,
        "state": endpoint.history[-1].state if endpoint.history else endpoint.state.value,
        "price_per_hour": endpoint.price_per_hour,
        "seconds_per_minute": endpoint.seconds_per_minute,
        "states": dict(states),
        "replicas": replicas,
        "billed_seconds": sum(r["seconds"] for r in replicas),
        "usd": sum(r["usd"] for r in replicas),
        "usd_by_minute": sum(r["usd_by_minute"] for r in replicas),
    }


def _overlap(replica: Replica, start: float, end: float, now: float) -> float:
    stopped = now if replica.stopped_at is None else replica.stopped_at
    return max(0.0, min(end, stopped) - max(start, replica.started_at))


def _usd(endpoint: Endpoint, replica: Replica, seconds: float) -> float:
    return replica.price_per_hour * seconds / endpoint.seconds_per_minute / 60.0


def _replica(endpoint: Endpoint, replica: Replica, now: float) -> dict[str, Any]:
    seconds = _overlap(replica, replica.started_at, now, now)
    minutes = math.ceil(round(seconds / endpoint.seconds_per_minute, 6))
    return {
        "id": replica.id,
        "price_per_hour": replica.price_per_hour,
        "seconds": seconds,
        "usd": _usd(endpoint, replica, seconds),
        "usd_by_minute": replica.price_per_hour * minutes / 60.0,
        "running": replica.stopped_at is None,
    }
