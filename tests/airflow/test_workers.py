"""What becomes of an endpoint when the process that waits for it is ended, or Airflow ends the wait by itself.

As in `test_ends.py`, each test looks at the calls that really reached the service.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psutil
import pytest
from airflow import __version__ as AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import XCom
from airflow.triggers.base import BaseTrigger

from dev.airflow_api import TaskState
from dev.local_airflow import LocalAirflow
from dev.task_processes import task_process
from tests.airflow.cases import AN_HOUR, BEGUN, Case, Cases
from tests.airflow.test_ends import DAG, deferred_create
from tests.airflow.test_live import wait_for_words


def end_process(airflow: LocalAirflow, attempt: TaskState, number: signal.Signals) -> None:
    """Send a signal to the process that runs an attempt of a task."""
    os.kill(task_process(airflow, attempt), number)


def worker_is_done(airflow: LocalAirflow, dag_id: str, run: str, task_id: str) -> bool:
    """Whether the scheduler has heard the end of a task's first attempt from the executor. What is cleared before that,
    the executor's word undoes, or Airflow 3.0.6 leaves it as it is for good.
    """
    key = f"dag_id='{dag_id}', task_id='{task_id}', run_id='{run}', try_number=1,"
    said = airflow.components["scheduler"].log.read_text(errors="replace")
    return any(
        f"event with state {end} for task instance TaskInstanceKey({key}" in said for end in ("success", "failed")
    )


def take_up(airflow: LocalAirflow, dag_id: str, run: str, task_id: str | None = None) -> None:
    """Wait until the attempt after a killed one has begun; Airflow 3.0 gives it no retry, so a person clears it.

    :param task_id: of the killed task; None for the DAG's first one
    """

    def begun() -> bool:
        attempt = next(each for each in airflow.api.tasks(dag_id, run) if task_id in (None, each.task_id))
        ended = attempt.try_number == 1 and attempt.state in ("failed", "restarting")
        if ended and worker_is_done(airflow, dag_id, run, attempt.task_id):
            airflow.api.clear(dag_id, run, attempt.task_id)
        return attempt.try_number == 2

    airflow.wait_until(begun, "the second attempt has begun")


def clear_work(airflow: LocalAirflow, dag_id: str, run: str, alone: AbstractContextManager[Any] | None = None) -> None:
    """Clear `use.work`, which may run, and wait until its second attempt has begun; `alone` is held for each clear.

    Airflow 3.0.6 leaves a task that is cleared while it runs `restarting` for good: where a worker is done, its
    scheduler (`process_executor_events` in jobs/scheduler_job_runner.py) looks for `scheduled`, `queued` and `running`
    only; 3.3.2 for `restarting` too. So a person clears it once more, when its worker is done and the setups ran anew.
    """
    task_id, held = "use.work", alone or nullcontext()
    stays = AIRFLOW_VERSION.startswith("3.0.")

    def clear() -> None:
        with held:
            airflow.api.clear(dag_id, run, task_id)

    def begun() -> bool:
        tasks = {each.task_id: each for each in airflow.api.tasks(dag_id, run)}
        ready = all(tasks[setup].state == "success" for setup in ("use.acquire", "use.start"))
        stuck = stays and ready and tasks[task_id].state == "restarting"
        if stuck and worker_is_done(airflow, dag_id, run, task_id):
            clear()
        return tasks[task_id].try_number == 2

    clear()
    airflow.wait_until(begun, f"the second attempt of {task_id} has begun")


def waiting_on_worker(case: Case, dag_id: str) -> str:
    """A run whose create task waits, on its worker, for an endpoint that takes an hour."""
    case.slow()
    run = case.trigger(dag_id)
    # The first look asks whether there is one already.
    case.airflow.wait_until(lambda: case.looks() >= 3, f"the worker waits for {case.endpoint}")
    return run


def test_worker_SIGTERM_while_polling(airflow: LocalAirflow, case: Case) -> None:
    """SIGTERM during the wait: one pause, and the task is no success although Airflow lets it go on."""
    run = waiting_on_worker(case, "live_on_worker")
    end_process(airflow, airflow.api.tasks("live_on_worker", run)[0], signal.SIGTERM)
    assert airflow.wait_for_run("live_on_worker", run) == "failed"
    case.expect("create", "pause")
    assert case.state() == "paused"


def test_worker_SIGKILL_while_polling(airflow: LocalAirflow, case: Case) -> None:
    """SIGKILL leaves no time for anything: the endpoint is known by its tag, and is not created again nor stopped."""
    dag_id = "live_on_worker_again"
    run = waiting_on_worker(case, dag_id)
    end_process(airflow, airflow.api.tasks(dag_id, run)[0], signal.SIGKILL)
    take_up(airflow, dag_id, run)
    case.wait_for_a_look()
    case.emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(dag_id, run) == "success", airflow.task_messages(dag_id, run, "create")
    case.expect("create")
    wait_for_words(airflow, dag_id, run, "create", "was created by an earlier attempt of this task")


def test_execution_timeout_while_deferred(airflow: LocalAirflow, case: Case) -> None:
    """Airflow does not look at it then; the trigger's own deadline does, and the endpoint is paused."""
    dag_id = "live_execution_timeout"
    case.slow()
    run = case.trigger(dag_id)
    airflow.wait_for_handover(dag_id, run, "create")
    assert airflow.wait_for_run(dag_id, run) == "failed"
    case.expect("create", "pause")
    wait_for_words(airflow, dag_id, run, "create", "Not running after")


