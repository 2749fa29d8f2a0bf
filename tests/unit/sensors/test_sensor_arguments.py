"""What the sensor takes and refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor


def sensor(**changes: Any) -> InferenceEndpointSensor:
    return InferenceEndpointSensor(task_id="wait", endpoint="demo", **changes)


def test_limits_may_be_timedeltas() -> None:
    """As Airflow's own sensors take them."""
    made = sensor(timeout=timedelta(minutes=5), poke_interval=timedelta(seconds=10))
    wait = made._wait_spec(1000.0)
    assert (wait.deadline, wait.poll_interval) == (1300.0, 10.0)


def test_the_execution_timeout_counts_too() -> None:
    """Airflow ignores it while a task is deferred."""
    assert sensor(timeout=3600, execution_timeout=timedelta(minutes=1))._wait_spec(1000.0).deadline == 1060.0


def test_one_target_state_may_stand_alone() -> None:
    """A text is one state, not its letters."""
    assert sensor(target_states="paused")._wait_spec(0.0).target_states == ("paused",)


def test_waits_an_hour_by_default() -> None:
    """Not the seven days of Airflow's sensors: the endpoint bills meanwhile."""
    assert sensor()._wait_spec(0.0).deadline == 3600.0


@pytest.mark.parametrize("bad", [{"on_scaled_to_zero": "sleep"}, {"mode": "sometimes"}])
def test_unknown_choices_are_refused_when_the_dag_is_read(bad: dict[str, Any]) -> None:
    """With the choices that there are; `mode` by Airflow itself."""
    with pytest.raises(Exception, match=next(iter(bad.values()))):
        sensor(**bad)
