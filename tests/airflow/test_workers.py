"""What becomes of an endpoint when the process that waits for it is ended, or Airflow ends the wait by itself.

As in `test_ends.py`, each test looks at the calls that really reached the service.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator

import psutil
import pytest
from airflow.providers.common.compat.sdk import XCom

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.airflow_api import TaskState
from dev.local_airflow import LocalAirflow
from tests.airflow.test_ends import DAG, actions, creations, deferred_create, state
from tests.airflow.test_live import AN_HOUR, create_endpoint, looks_at, wait_for_a_look, wait_for_words

# The process in which a task's code runs names itself after its task instance, in every Airflow.
TASK_PROCESS = re.compile(r"^airflow worker -- [0-9a-f]{8}-[0-9a-f-]{27}$")


def task_process(airflow: LocalAirflow) -> int:
    """The process that runs the only task there is."""
    children = psutil.Process(airflow.components["scheduler"].pid).children(recursive=True)
    (found,) = [child.pid for child in children if TASK_PROCESS.match(command_of(child))]
    return int(found)


def command_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that has ended in between."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline()).strip()
    return ""


def waiting_on_worker(airflow: LocalAirflow, emulator: Emulator, dag_id: str, name: str) -> str:
    """A run whose create task waits, on its worker, for an endpoint that takes an hour."""
    emulator.behave(name, initializing_seconds=AN_HOUR)
    airflow.wait_for_dag(dag_id)
    run = airflow.api.trigger(dag_id, {"endpoint": name})
    # The first look asks whether there is one already.
    airflow.wait_until(lambda: looks_at(emulator, name) >= 3, f"the worker waits for {name}")
    return run


def test_a_worker_that_is_evicted_pauses_what_it_started(airflow: LocalAirflow, emulator: Emulator) -> None:
    """SIGTERM during the wait: one pause, and the task is no success although Airflow lets it go on."""
    run = waiting_on_worker(airflow, emulator, "live_on_worker", "evicted")
    os.kill(task_process(airflow), signal.SIGTERM)
    assert airflow.wait_for_run("live_on_worker", run) == "failed"
    assert actions(emulator, "evicted") == ["pause"]
    assert state(emulator, "evicted") == "paused"


def test_after_a_worker_is_killed_the_retry_takes_its_endpoint_up(airflow: LocalAirflow, emulator: Emulator) -> None:
    """SIGKILL leaves no time for anything: the endpoint is known by its tag, and is not created again nor stopped."""
    dag_id, made = "live_on_worker_again", creations(emulator)
    run = waiting_on_worker(airflow, emulator, dag_id, "orphan")
    os.kill(task_process(airflow), signal.SIGKILL)

    def attempt() -> TaskState:
        return airflow.api.tasks(dag_id, run)[0]

    airflow.wait_until(lambda: attempt().state == "failed" or attempt().try_number == 2, "the kill is noticed")
    if attempt().state == "failed":  # Airflow 3.0 gives a killed task no retry: a person clears it
        airflow.api.clear(dag_id, run, "create")
    airflow.wait_until(lambda: attempt().try_number == 2, "the second attempt has begun")
    wait_for_a_look(airflow, emulator, "orphan")
    emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(dag_id, run) == "success", airflow.task_messages(dag_id, run, "create")
    assert (creations(emulator) - made, actions(emulator, "orphan")) == (1, [])
    wait_for_words(airflow, dag_id, run, "create", "was created by an earlier attempt of this task")


def test_the_execution_timeout_holds_while_deferred(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Airflow does not look at it then; the trigger's own deadline does, and the endpoint is paused."""
    dag_id = "live_execution_timeout"
    emulator.behave("too-slow", initializing_seconds=AN_HOUR)
    airflow.wait_for_dag(dag_id)
    run = airflow.api.trigger(dag_id, {"endpoint": "too-slow"})
    airflow.wait_for_task(dag_id, run, "create", "deferred")
    assert airflow.wait_for_run(dag_id, run) == "failed"
    assert actions(emulator, "too-slow") == ["pause"]
    wait_for_words(airflow, dag_id, run, "create", "Not running after")


