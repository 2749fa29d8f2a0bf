"""What becomes of an endpoint when the task that waits for it ends in another way than by itself.

Each test looks at what really reached the service: the calls that change something, in order.
"""

from __future__ import annotations

from dev.local_airflow import LocalAirflow
from tests.airflow.cases import AN_HOUR, Case, Cases

DAG = "live_create"


def deferred_create(case: Case) -> str:
    """A run whose create task waits in the triggerer for an endpoint that takes an hour."""
    case.slow()
    run = case.trigger(DAG)
    case.airflow.wait_for_handover(DAG, run, "create")
    case.wait_for_a_look()
    return run


def wait_out_a_later_one(cases: Cases, title: str) -> None:
    """Until the triggerer has served a later wait from its begin to a person's end of it: what came before is done."""
    later = cases.new(title)
    run = deferred_create(later)
    cases.airflow.api.set_task_state(DAG, run, "create", "failed")
    later.expect("create", "pause")


def test_marked_failed_while_deferred(airflow: LocalAirflow, case: Case) -> None:
    """A person gives the wait up: nobody needs the endpoint any more, and it would bill on."""
    run = deferred_create(case)
    airflow.api.set_task_state(DAG, run, "create", "failed")
    case.expect("create", "pause")
    airflow.wait_until(lambda: case.state() == "paused", "the endpoint is paused")


def test_cleared_while_deferred(airflow: LocalAirflow, case: Case) -> None:
    """The next attempt takes the endpoint up: one creation, no pause by the old trigger, and the wait ends well."""
    run = deferred_create(case)
    airflow.api.clear(DAG, run, "create")
    airflow.wait_until(lambda: airflow.api.tasks(DAG, run)[0].try_number == 2, "the second attempt has begun")
    airflow.wait_for_handover(DAG, run, "create")
    case.wait_for_a_look()
    case.emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    case.expect("create")
    assert case.state() == "running"


def test_marked_success_while_deferred(airflow: LocalAirflow, cases: Cases, case: Case) -> None:
    """Who marks the wait as done wants what comes after it to have its endpoint."""
    run = deferred_create(case)
    airflow.api.set_task_state(DAG, run, "create", "success")
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    wait_out_a_later_one(cases, "marked failed while deferred, after another's success")
    case.expect("create")


def test_sensor_marked_failed_while_deferred(airflow: LocalAirflow, cases: Cases, case: Case) -> None:
    """A sensor has not started the endpoint and stops it for nobody."""
    case.slow()
    case.create()
    run = case.trigger("live_wait")
    airflow.wait_for_handover("live_wait", run, "wait")
    case.wait_for_a_look()
    airflow.api.set_task_state("live_wait", run, "wait", "failed")
    assert airflow.wait_for_run("live_wait", run) == "failed"
    wait_out_a_later_one(cases, "marked failed while deferred, after a sensor")
    case.expect()


def test_triggerer_SIGTERM(airflow: LocalAirflow, case: Case) -> None:
    """A rolling deploy cancels every trigger; the tasks are still deferred, and their endpoints are left alone."""
    run = deferred_create(case)
    airflow.stop_component("triggerer")
    airflow.start_component("triggerer")
    case.wait_for_a_look()
    case.emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    case.expect("create")


def test_triggerer_SIGKILL(airflow: LocalAirflow, case: Case) -> None:
    """The triggerer is gone without a word; the next one goes on, and the endpoint is left alone."""
    run = deferred_create(case)
    airflow.kill_component("triggerer")
    airflow.start_component("triggerer")
    case.wait_for_a_look()
    case.emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    case.expect("create")
