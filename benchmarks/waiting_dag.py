"""The waiting benchmark's DAG: one sensor for each endpoint, in a pool without a slot, so that no worker takes part."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

WAITS = int(os.environ.get("WAITING_BENCHMARK_WAITS", "1000"))

with DAG("waiting", schedule=None, max_active_tasks=WAITS + 1):
    InferenceEndpointSensor.partial(task_id="wait", pool="no_slots", deferrable=True).expand(
        endpoint=[f"e-{number}" for number in range(WAITS)]
    )