def test_deferral_timeout(airflow: LocalAirflow, case: Case) -> None:
    """Airflow resumes the task with `__fail__`: no method of the operator is called, but for the one that is ours."""
    case.slow()
    run = case.trigger("live_given_up")
    assert airflow.wait_for_run("live_given_up", run) == "failed"
    case.expect("create", "pause")


@pytest.mark.extended
def test_DAG_run_deleted_while_deferred(airflow: LocalAirflow, case: Case) -> None:
    """Airflow has a run ended before it deletes it; one pause comes of both."""
    run = deferred_create(case)
    airflow.api.call("PATCH", f"/dags/{DAG}/dagRuns/{run}", json={"state": "failed"})
    # A run that is deleted while the scheduler looks at it ends Airflow's scheduler (seen on 3.3.2).
    case.expect("create", "pause")
    airflow.api.call("DELETE", f"/dags/{DAG}/dagRuns/{run}")
    case.expect("create", "pause")
    airflow.wait_until(lambda: case.state() == "paused", "the endpoint is paused")


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


def test_reassignment_to_a_second_triggerer(
    airflow: LocalAirflow, case: Case, stalled_triggerer: list[psutil.Process]
) -> None:
    """A triggerer that stood still finds its triggers taken away, as if a person had ended their tasks."""
    run = deferred_create(case)
    airflow.wait_until(lambda: stall(airflow, stalled_triggerer), "the triggerer stands still")
    airflow.start_component("triggerer")
    case.wait_for_a_look()
    for process in stalled_triggerer:
        process.resume()
    wait_for_words(airflow, DAG, run, "create", "Another process continues the wait")
    case.emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    case.expect("create")


def begun(cases: Cases, title: str) -> tuple[Case, str]:
    """A sensor that waits in the triggerer, and no worker has had it."""
    # Below 3.3 the triggerer renders no template, and both cases have to be about one endpoint.
    case = cases.new(title, None if hasattr(BaseTrigger, "render_template_fields") else BEGUN)
    case.slow()
    if case.namespace != BEGUN or title.endswith("killed"):
        case.create()
    else:
        case.begin()
    run = case.trigger("live_begin")
    cases.airflow.wait_for_task("live_begin", run, "wait", "deferred")
    case.wait_for_a_look()
    if hasattr(XCom, "aset"):  # Airflow 3.3 lets a trigger store the link

        def linked() -> bool:
            links = cases.airflow.api.links("live_begin", run, "wait").values()
            return any(link and case.endpoint in link for link in links)

        cases.airflow.wait_until(linked, "the link is there while the task waits")
    folder = cases.airflow.home / "logs" / "dag_id=live_begin" / f"run_id={run}"
    assert not list(folder.rglob("attempt=1.log"))
    return case, run


def test_a_sensor_begins_in_the_triggerer(airflow: LocalAirflow, cases: Cases) -> None:
    """`start_from_trigger`: its policies hold, and no worker writes to the log before the endpoint is ready."""
    case, run = begun(cases, "sensor begun in the triggerer, killed")
    airflow.api.set_task_state("live_begin", run, "wait", "failed")
    case.expect("pause")
    with case.client() as client:
        client.resume_inference_endpoint(case.endpoint)

    case, run = begun(cases, "sensor begun in the triggerer, ready")
    case.emulator.advance(AN_HOUR)
    assert airflow.wait_for_run("live_begin", run) == "success", airflow.task_messages("live_begin", run, "wait")
    case.expect()
    assert "running" in str(airflow.api.xcom("live_begin", run, "wait"))
