"""The release's look at the work: it waits while any of the work runs, and does not wait forever for an answer."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider_hf_endpoints._airflow import AirflowRescheduleException
from airflow_provider_hf_endpoints.operators.using.release import NotReleasedError, ReleaseAcquiredOperator
from airflow_provider_hf_endpoints.operators.using.work import unfinished
from tests.contract.operators_play import TaskInstance

ACQUIRED = {"name": "demo", "namespace": "acme", "found": None, "use": "u", "lease": None, "budget": None}


def release(work: list[str], attempt: int = 1) -> Any:
    """A look of a release, up to where it would release."""
    operator = ReleaseAcquiredOperator(task_id="release", acquired=ACQUIRED, work=work)
    task_instance = TaskInstance()
    task_instance.dag_id, task_instance.run_id = "dag", "run"  # type: ignore[attr-defined]
    task_instance.get_task_states = RuntimeTaskInstance.get_task_states  # type: ignore[attr-defined]
    task_instance.try_number, task_instance.max_tries = attempt, 10  # type: ignore[attr-defined]
    return operator._await_work(task_instance)


def test_what_has_not_ended_is_told_from_what_has() -> None:
    """What waits between two attempts, in the triggerer or for a slot, still counts as running."""
    over = ["success", "failed", "skipped", "upstream_failed", "removed"]
    on = ["None", "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting"]
    assert sorted(on) == unfinished({state: state for state in [*over, *on]})


def test_the_release_looks_again_while_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives its worker back, and counts no attempt."""
    states = {"a": "success", "b": "running"}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: {"run": states}))
    with pytest.raises(AirflowRescheduleException):
        release(["a", "b"])
    states["b"] = "failed"
    assert release(["a", "b"]) is None


def test_airflow_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry asks again. A later attempt releases all the same: the endpoint bills."""

    def refuse(**_: Any) -> Any:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(refuse))
    with pytest.raises(NotReleasedError, match="did not answer whether its tasks have ended"):
        release(["a"])
    assert release(["a"], attempt=3) is None


def test_a_release_without_work_asks_nothing() -> None:
    """Outside of Airflow's processes the states cannot be read."""
    assert release([]) is None
