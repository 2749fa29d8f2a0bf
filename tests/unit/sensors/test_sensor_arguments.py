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


@pytest.mark.parametrize("flag", ["soft_fail", "silent_fail", "never_fail", "exponential_backoff"])
@pytest.mark.parametrize("bad", ["yes", "no", "1", "", 1, 0, [], None])
def test_what_is_no_truth_value_is_refused(flag: str, bad: Any) -> None:
    """Airflow's own arguments of a sensor take anything, and any text counts as true; also mapped, or as a default."""
    with pytest.raises(ValueError, match=flag):
        sensor(**{flag: bad})
    with pytest.raises(ValueError, match=flag):
        sensor(default_args={flag: bad})
    with pytest.raises(ValueError, match=flag):
        InferenceEndpointSensor.partial(task_id="wait", **{flag: bad})


def test_a_truth_value_may_be_a_text() -> None:
    """As of every operator of this package."""
    assert (sensor(soft_fail="True").soft_fail, sensor(silent_fail="false").silent_fail) == (True, False)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 10**400, True, "soon"])
def test_max_wait_is_a_time(bad: Any) -> None:
    """And not an `OverflowError` of Python."""
    with pytest.raises(ValueError, match="max_wait"):
        sensor(max_wait=bad)
