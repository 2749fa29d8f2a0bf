"""A person is asked before something dear is started (Airflow 3.1 and later)."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

try:
    from airflow_provider_hf_endpoints.operators.approval import ApproveHardwareOperator
except AirflowOptionalProviderFeatureException as reason:  # Airflow 3.0 has no human in the loop
    print(f"No approvals here: {reason}")
else:
    with DAG("live_approval", schedule=None, start_date=datetime(2026, 1, 1)):
        cheap = ApproveHardwareOperator(
            task_id="cheap", hardware=["aws/us-east-1/nvidia-t4/x1"], price_above=1.0, max_replica=2
        )
        dear = ApproveHardwareOperator(
            task_id="dear", hardware=["aws/us-east-1/nvidia-l4/x1", "aws/us-east-1/nvidia-t4/x1"], price_above=0.7
        )
        cheap >> dear >> EmptyOperator(task_id="start")
