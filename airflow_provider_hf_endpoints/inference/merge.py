"""The public name of `shards/merge.py`, which merges many shards into one output."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards

__all__ = ["merge_shards"]
