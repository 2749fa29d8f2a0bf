"""Every hour: find endpoints that bill although no run needs them, and pause them.

Shows: the last resort, if everything was killed at once. A run that ends in any other way releases its endpoint. An
endpoint is left over if this provider's tasks started it for a DAG run that has ended, or if its last lease has
expired; here also if nobody has used it for an hour. An endpoint that a DAG keeps (`keep=True`) or a person keeps (the
tag `airflow-keep`, or its name in Airflow's Variable `hf_endpoints_keep`) is left alone, and so is one that is used.

Costs: nothing.

Change: `only_report` to True for a first look, and `idle`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator

with DAG(
    dag_id="hf_endpoints_sweep_endpoints",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={"only_report": Param(False, type="boolean", description="Say what would be paused, and pause nothing.")},
    tags=["hf-endpoints", "example"],
) as dag:
    SweepInferenceEndpointsOperator(
        task_id="sweep",
        only_report="{{ params.only_report }}",
        idle=timedelta(hours=1),
        retries=2,
    )
