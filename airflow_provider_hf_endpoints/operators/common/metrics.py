"""Airflow's metrics: of a running batch, what has come since the snapshot before; of a release, what a run has cost.

Names and tags are listed in `docs/operations/metrics.md`. Tags are few: DAG, task, of a batch the endpoint, and the
kind of an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import Context, Stats

from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.inference.batch import Snapshot

PREFIX = "hf_endpoints.batch"
_COST = "hf_endpoints.cost"


def batch_metrics(context: Context, endpoint: str) -> Callable[[Snapshot], None]:
    """An observer for `run_batch` that sends metrics, tagged with the task that runs."""
    tags = {**_task_tags(context), "endpoint": endpoint}
    before: dict[str, int] = {}

    def since(name: str, value: int) -> int:
        """How much a count has grown since the last snapshot."""
        grown = value - before.get(name, 0)
        before[name] = value
        return grown

    def send(snapshot: Snapshot) -> None:
        counts = {
            "rows": snapshot.done,
            "requests": snapshot.requests,
            "retries": snapshot.retries,
            "prompt_tokens": snapshot.prompt_tokens,
            "completion_tokens": snapshot.completion_tokens,
            "rows_failed": snapshot.failed,
        }
        for name, count in counts.items():
            if grown := since(name, count):
                Stats.incr(f"{PREFIX}.{name}", grown, tags=tags)
        for kind, count in snapshot.errors.items():
            if grown := since(f"errors {kind}", count):
                Stats.incr(f"{PREFIX}.errors", grown, tags={**tags, "kind": kind})
        Stats.gauge(f"{PREFIX}.limit", snapshot.limit, tags=tags)
        Stats.gauge(f"{PREFIX}.in_flight", snapshot.in_flight, tags=tags)
        for name, seconds in zip(("p50", "p95", "p99"), snapshot.latencies or (), strict=False):
            Stats.timing(f"{PREFIX}.latency_{name}", seconds * 1000.0, tags=tags)

    return send


def send_cost(context: Context, cost: Cost) -> None:
    """The cost of a run's endpoint: gauges of the run, and counters in whole units, which add up over runs.

    The endpoint is not a tag: a name may contain a date, and each name would make a new series.
    """
    tags = _task_tags(context)
    Stats.gauge(f"{_COST}.replica_minutes", cost.replica_seconds / 60.0, tags=tags)
    Stats.incr(f"{_COST}.billed_seconds", round(cost.replica_seconds), tags=tags)
    if cost.usd is not None:
        Stats.gauge(f"{_COST}.usd", cost.usd, tags=tags)
        Stats.incr(f"{_COST}.microdollars", round(cost.usd * 1e6), tags=tags)


def _task_tags(context: Context) -> dict[str, str]:
    ti: Any = context["ti"]
    named = {"dag_id": getattr(ti, "dag_id", None), "task_id": getattr(ti, "task_id", None)}
    return {name: str(value) for name, value in named.items() if value}