def test_a_deferral_that_airflow_gives_up_pauses_the_endpoint(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Airflow resumes the task with `__fail__`: no method of the operator is called, but for the one that is ours."""
    emulator.behave("given-up", initializing_seconds=AN_HOUR)
    airflow.wait_for_dag("live_given_up")
    run = airflow.api.trigger("live_given_up", {"endpoint": "given-up"})
    assert airflow.wait_for_run("live_given_up", run) == "failed"
    assert actions(emulator, "given-up") == ["pause"]


def test_a_run_that_is_deleted_pauses_the_endpoint(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Airflow has a run ended before it deletes it; one pause comes of both."""
    run = deferred_create(airflow, emulator, "run-deleted")
    airflow.api.call("PATCH", f"/dags/{DAG}/dagRuns/{run}", json={"state": "failed"})
    airflow.api.call("DELETE", f"/dags/{DAG}/dagRuns/{run}")
    airflow.wait_until(lambda: state(emulator, "run-deleted") == "paused", "the endpoint is paused")
    assert actions(emulator, "run-deleted") == ["pause"]


@pytest.fixture
def stalled_triggerer(airflow: LocalAirflow) -> Iterator[list[psutil.Process]]:
    """The triggerer's processes, for a test that stops them; ended afterwards."""
    first = airflow.components.pop("triggerer")
    process = psutil.Process(first.pid)
    try:
        yield [process, *process.children(recursive=True)]
    finally:
        first.kill()


def stall(airflow: LocalAirflow, processes: list[psutil.Process]) -> bool:
    """Stop the processes, unless that leaves the database locked: SQLite has one lock for all."""
    for process in processes:
        process.suspend()
    try:
        with contextlib.closing(sqlite3.connect(airflow.home / "airflow.db", timeout=1.0)) as database:
            database.execute("BEGIN EXCLUSIVE")
            database.rollback()
    except sqlite3.OperationalError:
        for process in processes:
            process.resume()
        return False
    return True


def test_another_triggerer_takes_over_and_nobody_touches_the_endpoint(
    airflow: LocalAirflow, emulator: Emulator, stalled_triggerer: list[psutil.Process]
) -> None:
    """A triggerer that stood still finds its triggers taken away, as if a person had ended their tasks."""
    run = deferred_create(airflow, emulator, "taken-over")
    airflow.wait_until(lambda: stall(airflow, stalled_triggerer), "the triggerer stands still")
    airflow.start_component("triggerer")
    wait_for_a_look(airflow, emulator, "taken-over")
    for process in stalled_triggerer:
        process.resume()
    said = "goes on elsewhere"
    wait_for_words(airflow, DAG, run, "create", said)
    emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    assert actions(emulator, "taken-over") == []


def test_a_sensor_begins_in_the_triggerer(airflow: LocalAirflow, emulator: Emulator) -> None:
    """`start_from_trigger`: no worker writes to the task's log before the endpoint is ready."""
    emulator.behave("begun", initializing_seconds=AN_HOUR)
    create_endpoint(emulator, "begun")
    airflow.wait_for_dag("live_begin")
    run = airflow.api.trigger("live_begin", {"endpoint": "begun"})
    airflow.wait_for_task("live_begin", run, "wait", "deferred")
    wait_for_a_look(airflow, emulator, "begun")
    if hasattr(XCom, "aset"):  # Airflow 3.3 lets a trigger store the link

        def linked() -> bool:
            return any(link and "begun" in link for link in airflow.api.links("live_begin", run, "wait").values())

        airflow.wait_until(linked, "the link is there while the task waits")
    assert not list((airflow.home / "logs" / "dag_id=live_begin" / f"run_id={run}").rglob("attempt=1.log"))
    emulator.advance(AN_HOUR)
    assert airflow.wait_for_run("live_begin", run) == "success", airflow.task_messages("live_begin", run, "wait")
    assert "running" in str(airflow.api.xcom("live_begin", run, "wait"))
    assert actions(emulator, "begun") == []
