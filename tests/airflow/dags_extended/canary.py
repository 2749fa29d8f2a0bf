"""The DAG of the canary search: an endpoint that is given secrets in every way, fails, and prints all of them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    FromConnection,
    FromVariable,
    ResumeInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

# From the environment: Airflow keeps the source of every DAG in its database.
INLINE = os.environ.get("CANARY_INLINE", "none")
SECRETS: dict[str, Any] = {
    "API_KEY": INLINE,
    "VAULT": FromConnection("canary_vault", "api_key"),
    "VARIABLE": FromVariable("canary_variable"),
}
WHERE: dict[str, Any] = {"namespace": "{{ params.namespace }}"}
ENDPOINT: dict[str, Any] = {"endpoint": "{{ params.endpoint }}", **WHERE}
AFTER: dict[str, Any] = {"trigger_rule": "all_done"}
PASSWORD = FromConnection("canary_vault")

with DAG(
    "canary",
    schedule=None,
    params={"endpoint": Param("canary", type="string"), "namespace": Param("acme", type="string")},
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1), "poll_interval": 1},
):
    create = CreateInferenceEndpointOperator(
        task_id="create",
        name="{{ params.endpoint }}",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        framework="custom",
        task="text-generation",
        vendor="aws",
        region="us-east-1",
        accelerator="cpu",
        instance_type="intel-icl",
        instance_size="x2",
        custom_image={"url": "registry.acme/x"},
        container_registry_username="robot",
        container_registry_password=PASSWORD,
        secrets=SECRETS,
        deferrable=True,
        on_failure="none",
        **WHERE,
    )
    watch = InferenceEndpointSensor(task_id="watch", deferrable=True, poke_interval=1, **ENDPOINT, **AFTER)
    poke = InferenceEndpointSensor(task_id="poke", deferrable=False, poke_interval=1, **ENDPOINT, **AFTER)
    update = UpdateInferenceEndpointOperator(task_id="update", max_replica=2, secrets=SECRETS, **ENDPOINT, **AFTER)
    resume = ResumeInferenceEndpointOperator(task_id="resume", deferrable=False, **ENDPOINT, **AFTER)
    mapped = UpdateInferenceEndpointOperator.partial(
        task_id="mapped", endpoint="{{ params.endpoint }}", secrets={"VAULT": PASSWORD}, **WHERE, **AFTER
    ).expand(changes=[{"max_replica": 1}])
    create >> watch >> poke >> update >> resume >> mapped
