"""Create an endpoint, wait for it without a worker, send 40 support tickets through it twice, pause it.

Shows: a batch over an endpoint that runs only while it is needed. The pause is a teardown, so it also runs if a batch
fails. The endpoint stays, paused and free; the next run resumes it instead of creating another one.

Costs: one CPU replica at 0.033 USD an hour while it starts and runs, about ten minutes: less than a cent. Nothing on
the emulator.

Change: NAME, the model and its hardware, INPUT, the prompts, and `output_folder` (below, or when you trigger the DAG).
If workers are on several machines, all of them must reach the folder, e.g. `s3://my_aws@my-bucket/tickets`.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
INPUT = str(Path(__file__).parent / "data" / "support_tickets.jsonl")
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
# A folder for each run: a retry finds the rows that its run has done, and another run starts empty.
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"
LABELS = ["billing", "bug", "wish", "question", "account", "delivery"]
ONE_OF_THE_LABELS = {
    "type": "json_schema",
    "json_schema": {"name": "label", "schema": {"type": "string", "enum": LABELS}},
}

with DAG(
    dag_id="hf_endpoints_batch_text_generation",
    doc_md=__doc__,
    schedule=None,
    # Two runs at once would share the endpoint, and the first one to end would pause it while the other works.
    max_active_runs=1,
    params={"output_folder": OUTPUT_FOLDER},
    tags=["hf-endpoints", "example"],
) as dag:
    # A teardown runs only if its setup has succeeded. So the setup only creates, and the wait is another task: from the
    # moment that the endpoint exists, the teardown will pause it.
    create = CreateInferenceEndpointOperator(
        task_id="create",
        name=NAME,
        repository="bartowski/SmolLM2-135M-Instruct-GGUF",
        framework="llamacpp",
        task="text-generation",
        custom_image={
            "llamacpp": {
                "url": "ghcr.io/ggml-org/llama.cpp:server",
                "modelPath": "SmolLM2-135M-Instruct-Q8_0.gguf",
                "ctxSize": 4096,  # tokens, shared by the slots
                "nParallel": 4,  # slots: requests that the engine processes at the same time
            }
        },
        vendor="aws",
        region="us-east-1",
        accelerator="cpu",
        instance_type="intel-spr",
        instance_size="x1",
        wait_for_completion=False,
    )
    # The wait is in the triggerer and occupies no worker. It ends when the model answers, or at once if it never will.
    ready = InferenceEndpointSensor(task_id="wait_until_ready", endpoint=NAME, timeout=1800, deferrable=True)

    summarise = BatchInferenceOperator(
        task_id="summarise",
        endpoint=NAME,
        task="chat-completion",
        input_path=INPUT,
        output_path=f"{RUN_FOLDER}/summaries.jsonl",
        prompt="Summarise this support ticket in one sentence: {text}",
        id_column="id",
        parameters={"max_tokens": 48, "temperature": 0},
        fail_on_errors=True,  # one failed row fails the task, too; the row's line has its error in any case
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    classify = BatchInferenceOperator(
        task_id="classify",
        endpoint=NAME,
        task="chat-completion",
        input_path=INPUT,
        output_path=f"{RUN_FOLDER}/classes.jsonl",
        system="You sort support tickets.",
        prompt="Is it about billing, a bug, a wish, a question, the account or the delivery? {product}: {text}",
        id_column="id",
        # With a JSON schema the model can only answer one of the labels. The answer ends with its line.
        parameters={"max_tokens": 8, "temperature": 0, "response_format": ONE_OF_THE_LABELS, "stop": ["\n"]},
        fail_on_errors=True,
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint=NAME)
    pause.as_teardown(setups=create)

    # Airflow ignores teardowns when it judges a run. This task is downstream of both, so the run fails if the work
    # failed or the endpoint could not be paused. (`on_failure_fail_dagrun=True` does not replace it: if only such a
    # teardown follows a task, the failure of the task no longer counts.)
    done = EmptyOperator(task_id="done")

    create >> ready >> summarise >> classify >> pause
    [classify, pause] >> done
