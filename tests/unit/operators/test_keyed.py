"""`result["key"]`: one value of a task's result, known when the DAG is read and stored when the task runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.serialization import serialized_objects

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.contract.operators_play import MODEL

_AIRFLOW: Any = serialized_objects
SERIALIZATION: Any = getattr(_AIRFLOW, "DagSerialization", None) or _AIRFLOW.SerializedDAG


class Takes(BaseOperator):
    """A task of a user."""

    template_fields = ("value",)

    def __init__(self, *, value: Any, other: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


def test_a_value_of_the_endpoint_brings_the_arrows_that_the_endpoint_brings() -> None:
    """Inside of the group and outside; the start stores the values, and the DAG can be stored."""
    with DAG("dag", schedule=None) as dag:
        with inference_endpoint("demo", **MODEL) as endpoint:
            Takes(task_id="inside", value=endpoint["url"])
        Takes(task_id="outside", value={"base": endpoint["url"]})
        Takes.partial(task_id="mapped", value=endpoint["name"]).expand(other=["a"])
    start: Any = dag.get_task("demo.start")
    release: Any = dag.get_task("demo.release")
    assert start.multiple_outputs
    assert {"demo.inside", "outside", "mapped"} < start.downstream_task_ids
    assert {"demo.inside", "outside", "mapped"} < release.get_flat_relative_ids(upstream=True)
    stored = SERIALIZATION.from_dict(json.loads(json.dumps(SERIALIZATION.to_dict(dag))))
    assert "key='url'" in stored.get_task("demo.inside").value


def test_a_start_of_which_no_value_is_asked_stores_its_result_only() -> None:
    """As it is asked for by all of this provider's operators."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        Takes(task_id="inside", value=endpoint)
    start: Any = dag.get_task("demo.start")
    assert not start.multiple_outputs


def results() -> dict[str, Any]:
    call: dict[str, Any] = {"endpoint": "demo", "task": "chat-completion"}
    paths: dict[str, Any] = {"input_path": "i", "output_path": "o"}
    return {
        "url": CreateInferenceEndpointOperator(task_id="create", name="demo", **MODEL),
        "state": PauseInferenceEndpointOperator(task_id="pause", endpoint="demo"),
        "namespace": InferenceEndpointSensor(task_id="sensor", endpoint="demo"),
        "output": InferenceOperator(task_id="call", inputs="a", **call),
        "results_path": BatchInferenceOperator(task_id="batch", prompt="{a}", **call, **paths),
    }


@pytest.mark.parametrize("key", ["url", "state", "namespace", "output", "results_path"])
def test_every_operator_s_result_has_the_keys_of_its_page(key: str) -> None:
    """A misspelt one is refused with the nearest."""
    with DAG("dag", schedule=None):
        task = results()[key]
        assert key == task.output[key].key
        assert task.multiple_outputs
        with pytest.raises(ValueError, match=rf"has no '{key}x'\. It has .*Did you mean '{key}'\?"):
            task.output[f"{key}x"]
        with pytest.raises(ValueError, match="only the result itself has keys"):
            task.output[key]["more"]


def test_a_result_that_is_none_has_no_keys() -> None:
    """Nothing is left of a deleted endpoint."""
    with DAG("dag", schedule=None):
        task = DeleteInferenceEndpointOperator(task_id="delete", endpoint="demo")
        with pytest.raises(ValueError, match=r"has no 'url'\. It has no keys"):
            task.output["url"]
