"""The operators that send requests: one call, a whole file of rows, what divides and merges one, and what loads its
results.

The public names; the implementation is in `requesting/`.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.operators.requesting.batch import BatchInferenceOperator
from airflow_provider_hf_endpoints.operators.requesting.call import InferenceOperator
from airflow_provider_hf_endpoints.operators.requesting.loading import LoadBatchResultsOperator
from airflow_provider_hf_endpoints.operators.requesting.shards import MergeBatchShardsOperator, PlanBatchShardsOperator

__all__ = [
    "BatchInferenceOperator",
    "InferenceOperator",
    "LoadBatchResultsOperator",
    "MergeBatchShardsOperator",
    "PlanBatchShardsOperator",
]
