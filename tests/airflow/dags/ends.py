"""DAGs of the live tests whose tasks are ended by something else than their endpoint."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import DAG, Param
from airflow.triggers.base import BaseTrigger

from airflow_provider_hf_endpoints.operators.endpoints import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

ENDPOINT = "{{ params.endpoint }}"
PARAMS = {"endpoint": Param("live", type="string")}
MODEL: dict[str, Any] = {
    "name": ENDPOINT,
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "framework": "pytorch",
    "task": "text-generation",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
    "poll_interval": 1,
}


class GivenUpByAirflow(CreateInferenceEndpointOperator):
    """Airflow ends its deferral long before its trigger would."""

    def defer(
        self, *, trigger: BaseTrigger, method_name: str, kwargs: dict[str, Any] | None = None, timeout: Any = None
    ) -> NoReturn:
        """As Airflow's, with a limit of a second."""
        super().defer(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timedelta(seconds=1))


with DAG("live_on_worker", schedule=None, params=PARAMS):
    CreateInferenceEndpointOperator(task_id="create", deferrable=False, **MODEL)

with DAG("live_on_worker_again", schedule=None, params=PARAMS):
    CreateInferenceEndpointOperator(
        task_id="create", deferrable=False, retries=1, retry_delay=timedelta(seconds=1), **MODEL
    )

with DAG("live_execution_timeout", schedule=None, params=PARAMS):
    CreateInferenceEndpointOperator(task_id="create", deferrable=True, execution_timeout=timedelta(seconds=8), **MODEL)

with DAG("live_given_up", schedule=None, params=PARAMS):
    GivenUpByAirflow(task_id="create", deferrable=True, **MODEL)

# A template is rendered in the triggerer from Airflow 3.3 on; before that the name has to be fixed.
renders = hasattr(BaseTrigger, "render_template_fields")
with DAG("live_begin", schedule=None, params=PARAMS):
    InferenceEndpointSensor(
        task_id="wait", endpoint=ENDPOINT if renders else "begun", timeout=600, poke_interval=1, start_from_trigger=True
    )
