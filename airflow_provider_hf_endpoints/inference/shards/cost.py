"""The cost of a whole batch from its shards. Pure.

Each shard counts the whole endpoint while it runs, and shards run at the same time. So the cost of the whole is not the
sum: each moment in which any shard ran counts once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_hf_endpoints.inference.job.budget import Budget, Spending, Spent


@dataclass(frozen=True, slots=True)
class _Time:
    """When a shard's last run sent, in seconds, and with how many replicas on average."""

    began: float
    ended: float
    replicas: float


def cost_of_whole(manifests: Sequence[Mapping[str, Any]], totals: Mapping[str, Any]) -> dict[str, Any] | None:
    """The cost of a batch as its report has it, None if a shard knows none.

    Earlier runs of a shard, which were stopped or killed, are added: when they ran is not known.

    :param manifests: of all shards
    :param totals: the counts of the whole batch
    """
    costs = [manifest["report"].get("cost") for manifest in manifests]
    if not all(costs):
        return None
    # Of shards that are retried, some may have another price: the latest counts, as for retries of one worker.
    latest = max(manifests, key=lambda manifest: str(manifest["finished_at"]))
    budget = Budget(price_per_hour=latest["report"]["cost"]["price_per_hour"])
    earlier = sum(manifest["shard"].get("earlier_replica_seconds", 0.0) for manifest in manifests)
    times = [_time_of(manifest) for manifest in manifests]
    spent = Spent(earlier + _replica_seconds(times), 0.0, totals["rows"])
    return Spending(budget, 0.0).report(spent, totals["prompt_tokens"] + totals["completion_tokens"])


def _time_of(manifest: Mapping[str, Any]) -> _Time:
    report = manifest["report"]
    ended = datetime.fromisoformat(manifest["finished_at"]).timestamp()
    own = report["cost"]["replica_minutes"] * 60 - manifest["shard"].get("earlier_replica_seconds", 0.0)
    seconds = max(report["seconds"], 0.001)
    return _Time(ended - seconds, ended, max(0.0, own) / seconds)


def _replica_seconds(times: Iterable[_Time]) -> float:
    """Each moment counts once, with the most replicas that a shard saw."""
    times = list(times)
    moments = sorted({moment for each in times for moment in (each.began, each.ended)})
    total = 0.0
    for began, ended in itertools.pairwise(moments):
        seen = [each.replicas for each in times if each.began <= began and each.ended >= ended]
        total += max(seen, default=0.0) * (ended - began)
    return total
