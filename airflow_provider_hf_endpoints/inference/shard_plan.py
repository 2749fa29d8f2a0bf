"""The public name of `shards/planner.py`: a batch divided into shards."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch

__all__ = ["plan_batch"]
