"""From a table into a table: the tickets of a query, each with a summary and an urgency, which a schema asks for.

Shows: `SqlRows`, whose rows are read once however often a task is tried, and `LoadBatchResultsOperator`, which writes
each result once. The load is outside of the group, so the endpoint is released before the database takes the rows.

Costs: one CPU replica at 0.033 USD an hour while it starts and runs, about ten minutes: less than a cent. Nothing on
the emulator.

Change: WAREHOUSE, a connection to any database with an Airflow hook (`HF_ENDPOINTS_EXAMPLE_WAREHOUSE`), NAME, the
model, HARDWARE, the prompt, the schema, and `output_folder` (here, or when you trigger the DAG). Replace the task
`fill`, which makes a small table of tickets there, by your own table.
"""

from __future__ import annotations

import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk import DAG, task

from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, LoadBatchResultsOperator
from airflow_provider_hf_endpoints.tables import SqlRows, SqlTable
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")
WAREHOUSE = os.environ.get("HF_ENDPOINTS_EXAMPLE_WAREHOUSE", "warehouse")
HARDWARE = ["aws/us-east-1/intel-spr/x1", "aws/eu-west-1/intel-spr/x1"]
TICKETS = Path(__file__).parent / "data" / "support_tickets.jsonl"
OUTPUT_FOLDER = os.environ.get("HF_ENDPOINTS_EXAMPLE_OUTPUT", f"{tempfile.gettempdir()}/hf-endpoints-example")
RUN_FOLDER = "{{ params.output_folder }}/{{ run_id | replace(':', '-') }}"
ANSWERS = f"{RUN_FOLDER}/tickets"
LLAMACPP = {
    "llamacpp": {
        "url": "ghcr.io/ggml-org/llama.cpp:server",
        "modelPath": "SmolLM2-135M-Instruct-Q8_0.gguf",
        "ctxSize": 4096,  # tokens, shared by the slots
        "nParallel": 4,  # slots: requests that the engine processes at the same time
    }
}
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "urgency": {"enum": ["low", "medium", "high"]}},
    "required": ["summary", "urgency"],
    "additionalProperties": False,
}

with DAG(
    dag_id="hf_endpoints_table_to_table",
    doc_md=__doc__,
    schedule=None,
    params={"output_folder": OUTPUT_FOLDER},
    tags=["hf-endpoints", "example"],
) as dag:

    @task
    def fill() -> None:
        """Make the table of tickets, if it is missing."""
        hook: Any = BaseHook.get_hook(WAREHOUSE)
        rows = [json.loads(line) for line in TICKETS.read_text(encoding="utf-8").splitlines()]
        hook.run("create table if not exists tickets (id varchar(20) primary key, body varchar(2000))")
        if not hook.get_first("select count(*) from tickets")[0]:
            hook.insert_rows("tickets", [(row["id"], row["text"]) for row in rows], target_fields=["id", "body"])

    group = inference_endpoint(
        NAME,
        repository="bartowski/SmolLM2-135M-Instruct-GGUF",
        framework="llamacpp",
        task="text-generation",
        custom_image=LLAMACPP,
        hardware=HARDWARE,
        max_startup=1800,  # seconds, for both choices of hardware together
        release="pause",
    )
    with group as endpoint:
        summarise = BatchInferenceOperator(
            task_id="summarise",
            endpoint=endpoint,
            task="chat-completion",
            input_rows=SqlRows(conn_id=WAREHOUSE, sql="select id, body from tickets order by id", key="id"),
            output_path=ANSWERS,
            prompt="Summarise the ticket in one sentence, and judge its urgency: {body}",
            parameters={"max_tokens": 128, "temperature": 0},
            response_schema=SCHEMA,
            retries=3,
        )
    load = LoadBatchResultsOperator(
        task_id="load",
        results=ANSWERS,
        output_table=SqlTable(
            conn_id=WAREHOUSE,
            table="ticket_summaries",  # its columns are the properties of the schema
            errors_table="ticket_failures",
            create_table=True,
        ),
        retries=10,
        retry_delay=timedelta(minutes=1),
    )
    fill() >> group >> load
