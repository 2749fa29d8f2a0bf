"""The data plane: calls to running endpoints, one (`client`) or very many (`batch`). Imports no Airflow.

Nothing here knows the control plane: an endpoint is a URL and a token. Creating and stopping one is in `endpoints/`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_hf_endpoints.inference.client import AsyncInferenceClient, InferenceClient
    from airflow_provider_hf_endpoints.inference.errors import InferenceError
    from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage

__all__ = ["AsyncInferenceClient", "InferenceClient", "InferenceError", "InferenceResult", "Usage"]

# Loaded when asked for: a batch needs neither the single-call client nor the HTTP library behind it.
_MODULES = {
    "AsyncInferenceClient": "client",
    "InferenceClient": "client",
    "InferenceError": "errors",
    "InferenceResult": "wire",
    "Usage": "wire",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
