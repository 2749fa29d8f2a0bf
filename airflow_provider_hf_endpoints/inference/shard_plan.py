"""The public name of `shards/planner.py`, which divides a batch into shards."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch

__all__ = ["plan_batch"]
