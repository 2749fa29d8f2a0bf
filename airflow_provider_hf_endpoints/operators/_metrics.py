"""Airflow's metrics of a running batch: what has come since the snapshot before, as counters, gauges and timings.

Names and tags stand in `docs/batch.md`. Tags are few: the DAG, the task, the endpoint, and the kind of an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import Context, Stats

from airflow_provider_hf_endpoints.inference.batch import Snapshot

PREFIX = "hf_endpoints.batch"


def batch_metrics(context: Context, endpoint: str) -> Callable[[Snapshot], None]:
    """An observer for `run_batch` that sends metrics, tagged with the task that runs."""
    ti: Any = context["ti"]
    named = {"dag_id": getattr(ti, "dag_id", None), "task_id": getattr(ti, "task_id", None), "endpoint": endpoint}
    tags = {name: str(value) for name, value in named.items() if value}
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
