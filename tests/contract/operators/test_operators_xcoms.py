"""XComs that fail, as those of a backend of the user's own may with any error, leave no endpoint running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_hf_endpoints._airflow import TaskDeferralTimeout
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.operators.endpoints import ResumeInferenceEndpointOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from tests.contract.operators.test_operators_replaced import Store
from tests.contract.operators.test_operators_use import Attempt, Run
from tests.contract.operators_play import FAST, MODEL, calls, connected, create, deferred, run

ERRORS = [OSError("the bucket does not answer"), ValueError("no such encoding"), KeyError("key")]
BROKEN = pytest.mark.parametrize("error", ERRORS, ids=["OSError", "ValueError", "KeyError"])


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An endpoint named demo takes longer to start than any test waits."""
    with connected(monkeypatch) as running:
        running.behave("demo", initializing_seconds=600)
        yield running


def broken(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """From now on, no XCom can be read."""

    def pull(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(Attempt, "xcom_pull", pull)


def end(operator: Any, context: Any) -> None:
    """Airflow ends the wait, and drops what the deferral has stored."""
    operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


@BROKEN
@pytest.mark.parametrize("how", ["create", "resume"])
def test_a_start_whose_wait_airflow_ends(
    emulator: Emulator, how: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag on the endpoint, or the note of the resume, says that this task has started it."""
    operator: Any = create(deferrable=True)
    if how == "resume":
        run(create(wait_for_completion=False))
        with EndpointsClient(emulator.token, base_url=emulator.url) as client:
            client.pause_inference_endpoint("demo")
        operator = ResumeInferenceEndpointOperator(task_id="a", endpoint="demo", deferrable=True, **FAST)
    context = Run().context("start") | {"task_state_store": Store()}
    deferred(operator, context)
    broken(monkeypatch, error)
    with pytest.raises(TaskDeferralTimeout):
        end(operator, context)
    assert "POST /demo/pause" == calls(emulator)[-1]


@BROKEN
def test_an_endpoint_of_somebody_else(emulator: Emulator, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mark says that this task has started it: it stays."""
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        client.create_inference_endpoint("demo", **MODEL)
    operator = create(deferrable=True)
    context = Run().context("start") | {"task_state_store": Store()}
    deferred(operator, context)
    broken(monkeypatch, error)
    with pytest.raises(TaskDeferralTimeout):
        end(operator, context)
    assert ["POST "] == calls(emulator)


@BROKEN
def test_a_sensor_whose_wait_airflow_ends(
    emulator: Emulator, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks the Hub for the namespace that it had left in an XCom."""
    run(create(wait_for_completion=False))
    sensor = InferenceEndpointSensor(task_id="wait", endpoint="demo", deferrable=True, on_timeout="pause")
    context = Run().context("wait")
    deferred(sensor, context)
    broken(monkeypatch, error)
    with pytest.raises((TaskDeferralTimeout, AirflowSensorTimeout)):
        end(sensor, context)
    assert "POST /demo/pause" == calls(emulator)[-1]
