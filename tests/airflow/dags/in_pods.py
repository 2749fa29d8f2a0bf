"""DAGs of the live tests whose tasks run as in a pod each: `modules/pod_executor.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator

ENDPOINT = "{{ params.endpoint }}"
PARAMS = {
    "namespace": Param("acme", type="string"),
    "endpoint": Param("live", type="string"),
    "input_path": Param("", type="string"),
    "output_path": Param("", type="string"),
}
PODS = "pod_executor.PodExecutor"
MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "framework": "pytorch",
    "task": "text-generation",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
    "poll_interval": 1,
    "deferrable": False,
    "retries": 0,
}

with DAG("live_pod_create", schedule=None, params=PARAMS):
    CreateInferenceEndpointOperator(
        task_id="create", name=ENDPOINT, namespace="{{ params.namespace }}", executor=PODS, **MODEL
    )

with DAG("live_pod_batch", schedule=None, params=PARAMS):
    create = CreateInferenceEndpointOperator(task_id="create", name=ENDPOINT, **MODEL)
    batch = BatchInferenceOperator(
        task_id="batch",
        endpoint=ENDPOINT,
        task="chat-completion",
        input_path="{{ params.input_path }}",
        output_path="{{ params.output_path }}",
        prompt="Summarise: {text}",
        max_concurrency=4,
        job_options={"checkpoint_interval": 0.2},
        retries=1,
        retry_delay=timedelta(seconds=1),
        executor=PODS,
    )
    create >> batch >> PauseInferenceEndpointOperator(task_id="pause", endpoint=ENDPOINT).as_teardown(setups=create)
