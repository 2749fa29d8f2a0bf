"""A stop that is the teardown of a start that did not succeed stops what that start has left running, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TriggerRule
from airflow.sdk import DAG
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.operators.changing import unended
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from tests.contract.operators_play import FAST, calls, connected, create, kept_at, new_context, run, state

STATES = {"create": "failed"}


@pytest.fixture(autouse=True)
def states(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The states of the tasks before the stop; Airflow's API server, which says them, is not there."""
    said = dict(STATES)
    monkeypatch.setattr(unended, "states_of", lambda ti, ids: {each: said[each] for each in ids if each in said})
    return said


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        yield running


def a_run(setup: Any, kind: type[Any] = PauseInferenceEndpointOperator, **changes: Any) -> tuple[Any, Any]:
    """What runs the setup to its end, as a process that then is killed, and what runs the stop."""
    with DAG("nightly", schedule=None):
        start = setup()
        stop = kind(**{"task_id": "stop", "endpoint": "demo", **FAST, **changes})
        start >> stop.as_teardown(setups=start)

    def context(task: Any) -> Any:
        made: Any = new_context() | {"task": task}
        made["ti"].dag_id, made["ti"].run_id, made["ti"].task_id = "nightly", "run-1", task.task_id
        return made

    return lambda: run(start, context(start)), lambda: run(stop, context(stop))


def resume(**changes: Any) -> Any:
    return ResumeInferenceEndpointOperator(**{"task_id": "create", "endpoint": "demo", **FAST, **changes})


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (PauseInferenceEndpointOperator, "paused"),
        (ScaleToZeroInferenceEndpointOperator, "scaledToZero"),
        (DeleteInferenceEndpointOperator, None),
    ],
)
def test_what_a_start_has_left_running_is_stopped(emulator: Emulator, kind: type[Any], left: str | None) -> None:
    """It was killed, or marked as failed before the first step of its trigger: nothing of it ran any more."""
    start, stop = a_run(create, kind)
    start()
    stop()
    with InferenceEndpointsHook() as hook:
        assert ([left] if left else []) == [each.status for each in hook.list_inference_endpoints()]


def test_what_a_start_has_resumed_is_paused(emulator: Emulator) -> None:
    """An endpoint without a creator tag: the note of its start says which one it was."""
    run(create())
    with InferenceEndpointsHook() as hook:
        hook.pause_inference_endpoint("demo")
    start, stop = a_run(resume)
    start()
    stop()
    assert "paused" == state(emulator)


def test_the_creator_tag_is_enough(emulator: Emulator) -> None:
    """The note is written before the request and again after its answer: a kill may come in between."""
    start, stop = a_run(create)
    start()
    StartNotes(kept_at()).remove("acme", "demo", before=float("inf"))
    stop()
    assert "paused" == state(emulator)


def test_what_another_run_has_started_runs_on(emulator: Emulator) -> None:
    """The setup failed before it did anything: Airflow would have skipped the teardown, and that stays so."""
    run(create())
    _, stop = a_run(create)
    with pytest.raises(AirflowSkipException, match=r"\(create\), and none of them has left endpoint 'demo' running"):
        stop()
    assert "running" == state(emulator)


def test_where_there_is_nothing_to_stop_the_task_is_skipped(emulator: Emulator) -> None:
    """No endpoint, or one that its start has released itself: no request that changes anything, and no failure."""
    start, stop = a_run(create)
    with pytest.raises(AirflowSkipException):
        stop()
    start()
    with InferenceEndpointsHook() as hook:
        hook.pause_inference_endpoint("demo")
    before = calls(emulator)
    with pytest.raises(AirflowSkipException):
        stop()
    assert before == calls(emulator)


def test_what_is_to_stay_after_a_bad_end_stays(emulator: Emulator) -> None:
    """`on_failure="none"` leaves the endpoint for somebody who looks into it."""
    start, stop = a_run(lambda: create(on_failure="none"))
    start()
    with pytest.raises(AirflowSkipException, match="to leave its endpoint running after a bad end"):
        stop()
    assert "running" == state(emulator)


def test_a_start_that_keeps_its_endpoint_keeps_it(emulator: Emulator) -> None:
    """Of a deployment only its end says that it stays, and `keep=True` says it before."""
    start, stop = a_run(lambda: create(keep=True))
    start()
    with pytest.raises(AirflowSkipException):
        stop()
    assert "running" == state(emulator)


@pytest.mark.parametrize("never", ["skipped", "upstream_failed"])
def test_a_setup_that_never_began_is_no_reason_for_a_look(
    emulator: Emulator, states: dict[str, str], never: str
) -> None:
    """The service is not asked."""
    states["create"] = never
    _, stop = a_run(create)
    before = len(emulator.requests)
    with pytest.raises(AirflowSkipException, match=never):
        stop()
    assert before == len(emulator.requests)


def test_a_mapped_stop_of_one_setup_stops(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setup has no state with the index of the stop, and has succeeded."""
    asked: list[int] = []

    def ask(ti: Any, ids: list[str]) -> dict[str, str]:
        asked.append(ti.map_index)
        return {} if ti.map_index >= 0 else dict.fromkeys(ids, "success")

    monkeypatch.setattr(unended, "states_of", ask)
    run(create())
    with DAG("nightly", schedule=None):
        start = create()
        stop = PauseInferenceEndpointOperator(**{"task_id": "stop", "endpoint": "demo", **FAST})
        start >> stop.as_teardown(setups=start)
    made: Any = new_context() | {"task": stop}
    made["ti"].dag_id, made["ti"].run_id, made["ti"].task_id, made["ti"].map_index = "nightly", "other", "stop", 1
    run(stop, made)
    assert "paused" == state(emulator)
    assert [1, -1] == asked


@pytest.mark.parametrize("said", ["nothing", "an error"])
def test_a_state_that_airflow_does_not_say_prevents_no_stop(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Airflow's API server is away, or does not know the setup."""

    def ask(ti: Any, ids: list[str]) -> dict[str, str]:
        if said == "an error":
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500}))
        return {}

    monkeypatch.setattr(unended, "states_of", ask)
    run(create())
    _, stop = a_run(create)
    stop()
    assert "paused" == state(emulator)


def test_airflow_runs_a_stop_after_any_end_of_its_setup() -> None:
    """An update does not stop anything, and a DAG with `fail_fast` takes no such rule of a task that joins it later."""
    with DAG("nightly", schedule=None, fail_fast=True) as dag:
        start = create()
        inside = PauseInferenceEndpointOperator(task_id="stop", endpoint="demo").as_teardown(setups=start)
        update = UpdateInferenceEndpointOperator(task_id="update", endpoint="demo", max_replica=1)
        update.as_teardown(setups=start)
    outside = PauseInferenceEndpointOperator(task_id="later", endpoint="demo").as_teardown()
    dag.add_task(outside)
    own = TriggerRule.ALL_DONE_SETUP_SUCCESS
    assert [TriggerRule.ALL_DONE, own, own] == [each.trigger_rule for each in (inside, update, outside)]
