"""What becomes of an endpoint when the task that waits for it ends in another way than by itself.

Each test looks at what really reached the service: the calls that change something, in order.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import LocalAirflow
from tests.airflow.test_live import AN_HOUR, create_endpoint, wait_for_a_look

DAG = "live_create"


def actions(emulator: Emulator, name: str) -> list[str]:
    """The calls that changed the endpoint: `create`, `pause`, `resume`, `delete` … in order."""
    done = []
    for request in emulator.requests:
        path = request.path.partition("?")[0]
        if request.method == "POST" and path.endswith((f"/{name}/pause", f"/{name}/resume", f"/{name}/scale-to-zero")):
            done.append(path.rsplit("/", 1)[1])
        elif request.method in ("PUT", "DELETE") and path.endswith(f"/{name}"):
            done.append(request.method.lower())
    return done


def state(emulator: Emulator, name: str) -> str:
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        return client.get_inference_endpoint(name).status


def creations(emulator: Emulator) -> int:
    return sum(
        each.method == "POST" and each.path == f"/v2/endpoint/{emulator.namespace}" for each in emulator.requests
    )


def deferred_create(airflow: LocalAirflow, emulator: Emulator, name: str) -> str:
    """A run whose create task waits in the triggerer for an endpoint that takes an hour."""
    emulator.behave(name, initializing_seconds=AN_HOUR)
    airflow.wait_for_dag(DAG)
    run = airflow.api.trigger(DAG, {"endpoint": name})
    airflow.wait_for_task(DAG, run, "create", "deferred")
    wait_for_a_look(airflow, emulator, name)
    return run


def test_marked_failed_the_endpoint_that_the_task_created_is_paused(airflow: LocalAirflow, emulator: Emulator) -> None:
    """A person gives the wait up: nobody needs the endpoint any more, and it would bill on."""
    run = deferred_create(airflow, emulator, "marked-failed")
    airflow.api.set_task_state(DAG, run, "create", "failed")
    airflow.wait_until(lambda: state(emulator, "marked-failed") == "paused", "the endpoint is paused")
    assert actions(emulator, "marked-failed") == ["pause"]


def test_cleared_the_endpoint_stays_and_is_not_created_again(airflow: LocalAirflow, emulator: Emulator) -> None:
    """The next attempt takes the endpoint up: one creation, no pause by the old trigger, and the wait ends well."""
    run = deferred_create(airflow, emulator, "cleared")
    made = creations(emulator)
    airflow.api.clear(DAG, run, "create")
    airflow.wait_until(lambda: airflow.api.tasks(DAG, run)[0].try_number == 2, "the second attempt has begun")
    airflow.wait_for_task(DAG, run, "create", "deferred")
    wait_for_a_look(airflow, emulator, "cleared")
    emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    assert (made, []) == (creations(emulator), actions(emulator, "cleared"))
    assert state(emulator, "cleared") == "running"


def test_marked_a_success_the_dag_goes_on_with_the_endpoint(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Who marks the wait as done wants what comes after it to have its endpoint."""
    run = deferred_create(airflow, emulator, "marked-success")
    airflow.api.set_task_state(DAG, run, "create", "success")
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    # The triggerer has taken the trigger away once a later wait of it has been served.
    other = deferred_create(airflow, emulator, "after-success")
    assert actions(emulator, "marked-success") == []
    airflow.api.set_task_state(DAG, other, "create", "failed")
    airflow.wait_until(lambda: state(emulator, "after-success") == "paused", "the other endpoint is paused")


def test_a_sensor_that_is_ended_leaves_the_endpoint_alone(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Two DAGs may wait for one endpoint; a sensor has not started it and stops it for nobody."""
    emulator.behave("not-mine", initializing_seconds=AN_HOUR)
    create_endpoint(emulator, "not-mine")
    airflow.wait_for_dag("live_wait")
    run = airflow.api.trigger("live_wait", {"endpoint": "not-mine"})
    airflow.wait_for_task("live_wait", run, "wait", "deferred")
    wait_for_a_look(airflow, emulator, "not-mine")
    airflow.api.set_task_state("live_wait", run, "wait", "failed")
    assert airflow.wait_for_run("live_wait", run) == "failed"
    other = deferred_create(airflow, emulator, "after-sensor")
    assert actions(emulator, "not-mine") == []
    airflow.api.set_task_state(DAG, other, "create", "failed")
    airflow.wait_until(lambda: state(emulator, "after-sensor") == "paused", "the other endpoint is paused")


def test_a_triggerer_that_stops_in_order_stops_no_endpoint(airflow: LocalAirflow, emulator: Emulator) -> None:
    """A rolling deploy cancels every trigger; the tasks are still deferred, and their endpoints are left alone."""
    run = deferred_create(airflow, emulator, "redeployed")
    airflow.stop_component("triggerer")
    airflow.start_component("triggerer")
    wait_for_a_look(airflow, emulator, "redeployed")
    emulator.advance(AN_HOUR)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "create")
    assert actions(emulator, "redeployed") == []
