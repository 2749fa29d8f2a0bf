"""Resume a paused endpoint, send a batch through it, pause it again.

Shows: one endpoint for many runs, which costs money only while a run needs it. The pause is a teardown, so it also
runs if the batch fails.

Costs: the endpoint's price while it starts and runs. The one that `hf_endpoints_batch_text_generation` leaves behind
costs 0.033 USD an hour. Nothing on the emulator.

Change: NAME (an endpoint that exists: run `hf_endpoints_batch_text_generation` once, or use another one), INPUT,
the prompt, and `output_folder`.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
INPUT = str(Path(__file__).parent / "data" / "support_tickets.jsonl")
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"

with DAG(
    dag_id="hf_endpoints_resume_batch_pause",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,  # another run would be paused when this one ends
    params={"output_folder": OUTPUT_FOLDER},
    tags=["hf-endpoints", "example"],
) as dag:
    # The setup of the pause. It does not wait: a teardown runs only if its setup has succeeded, so the pause runs
    # however the start ends.
    resume = ResumeInferenceEndpointOperator(task_id="resume", endpoint=NAME, wait_for_completion=False)

    # A batch waits for its endpoint. `deferrable` moves that wait into the triggerer.
    summarise = BatchInferenceOperator(
        task_id="summarise",
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
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint=NAME)
    pause.as_teardown(setups=resume)
    # Airflow ignores teardowns when it judges a run; this makes a pause that failed count, beside the work.
    done = EmptyOperator(task_id="done")

    resume >> summarise >> pause
    [summarise, pause] >> done
