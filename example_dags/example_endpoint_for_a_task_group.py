"""An endpoint for as long as two batches need it: created or resumed before them, paused after them, however they end.

Shows: `inference_endpoint(…)`, which places start and release around the tasks inside, and a second choice of hardware.
The run fails if the work or the release fails, and in no other case.

Costs: one CPU replica at 0.033 USD an hour while it starts and runs, about ten minutes: less than a cent. Nothing on
the emulator.

Change: NAME, the model, HARDWARE, INPUT, the prompts, `release`, and `output_folder` (here, or when you trigger the
DAG).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
HARDWARE = ["aws/us-east-1/intel-spr/x1", "aws/eu-west-1/intel-spr/x1"]
INPUT = str(Path(__file__).parent / "data" / "support_tickets.jsonl")
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"
LLAMACPP = {
    "llamacpp": {
        "url": "ghcr.io/ggml-org/llama.cpp:server",
        "modelPath": "SmolLM2-135M-Instruct-Q8_0.gguf",
        "ctxSize": 4096,  # tokens, shared by the slots
        "nParallel": 4,  # slots: requests that the engine processes at the same time
    }
}

with (
    DAG(
        dag_id="hf_endpoints_endpoint_for_a_task_group",
        doc_md=__doc__,
        schedule=None,
        params={"output_folder": OUTPUT_FOLDER},
        tags=["hf-endpoints", "example"],
    ) as dag,
    inference_endpoint(
        NAME,
        repository="bartowski/SmolLM2-135M-Instruct-GGUF",
        framework="llamacpp",
        task="text-generation",
        custom_image=LLAMACPP,
        hardware=HARDWARE,
        max_startup=1800,  # seconds, for both choices of hardware together
        release="pause",
    ) as endpoint,
):
    summarise = BatchInferenceOperator(
        task_id="summarise",
        endpoint=endpoint,
        task="chat-completion",
        input_path=INPUT,
        output_path=f"{RUN_FOLDER}/summaries.jsonl",
        prompt="Summarise this support ticket in one sentence: {text}",
        id_column="id",
        parameters={"max_tokens": 48, "temperature": 0},
        fail_on_errors=True,
    )
    translate = BatchInferenceOperator(
        task_id="translate",
        endpoint=endpoint,
        task="chat-completion",
        input_path=INPUT,
        output_path=f"{RUN_FOLDER}/translations.jsonl",
        prompt="Translate into French: {text}",
        id_column="id",
        parameters={"max_tokens": 48, "temperature": 0},
        fail_on_errors=True,
    )
    summarise >> translate
