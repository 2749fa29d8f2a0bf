"""The lifecycle operators: create, update, pause, resume, scale to zero and delete an endpoint.

The public names; the implementation is in `starting/` and `changing/`.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.operators.changing.stop import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.changing.update import UpdateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.common.secrets import FromConnection, FromVariable
from airflow_provider_hf_endpoints.operators.starting.create import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.starting.resume import ResumeInferenceEndpointOperator

__all__ = [
    "CreateInferenceEndpointOperator",
    "DeleteInferenceEndpointOperator",
    "FromConnection",
    "FromVariable",
    "PauseInferenceEndpointOperator",
    "ResumeInferenceEndpointOperator",
    "ScaleToZeroInferenceEndpointOperator",
    "UpdateInferenceEndpointOperator",
]
