"""DAGs that Airflow starts because an endpoint has changed, or because another DAG has worked on one."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import LocalAirflow
from tests.airflow.test_live import create_endpoint, watched, write_rows

pytestmark = pytest.mark.extended

WATCHES = ("watched-running", "watched-failed", "watched-paused", "watched-scaledToZero", "steady-running")
# From 3.3 on Airflow keeps what a watcher has seen over a restart of the triggerer.
REMEMBERS = hasattr(BaseTrigger, "on_kill")


def runs(airflow: LocalAirflow, dag_id: str) -> int:
    return int(airflow.api.call("GET", f"/dags/{dag_id}/dagRuns")["total_entries"])


def counts(airflow: LocalAirflow) -> dict[str, int]:
    """How often each of the watching DAGs was started."""
    return {watch: count for watch in WATCHES if (count := runs(airflow, f"live_on_{watch}"))}


def events(airflow: LocalAirflow, **query: str) -> list[dict[str, Any]]:
    """Asset events, oldest first. Airflow 3.3 can't list one while a run that it started has not begun."""
    queued = {"state": "queued"}
    airflow.wait_until(
        lambda: not airflow.api.call("GET", "/dags/~/dagRuns", params=queued)["total_entries"], "all run"
    )
    answer = airflow.api.call("GET", "/assets/events", params={"order_by": "timestamp", "limit": 100, **query})
    return list(answer["asset_events"])


def remembered(airflow: LocalAirflow) -> list[str]:
    """The states in the stores of all watchers' assets (Airflow 3.3)."""
    with contextlib.closing(sqlite3.connect(f"file:{airflow.home}/airflow.db?mode=ro", uri=True, timeout=30)) as db:
        return sorted(json.loads(value) for (value,) in db.execute("SELECT value FROM asset_state_store"))


@pytest.fixture
def client(emulator: Emulator) -> Any:
    with EndpointsClient(emulator.token, base_url=emulator.url, namespace=emulator.namespace) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def batch(airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that creates an endpoint and uses it, while the other tests watch theirs."""
    folder = tmp_path_factory.mktemp("announced")
    rows, output = write_rows(folder / "in.jsonl", 3), str(folder / "output.jsonl")
    airflow.wait_for_dag("live_batch")
    airflow.wait_for_dag("live_follow")
    return airflow.api.trigger("live_batch", {"endpoint": "announced", "input_path": str(rows), "output_path": output})


def test_each_change_starts_its_dag_once(airflow: LocalAirflow, emulator: Emulator, client: EndpointsClient) -> None:
    """Ready, scaled to zero, paused, failed: one run each, and none before."""
    for watch in WATCHES:
        airflow.wait_for_dag(f"live_on_{watch}")
    airflow.api.switch_on("live_on_watched-running")  # Airflow 3.0 sets up a DAG's watchers when it parses it again
    airflow.wait_until(lambda: watched(airflow, "watched", 4) and watched(airflow, "steady"), "all are watched")
    assert counts(airflow) == {}, "there are no such endpoints yet"

    create_endpoint(emulator, "steady")
    create_endpoint(emulator, "watched")
    seen = {"steady-running": 1, "watched-running": 1}
    airflow.wait_until(lambda: counts(airflow) == seen, "both are ready")
    client.scale_to_zero_inference_endpoint("watched")
    airflow.wait_until(lambda: "watched-scaledToZero" in counts(airflow), "it is at zero")
    client.pause_inference_endpoint("watched")
    airflow.wait_until(lambda: "watched-paused" in counts(airflow), "it is paused")
    emulator.behave("watched", fail="CUDA out of memory on start")
    client.resume_inference_endpoint("watched")
    airflow.wait_until(lambda: "watched-failed" in counts(airflow), "it failed")
    assert dict.fromkeys(WATCHES, 1) == counts(airflow)

    (failed,) = [event for event in events(airflow) if event["name"] == "watched-failed"]
    told = failed["extra"]["payload"]
    assert {"name": "watched", "namespace": "acme", "state": "failed"}.items() <= told.items()
    assert "CUDA" not in str(told), "the container's words stay with the service"


def test_a_triggerer_is_killed(airflow: LocalAirflow, emulator: Emulator, client: EndpointsClient) -> None:
    """Airflow 3.3 remembers what was seen before, so that nothing is missed; before it, what happened in between is
    not told. Nothing is told twice on either: the steady endpoint runs as before.
    """
    if REMEMBERS:
        airflow.wait_until(lambda: remembered(airflow) == ["failed"] * 4 + ["running"], "all was handed over")
    airflow.kill_component("triggerer")
    client.pause_inference_endpoint("watched")  # it had failed
    airflow.start_component("triggerer")
    if REMEMBERS:
        airflow.wait_until(lambda: counts(airflow)["watched-paused"] == 2, "it was paused meanwhile")
    else:
        airflow.wait_until(lambda: watched(airflow, "watched", 8) and watched(airflow, "steady", 2), "all look again")

    emulator.behave("watched", fail=None)
    client.resume_inference_endpoint("watched")
    airflow.wait_until(lambda: counts(airflow)["watched-running"] == 2, "it is ready again")
    told = {"watched-running": 2, "watched-paused": 2 if REMEMBERS else 1}
    assert dict.fromkeys(WATCHES, 1) | told == counts(airflow)


def test_a_create_and_a_batch_are_announced(airflow: LocalAirflow, batch: str) -> None:
    """Deferred, with a name that is a template: the DAG that is scheduled on the endpoint's asset runs."""
    assert airflow.wait_for_run("live_batch", batch) == "success", airflow.task_messages("live_batch", batch, "create")

    told = events(airflow, source_dag_id="live_batch", source_run_id=batch)
    state = {"state": "running", "revision": None}
    assert [(each["uri"], each["source_task_id"], each["extra"]) for each in told] == [
        ("hf-endpoint://acme/announced", "create", state),
        ("hf-endpoint://acme/announced", "batch", {**state, "rows": 3, "succeeded": 3, "failed": 0}),
    ]
    airflow.wait_until(lambda: runs(airflow, "live_follow") >= 1, "the DAG that follows the endpoint runs")
