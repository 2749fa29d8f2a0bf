"""DAGs of the production tests: everything that tasks share is on S3, or in Airflow."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.production.sizes import FLEET, FLEETS

ENDPOINT = "{{ params.endpoint }}"
MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "task": "text-generation",
    "hardware": ["aws/us-east-1/intel-icl/x2"],
    "poll_interval": 1,
    "group_id": "use",
}
PARAMS = {
    "endpoint": Param("production", type="string"),
    "input": Param("", type="string"),
    "output": Param("", type="string"),
    "gate": Param("", type="string"),
}
STORES = ("default", "s3", "files")  # connections that differ in where leases are

with DAG("production_batch", schedule=None, params=PARAMS), inference_endpoint(ENDPOINT, **MODEL) as endpoint:
    BatchInferenceOperator(
        task_id="batch",
        endpoint=endpoint,
        task="chat-completion",
        input_path="{{ params.input }}",
        output_path="{{ params.output }}",
        prompt="{question}",
        max_concurrency=2,
        retries=5,
        retry_delay=timedelta(seconds=5),
    )

with (
    DAG("production_start", schedule=None, params=PARAMS),
    inference_endpoint(ENDPOINT, hf_endpoints_conn_id="hf_endpoints_starting", **MODEL) as endpoint,
):

    @task(retries=2, retry_delay=timedelta(seconds=2))
    def ask(endpoint: dict[str, Any]) -> str:
        """Needs nothing but the endpoint's address."""
        return str(endpoint["url"])

    ask(endpoint)


@task(retries=5, retry_delay=timedelta(seconds=5))
def work(endpoint: dict[str, Any], params: dict[str, Any] | None = None) -> str:
    """Runs until the object `gate` is there, a hang bound apart."""
    assert params is not None
    gate = params["gate"]
    for _ in range(1800):
        if not gate or ObjectStoragePath(gate).exists():
            break
        time.sleep(1)
    return str(endpoint["url"])


for store in STORES:
    with (
        DAG(f"production_use_{store}", schedule=None, params=PARAMS),
        inference_endpoint(ENDPOINT, hf_endpoints_conn_id=f"hf_endpoints_{store}", **MODEL) as endpoint,
    ):
        work(endpoint)

with (
    DAG(
        "production_daily", schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, params=PARAMS
    ),
    inference_endpoint(ENDPOINT, **MODEL) as endpoint,
):
    work(endpoint)

for fleet in range(FLEETS):
    with DAG(f"production_sensors_{fleet}", schedule=None, params=PARAMS):
        for number in range(FLEET):
            InferenceEndpointSensor(
                task_id=f"wait_{number}",
                endpoint=ENDPOINT,
                hf_endpoints_conn_id="hf_endpoints_starting",
                start_from_trigger=True,
                timeout=3600,
            )
