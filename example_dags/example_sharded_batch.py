"""Divide one batch among mapped tasks, and merge their outputs.

Shows: a planner that cuts the input by its size, four batches that share one endpoint and one limit, and a merge that
writes the file that one worker would have written. A shard that is killed resumes; the others are not touched.
The pause is a teardown of the shards only: the merge needs no endpoint, so the endpoint does not bill meanwhile.

Costs: the endpoint's price while it starts and the shards run. The one that `hf_endpoints_batch_text_generation` leaves
behind costs 0.033 USD an hour. Nothing on the emulator.

Change: NAME (an endpoint that exists: run `hf_endpoints_batch_text_generation` once, or use another one), the
prompt, `shards` and how many of them run at the same time, and `input_path` and `output_folder` (below, or when you
trigger the DAG). If workers are on several machines, all of them must reach both, e.g. on S3.
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
)
from airflow_provider_hf_endpoints.operators.inference import (
    BatchInferenceOperator,
    MergeBatchShardsOperator,
    PlanBatchShardsOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
INPUT = str(Path(__file__).parent / "data" / "support_tickets.jsonl")
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"
# Planner, shards and merge find each other by these.
PATHS: dict[str, Any] = {"input_path": "{{ params.input_path }}", "output_path": f"{RUN_FOLDER}/summaries.jsonl"}

with DAG(
    dag_id="hf_endpoints_sharded_batch",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,  # another run would be paused when this one ends
    params={"input_path": INPUT, "output_folder": OUTPUT_FOLDER},
    tags=["hf-endpoints", "example"],
) as dag:
    # Before the endpoint is started: an input that cannot be used costs nothing.
    plan = PlanBatchShardsOperator(task_id="plan", shards=4, **PATHS)

    resume = ResumeInferenceEndpointOperator(task_id="resume", endpoint=NAME, wait_for_completion=False)
    # One wait for all shards, in the triggerer.
    ready = InferenceEndpointSensor(task_id="wait_until_ready", endpoint=NAME, timeout=1800, deferrable=True)

    summarise = BatchInferenceOperator.partial(
        task_id="summarise",
        endpoint=NAME,
        task="chat-completion",
        prompt="Summarise this support ticket in one sentence: {text}",
        id_column="id",
        parameters={"max_tokens": 48, "temperature": 0},
        fail_on_errors=True,  # judged over all rows, when they are merged
        max_active_tis_per_dagrun=2,  # at the same time; each then has half of the limit
        map_index_template="{{ task.shard['number'] + 1 }} of {{ task.shard['of'] }}",
        retries=2,
        retry_delay=timedelta(seconds=10),
        **PATHS,
    ).expand(shard=plan.output)

    merge = MergeBatchShardsOperator(task_id="merge", output_path=PATHS["output_path"])
    pause = PauseInferenceEndpointOperator(task_id="pause", endpoint=NAME)
    pause.as_teardown(setups=resume)
    # Airflow ignores teardowns when it judges a run; this makes a pause that failed count, beside the work.
    done = EmptyOperator(task_id="done")

    plan >> resume >> ready >> summarise >> pause
    summarise >> merge
    [merge, pause] >> done
