"""DAGs that Airflow starts because an endpoint has changed, or because another DAG has worked on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import LocalAirflow
from tests.airflow.test_live import create_endpoint, wait_for_a_look, write_rows

STATES = ("running", "failed", "paused", "scaledToZero")
# From 3.3 on Airflow keeps what a watcher has seen over a restart of the triggerer.
REMEMBERS = hasattr(BaseTrigger, "on_kill")


def runs(airflow: LocalAirflow, dag_id: str) -> int:
    return int(airflow.api.call("GET", f"/dags/{dag_id}/dagRuns")["total_entries"])


def counts(airflow: LocalAirflow) -> dict[str, int]:
    """How often each of the watching DAGs was started."""
    return {state: count for state in STATES if (count := runs(airflow, f"live_on_{state}"))}


def events(airflow: LocalAirflow, **query: str) -> list[dict[str, Any]]:
    """Asset events, oldest first."""
    answer = airflow.api.call("GET", "/assets/events", params={"order_by": "timestamp", "limit": 100, **query})
    return list(answer["asset_events"])


def wait_for_looks(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Until all that could be seen was seen, and what was fired has been taken up by the scheduler."""
    for _ in range(4):
        wait_for_a_look(airflow, emulator, "watched")


@pytest.fixture
def client(emulator: Emulator) -> Any:
    with EndpointsClient(emulator.token, base_url=emulator.url, namespace=emulator.namespace) as client:
        yield client


def test_each_change_starts_its_dag_once(airflow: LocalAirflow, emulator: Emulator, client: EndpointsClient) -> None:
    """Ready, scaled to zero, paused, failed: one run each, none before, and none again after a new triggerer."""
    for state in STATES:
        airflow.wait_for_dag(f"live_on_{state}")
    airflow.api.switch_on("live_on_running")  # Airflow 3.0 sets a new DAG's watchers up when it reads the file again
    wait_for_a_look(airflow, emulator, "watched")  # there is no such endpoint yet
    assert counts(airflow) == {}

    create_endpoint(emulator, "watched")
    airflow.wait_until(lambda: counts(airflow) == {"running": 1}, "it is ready")
    client.scale_to_zero_inference_endpoint("watched")
    airflow.wait_until(lambda: counts(airflow) == {"running": 1, "scaledToZero": 1}, "it is at zero")
    client.pause_inference_endpoint("watched")
    airflow.wait_until(lambda: "paused" in counts(airflow), "it is paused")
    emulator.behave("watched", fail="CUDA out of memory on start")
    client.resume_inference_endpoint("watched")
    airflow.wait_until(lambda: "failed" in counts(airflow), "it failed")
    wait_for_looks(airflow, emulator)
    once = dict.fromkeys(STATES, 1)
    assert counts(airflow) == once

    airflow.stop_component("triggerer")
    airflow.start_component("triggerer")
    wait_for_looks(airflow, emulator)
    airflow.kill_component("triggerer")
    airflow.start_component("triggerer")
    wait_for_looks(airflow, emulator)
    assert counts(airflow) == once

    (failed,) = [event for event in events(airflow) if event["name"] == "watched-failed"]
    told = failed["extra"]["payload"]
    assert {"name": "watched", "namespace": "acme", "state": "failed"}.items() <= told.items()
    assert "CUDA" not in str(told), "the container's words stay with the service"


def test_what_changes_without_a_triggerer(airflow: LocalAirflow, emulator: Emulator, client: EndpointsClient) -> None:
    """Airflow 3.3 remembers what was seen before, so that nothing is missed; before it, nothing is told."""
    before = runs(airflow, "live_on_paused")
    airflow.stop_component("triggerer")
    client.pause_inference_endpoint("watched")  # it had failed
    airflow.start_component("triggerer")
    wait_for_looks(airflow, emulator)
    assert runs(airflow, "live_on_paused") == before + (1 if REMEMBERS else 0)


def test_a_create_and_a_batch_are_announced(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """Deferred, with a name that is a template: the DAG that is scheduled on the endpoint's asset runs."""
    airflow.wait_for_dag("live_follow")
    airflow.wait_for_dag("live_batch")
    output = str(tmp_path / "output.jsonl")
    conf = {"endpoint": "announced", "input_path": str(write_rows(tmp_path / "in.jsonl", 3)), "output_path": output}
    run = airflow.api.trigger("live_batch", conf)

    assert airflow.wait_for_run("live_batch", run) == "success", airflow.task_messages("live_batch", run, "create")

    told = events(airflow, source_dag_id="live_batch", source_run_id=run)
    state = {"state": "running", "revision": None}
    assert [(each["uri"], each["source_task_id"], each["extra"]) for each in told] == [
        ("hf-endpoint://acme/announced", "create", state),
        ("hf-endpoint://acme/announced", "batch", {**state, "rows": 3, "succeeded": 3, "failed": 0}),
    ]
    airflow.wait_until(lambda: runs(airflow, "live_follow") >= 1, "the DAG that follows the endpoint runs")
