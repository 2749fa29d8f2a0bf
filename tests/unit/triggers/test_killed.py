"""When a trigger that Airflow takes away may act: what Airflow tells is played here, and real in the live tests."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider_hf_endpoints import _airflow
from airflow_provider_hf_endpoints.triggers import killed

TASK = SimpleNamespace(dag_id="nightly", run_id="run-1", task_id="create", map_index=-1)


def is_over(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, Any], claim: str | None = None, current: str | None = None
) -> bool:
    """What is decided, given the states of the run's tasks and the claim that stands in XCom."""
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: states)
    monkeypatch.setattr(f"{_airflow.__name__}.XCom.get_one", lambda **_: current)
    return asyncio.run(killed.task_is_over(TASK, claim))


@pytest.mark.parametrize("state", ["failed", "skipped", "removed", "upstream_failed"])
def test_a_task_that_was_ended_is_over(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Nothing of it continues."""
    assert is_over(monkeypatch, {"run-1": {"create": state}})


@pytest.mark.parametrize("state", ["deferred", "success", None, "queued", "scheduled", "running", "up_for_retry"])
def test_a_task_that_goes_on_is_not(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    """It moved to another triggerer, was cleared, or its DAG continues with the endpoint."""
    assert not is_over(monkeypatch, {"run-1": {"create": state}}, "attempt-1", "attempt-1")


@pytest.mark.parametrize("current", ["attempt-2", None])
def test_another_attempt_has_begun_since(monkeypatch: pytest.MonkeyPatch, current: str | None) -> None:
    """It has failed by itself, and what became of the endpoint then was its own to say."""
    assert not is_over(monkeypatch, {"run-1": {"create": "failed"}}, "attempt-1", current)
    assert is_over(monkeypatch, {"run-1": {"create": "failed"}}, "attempt-1", "attempt-1")


def test_a_run_that_was_deleted_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its XComs are gone with it, and so is the claim."""
    assert is_over(monkeypatch, {}, "attempt-1", None)


def test_a_claim_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An XCom backend of the user's own may raise anything: the task has ended, and its endpoint would bill on."""
    assert is_over(monkeypatch, {"run-1": {"create": "failed"}}, "attempt-1", "attempt-1")

    def broken(**_: Any) -> Any:
        raise OSError("the bucket of the XComs does not answer")

    monkeypatch.setattr(f"{_airflow.__name__}.XCom.get_one", broken)
    assert asyncio.run(killed.task_is_over(TASK, "attempt-1"))
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: {"run-1": {"create": "running"}})
    assert not asyncio.run(killed.task_is_over(TASK, "attempt-1"))
