"""The retries of a wait if the DAG sets none, and the deadline that its retries share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, TaskGroup

from airflow_provider_hf_endpoints.endpoints.errors import (
    EndpointFailedError,
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    NoHardwareError,
)
from airflow_provider_hf_endpoints.operators.common.retries import DEFAULT_RETRIES, FirstTry, endpoint_faults_final
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from airflow_provider_hf_endpoints.waits import WaitBrokenError

MODEL: dict[str, Any] = {"repository": "gpt2", "framework": "pytorch", "hardware": "aws/us-east-1/intel-icl/x2"}
WAITS: list[tuple[Any, dict[str, Any], str]] = [
    (CreateInferenceEndpointOperator, MODEL, "name"),
    (ResumeInferenceEndpointOperator, {}, "endpoint"),
    (InferenceEndpointSensor, {}, "endpoint"),
]
SETTINGS = tuple(DEFAULT_RETRIES)


def settings(task: Any) -> dict[str, Any]:
    """What a task has of the settings that retries have."""
    return {name: getattr(task, name) for name in SETTINGS}


@pytest.mark.parametrize(("kind", "arguments", "name"), WAITS)
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("given", "of_dag", "of_group", "expected"),
    [
        ({}, {}, {}, None),
        ({"retries": 0}, {}, {}, 0),
        ({}, {"retries": 2}, {}, 2),
        ({}, {}, {"retries": 3}, 3),
        ({"default_args": {"retries": 4}}, {}, {}, 4),
    ],
)
def test_who_chooses_retries_has_them(
    kind: Any,
    arguments: dict[str, Any],
    name: str,
    mapped: bool,
    given: dict[str, Any],
    of_dag: dict[str, Any],
    of_group: Any,
    expected: int | None,
) -> None:
    """Given to the task, its DAG or its group, mapped or not; without any of these, a wait has five."""
    with DAG("dag", schedule=None, default_args=of_dag), TaskGroup("group", default_args=of_group):
        if mapped:
            task = kind.partial(task_id="wait", **arguments, **given).expand(**{name: ["a", "b"]})
        else:
            task = kind(task_id="wait", **arguments, **given, **{name: "demo"})
    assert task.retries == (DEFAULT_RETRIES["retries"] if expected is None else expected)
    if expected is None:
        assert task.retry_delay == DEFAULT_RETRIES["retry_delay"]


def test_an_unmapped_task_knows_whose_retries_they_are() -> None:
    """What `partial` was given comes back when the task runs."""
    with DAG("dag", schedule=None):
        mapped = ResumeInferenceEndpointOperator.partial(task_id="wait").expand(endpoint=["a"])
        asked_for = ResumeInferenceEndpointOperator.partial(task_id="other", retries=5).expand(endpoint=["a"])
    assert mapped.unmap({"endpoint": "a"}).retries_by_default
    assert not asked_for.unmap({"endpoint": "a"}).retries_by_default


def test_a_pause_of_the_user_s_own_stays() -> None:
    """`retry_delay` alone changes the pause and not the number."""
    task = ResumeInferenceEndpointOperator(task_id="wait", endpoint="demo", retry_delay=timedelta(seconds=1))
    assert {**DEFAULT_RETRIES, "retry_delay": timedelta(seconds=1)} == settings(task)


def test_the_start_of_a_group_has_them() -> None:
    """Created or resumed, the acquire before it, and the sensor inside."""
    with DAG("dag", schedule=None) as dag:
        for group, model in (("made", MODEL), ("found", {})):
            with inference_endpoint(group, **model) as endpoint:
                InferenceEndpointSensor(task_id="ready", endpoint=endpoint)
    tasks = [f"{group}.{task}" for group in ("made", "found") for task in ("acquire", "start", "ready")]
    assert [DEFAULT_RETRIES] * 6 == [settings(dag.get_task(each)) for each in tasks]


def test_the_deployment_s_default_comes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """`[core] default_task_retries` is somebody's choice, too."""
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_TASK_RETRIES", "9")
    assert not ResumeInferenceEndpointOperator(task_id="wait", endpoint="demo").retries_by_default


def test_the_retries_outlast_an_outage_of_minutes() -> None:
    """Redis or the API server away: the last try begins at least five minutes after the first has failed."""
    first, longest = DEFAULT_RETRIES["retry_delay"], DEFAULT_RETRIES["max_retry_delay"]
    pauses = [min(first * 2**number, longest) for number in range(DEFAULT_RETRIES["retries"])]
    assert sum(pauses, timedelta()) > timedelta(minutes=5)


@pytest.mark.parametrize("error", [EndpointFailedError("e"), InferenceEndpointTimeoutError("e"), NoHardwareError("e")])
def test_what_the_endpoint_has_ended_is_final(error: InferenceEndpointError) -> None:
    """It stays the error that it is, and Airflow makes no further attempt; retries that were asked for are made."""
    with pytest.raises(type(error), match="e") as final, endpoint_faults_final(True):
        raise error
    assert isinstance(final.value, AirflowFailException)
    with pytest.raises(type(error)) as tried, endpoint_faults_final(False):
        raise error
    assert not isinstance(tried.value, AirflowFailException)


def test_other_faults_are_tried_again() -> None:
    """A wait that broke says nothing of the endpoint."""
    with pytest.raises(WaitBrokenError) as caught, endpoint_faults_final(True):
        raise WaitBrokenError("the triggerer is gone")
    assert not isinstance(caught.value, AirflowFailException)


class Store(dict[str, Any]):
    """Airflow's task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        del self[key]


class Attempt:
    """What is asked of a task instance."""

    def __init__(self, try_number: int, max_tries: int) -> None:
        self.try_number, self.max_tries = try_number, max_tries


def first(store: Store | None, try_number: int = 1, max_tries: int = 5) -> FirstTry:
    """Of one attempt."""
    return FirstTry({"ti": Attempt(try_number, max_tries), "task_state_store": store})


def test_a_retry_has_the_time_of_the_first_try() -> None:
    """A retry extends no deadline; after a clear, which raises `max_tries`, or a wait that has ended, the deadline is
    new.
    """
    store = Store()
    first(store).keep(1000.0)
    assert first(store, try_number=2).began() == 1000.0
    assert first(store, try_number=2, max_tries=7).began() > 1000.0
    first(store, try_number=2).forget()
    assert first(store, try_number=3).began() > 1000.0
    assert first(None, try_number=2).began() > 1000.0  # before Airflow 3.3
