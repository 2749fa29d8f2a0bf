"""Every hour: find endpoints that still bill although nobody needs them any more, and pause them.

Shows: the last resort, for when everything was killed at once; a run that ends in any other way releases its endpoint
itself. Left over is what this provider's tasks have started for a DAG run that has ended, or on which the last lease
has expired; here also what nobody has used for an hour. What a DAG keeps (`keep=True`) or a person (the tag
`airflow-keep` on the endpoint, its name in Airflow's Variable `hf_endpoints_keep`) is left alone, and so is what
somebody uses.

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
