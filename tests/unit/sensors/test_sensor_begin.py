"""`start_from_trigger`: what Airflow is given to begin the wait in the triggerer, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.triggers.base import BaseTrigger

from airflow_provider_hf_endpoints.operators.endpoints import ResumeInferenceEndpointOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger

RENDERS = hasattr(BaseTrigger, "render_template_fields")
DEFERRED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sensor(**changes: Any) -> InferenceEndpointSensor:
    return InferenceEndpointSensor(**{"task_id": "wait", "endpoint": "demo", "start_from_trigger": True, **changes})


def trigger_of(task: InferenceEndpointSensor) -> InferenceEndpointTrigger:
    """As the triggerer makes it: from JSON, with a signal only when Airflow ends the deferral."""
    arguments = task.start_trigger_args
    assert arguments is not None
    trigger = InferenceEndpointTrigger(**json.loads(json.dumps(arguments.trigger_kwargs)))
    limits = [each for each in (arguments.timeout, task.execution_timeout) if each is not None]
    trigger.timeout_after = DEFERRED + min(limits)
    return trigger


@pytest.mark.parametrize("execution_timeout", [None, timedelta(minutes=5), timedelta(minutes=31), timedelta(hours=9)])
def test_the_deadline_counts_from_the_deferral(execution_timeout: timedelta | None) -> None:
    """A trigger that is made again elsewhere, later, has the same deadline."""
    wait = trigger_of(sensor(timeout=1800, execution_timeout=execution_timeout)).wait
    seconds = min(1800.0, execution_timeout.total_seconds() if execution_timeout else 1800.0)
    assert (wait.started, wait.deadline) == (DEFERRED.timestamp(), DEFERRED.timestamp() + seconds)


def test_the_wait_is_the_sensors_own() -> None:
    """Every argument of the wait reaches the trigger, and survives being stored again."""
    task = sensor(namespace="acme", target_states=["paused"], on_scaled_to_zero="fail", check_health=False)
    trigger = trigger_of(task)
    wait = trigger.wait
    assert (wait.endpoint, wait.namespace, wait.target_states) == ("demo", "acme", ("paused",))
    assert (wait.on_scaled_to_zero, wait.check_health, wait.poll_interval) == ("fail", False, 30.0)
    again = InferenceEndpointTrigger(**json.loads(json.dumps(trigger.serialize()[1])))
    again.timeout_after = trigger.timeout_after
    assert again.wait == wait


def test_sensors_do_not_share_their_arguments() -> None:
    """Airflow keeps them in a class attribute, which all sensors would share."""
    one, other = sensor(), sensor(task_id="other", endpoint="second")
    assert one.start_trigger_args is not None
    assert other.start_trigger_args is not None
    assert one.start_trigger_args.trigger_kwargs != other.start_trigger_args.trigger_kwargs
    assert InferenceEndpointSensor.start_trigger_args is None
    assert sensor(start_from_trigger=False).start_trigger_args is None


def test_a_result_of_another_task_is_refused() -> None:
    """The triggerer looks no XCom up: the error says what to do instead."""
    with DAG("d", schedule=None):
        resume = ResumeInferenceEndpointOperator(task_id="resume", endpoint="demo")
        with pytest.raises(ValueError, match="endpoint is the result of another task"):
            sensor(endpoint=resume.output)


@pytest.mark.skipif(RENDERS, reason="this Airflow renders in the triggerer")
def test_a_template_is_refused_where_airflow_renders_none() -> None:
    """Rather than to wait for an endpoint called `{{ params.endpoint }}`."""
    with pytest.raises(ValueError, match=r"3\.3"):
        sensor(endpoint="{{ params.endpoint }}")


@pytest.mark.skipif(not RENDERS, reason="this Airflow renders nothing in the triggerer")
def test_a_template_is_rendered_in_the_triggerer() -> None:
    """Airflow renders attributes of the trigger by the sensor's names; the wait is that of the rendered ones."""
    trigger = trigger_of(sensor(endpoint="{{ params.endpoint }}", target_states=["{{ params.state }}"]))
    trigger.endpoint, trigger.target_states = "rendered", ["paused"]
    assert (trigger.wait.endpoint, trigger.wait.target_states) == ("rendered", ("paused",))


def test_a_mapped_sensor_is_refused() -> None:
    """Airflow would silently start it on a worker."""
    with DAG("d", schedule=None), pytest.raises(ValueError, match="mapped"):
        InferenceEndpointSensor.partial(task_id="wait", start_from_trigger=True)
