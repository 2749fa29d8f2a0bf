"""Scale an endpoint to zero between two bursts of work, and wake it for the second one.

Shows: work with a gap. An endpoint at zero bills nothing and starts again with the next request; a paused endpoint
must be resumed. The second burst reads what the first one wrote.

Costs: the endpoint's price while it starts and runs, twice; nothing in the gap. The one that
`hf_endpoints_batch_text_generation` leaves behind costs 0.033 USD an hour. Nothing on the emulator.

Change: NAME (an endpoint that exists and has a `scale_to_zero_timeout`, which scaling to zero needs: run
`hf_endpoints_batch_text_generation` once, or use another one), INPUT, the prompts, and what happens in the gap.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import (
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
INPUT = str(Path(__file__).parent / "data" / "support_tickets.jsonl")
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"

with DAG(
    dag_id="hf_endpoints_scale_to_zero_between_bursts",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params={"output_folder": OUTPUT_FOLDER},
    tags=["hf-endpoints", "example"],
) as dag:
    # Resumes a paused endpoint, wakes one at zero, and succeeds at once if the endpoint runs.
    resume = ResumeInferenceEndpointOperator(task_id="resume", endpoint=NAME, wait_for_completion=False)
    first_burst = BatchInferenceOperator(
        task_id="first_burst",
        endpoint=NAME,
        task="chat-completion",
        input_path=INPUT,
        output_path=f"{RUN_FOLDER}/summaries.jsonl",
        prompt="Summarise this support ticket in one sentence: {text}",
        id_column="id",
        parameters={"max_tokens": 48, "temperature": 0},
        fail_on_errors=True,
        startup_timeout=timedelta(minutes=30),
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    sleep = ScaleToZeroInferenceEndpointOperator(task_id="scale_to_zero_in_between", endpoint=NAME)
    gap = EmptyOperator(task_id="work_without_the_endpoint")

    # The sensor wakes an endpoint at zero by default (`on_scaled_to_zero="wake"`). A batch would do so,
    # too; a separate task shows in the run how long the start took.
    awake = InferenceEndpointSensor(task_id="wake_and_wait", endpoint=NAME, timeout=1800, deferrable=True)
    second_burst = BatchInferenceOperator(
        task_id="second_burst",
        endpoint=NAME,
        task="chat-completion",
        input_path=f"{RUN_FOLDER}/summaries.jsonl",
        output_path=f"{RUN_FOLDER}/urgency.jsonl",
        prompt="Is this urgent? Answer yes or no. {output}",
        id_column="id",
        parameters={"max_tokens": 4, "temperature": 0},
        fail_on_errors=True,
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    # The teardown: whichever task failed above, nothing is billed afterwards.
    stop = ScaleToZeroInferenceEndpointOperator(task_id="scale_to_zero", endpoint=NAME)
    stop.as_teardown(setups=resume)
    # Airflow ignores teardowns when it judges a run; this makes one that failed count, beside the work.
    done = EmptyOperator(task_id="done")

    resume >> first_burst >> sleep >> gap >> awake >> second_burst >> stop
    [second_burst, stop] >> done
