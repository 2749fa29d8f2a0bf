"""DAGs that the live tests run: one wait, and one batch whose endpoint a teardown pauses."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

ENDPOINT = "{{ params.endpoint }}"
NAMESPACE = "{{ params.namespace }}"
PARAMS = {
    "namespace": Param("acme", type="string"),
    "endpoint": Param("live", type="string"),
    "input_path": Param("", type="string"),
    "output_path": Param("", type="string"),
}

for dag_id in ("live_wait", "live_wait_again"):
    with DAG(dag_id, schedule=None, params=PARAMS):
        InferenceEndpointSensor(
            task_id="wait", endpoint=ENDPOINT, namespace=NAMESPACE, timeout=600, poke_interval=1, deferrable=True
        )

with DAG("live_create", schedule=None, params=PARAMS):
    CreateInferenceEndpointOperator(
        task_id="create",
        name=ENDPOINT,
        namespace=NAMESPACE,
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        framework="pytorch",
        task="text-generation",
        vendor="aws",
        region="us-east-1",
        accelerator="cpu",
        instance_type="intel-icl",
        instance_size="x2",
        deferrable=True,
    )

with DAG("live_batch", schedule=None, params=PARAMS):
    create = CreateInferenceEndpointOperator(
        task_id="create",
        name=ENDPOINT,
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        framework="pytorch",
        task="text-generation",
        vendor="aws",
        region="us-east-1",
        accelerator="cpu",
        instance_type="intel-icl",
        instance_size="x2",
        deferrable=True,
    )
    batch = BatchInferenceOperator(
        task_id="batch",
        endpoint=ENDPOINT,
        task="chat-completion",
        input_path="{{ params.input_path }}",
        output_path="{{ params.output_path }}",
        prompt="Summarise: {text}",
        parameters={"max_tokens": 16},
    )
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint=ENDPOINT).as_teardown(setups=create)
    create >> batch >> pause
