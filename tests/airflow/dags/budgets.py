"""DAGs of the live tests whose endpoints may cost, or take, no more than a budget."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.endpoints import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

ENDPOINT = "{{ params.endpoint }}"
PARAMS = {"endpoint": Param("live", type="string"), "folder": Param("", type="string")}
MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "framework": "pytorch",
    "task": "text-generation",
    "hardware": ["aws/us-east-1/intel-icl/x2"],
    "poll_interval": 1,
}
AGAIN: dict[str, Any] = {"retries": 4, "retry_delay": timedelta(seconds=1)}

with (
    DAG("live_budget", schedule=None, params=PARAMS),
    inference_endpoint(ENDPOINT, max_cost=5.0, max_runtime=30, group_id="use", **MODEL) as endpoint,
):
    BatchInferenceOperator(
        task_id="batch",
        endpoint=endpoint,
        task="text-generation",
        prompt="{text}",
        input_path="{{ params.folder }}/in.jsonl",
        output_path="{{ params.folder }}/out",
        max_concurrency=1,
        **AGAIN,
    )

with DAG("live_budget_of_start", schedule=None, params=PARAMS):
    CreateInferenceEndpointOperator(
        task_id="create", name=ENDPOINT, max_runtime=20, timeout=5, deferrable=False, **MODEL, **AGAIN
    )

with DAG("live_budget_sum", schedule=None, params=PARAMS):

    @task
    def total(params: dict[str, Any] | None = None) -> None:
        """What the runs of another DAG have cost, as one call tells it."""
        assert params is not None
        with InferenceEndpointsHook() as hook:
            found = asdict(hook.sum_costs("live_budget"))
        (Path(params["folder"]) / "sum.json").write_text(json.dumps(found))

    total()
