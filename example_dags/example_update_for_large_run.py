"""Give an endpoint more hardware and replicas for a large run, and remove them after the run.

Shows: two setups with their teardowns. `shrink` reverts `enlarge`, and `pause` reverts `resume`, also if the run
failed. A paused endpoint is changed without a rolling update, which would be billed: hence the order.

Costs: up to MAX_REPLICAS times the larger instance's price while the run lasts, here 4 times 0.067 USD an hour. Nothing
on the emulator.

Change: NAME (an endpoint that exists: run `hf_endpoints_batch_text_generation` once, or use another one), LARGE and
USUAL, INPUT and the prompt. If others use the endpoint at the same time, do not pause it: leave `resume` and `pause`
out and wait for the update with `InferenceEndpointSensor`.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
INPUT = str(Path(__file__).parent / "data" / "support_tickets.jsonl")
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"

MAX_REPLICAS = 4
CPU: dict[str, Any] = {"accelerator": "cpu", "instance_type": "intel-spr"}
LARGE = {**CPU, "instance_size": "x2", "max_replica": MAX_REPLICAS}
USUAL = {**CPU, "instance_size": "x1", "max_replica": 1}

with DAG(
    dag_id="hf_endpoints_update_for_large_run",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params={"output_folder": OUTPUT_FOLDER},
    tags=["hf-endpoints", "example"],
) as dag:
    enlarge = UpdateInferenceEndpointOperator(
        task_id="enlarge", endpoint=NAME, min_replica=0, wait_for_completion=False, **LARGE
    )
    resume = ResumeInferenceEndpointOperator(task_id="resume", endpoint=NAME, wait_for_completion=False)

    # The more requests wait, the more replicas the service starts, up to max_replica.
    large_run = BatchInferenceOperator(
        task_id="large_run",
        endpoint=NAME,
        task="chat-completion",
        input_path=INPUT,
        output_path=f"{RUN_FOLDER}/replies.jsonl",
        prompt="Write a short and friendly reply to this support ticket: {text}",
        id_column="id",
        parameters={"max_tokens": 96, "temperature": 0},
        fail_on_errors=True,
        startup_timeout=timedelta(minutes=30),
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint=NAME)
    pause.as_teardown(setups=resume)
    shrink = UpdateInferenceEndpointOperator(
        task_id="shrink", endpoint=NAME, min_replica=0, retries=5, retry_delay=timedelta(seconds=30), **USUAL
    )
    shrink.as_teardown(setups=enlarge)

    # Airflow ignores teardowns when it judges a run; this makes them count, beside the work.
    done = EmptyOperator(task_id="done")

    enlarge >> resume >> large_run >> pause >> shrink
    [large_run, pause, shrink] >> done
