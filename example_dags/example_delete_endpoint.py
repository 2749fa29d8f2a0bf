"""Delete an endpoint.

Shows: a clean-up that may run any number of times. An endpoint that does not exist is a success. The task ends when the
service no longer knows the endpoint.

Costs: nothing. A deletion cannot be undone: configuration, logs and metrics are deleted, too.

Change: NAME. `missing_ok=False` makes a missing endpoint an error.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import DeleteInferenceEndpointOperator

NAME = os.environ.get("HF_ENDPOINTS_EXAMPLE_NAME", "airflow-example")

with DAG(
    dag_id="hf_endpoints_delete_endpoint",
    doc_md=__doc__,
    schedule=None,
    tags=["hf-endpoints", "example"],
) as dag:
    DeleteInferenceEndpointOperator(task_id="delete", endpoint=NAME)
