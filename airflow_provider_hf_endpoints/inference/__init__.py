"""The data plane: calls to running endpoints, one (`client`) or very many (`batch`). Imports no Airflow."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.client import AsyncInferenceClient, InferenceClient
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage

__all__ = ["AsyncInferenceClient", "InferenceClient", "InferenceError", "InferenceResult", "Usage"]
