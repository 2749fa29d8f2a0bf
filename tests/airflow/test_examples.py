"""The example DAGs, unchanged, in the order in which a reader would try them, each ending as its text says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import AirflowFailed, LocalAirflow
from tests.airflow.test_live import create_endpoint, watched

NAME = "airflow-example"
# A start that is over as soon as it has begun meets a race of Airflow's: the scheduler hears that the deferred task's
# worker is done when the task is queued or running again, and fails that try. (Some seconds make it rare.)
A_START = 10.0  # seconds
TICKETS = Path(__file__).resolve().parents[2] / "example_dags" / "data" / "support_tickets.jsonl"


def run_example(airflow: LocalAirflow, dag_id: str) -> str:
    """Run a DAG to its end; returns the run's id. Its failure shows what the failed tasks have logged."""
    airflow.wait_for_dag(dag_id)
    run = airflow.api.trigger(dag_id)
    state = airflow.wait_for_run(dag_id, run)
    tasks = airflow.task_states(dag_id, run)
    failed = {task: airflow.task_messages(dag_id, run, task) for task, state in tasks.items() if state == "failed"}
    assert state == "success", f"{tasks} {failed}"
    assert set(tasks.values()) == {"success"}
    return run


def assert_complete(outputs: Path, run: str, *files: str) -> None:
    """Every file has one line for each ticket, in their order, without an error."""
    ids = [json.loads(line)["id"] for line in TICKETS.read_text(encoding="utf-8").splitlines()]
    assert len(ids) >= 40
    for file in files:
        text = (outputs / run.replace(":", "-") / file).read_text(encoding="utf-8")
        answers = [json.loads(line) for line in text.splitlines()]
        assert [answer["id"] for answer in answers] == ids
        assert [answer["error"] for answer in answers] == [None] * len(ids)
        assert all(answer["output"] for answer in answers)


@pytest.fixture(scope="module", autouse=True)
def _one_after_the_other(airflow: LocalAirflow, emulator: Emulator, outputs: Path) -> None:
    """What all tests of this module need: the endpoint that the first example makes."""
    run = run_example(airflow, "hf_endpoints_batch_text_generation")
    assert_complete(outputs, run, "summaries.jsonl", "classes.jsonl")


def test_batch_text_generation(emulator: Emulator) -> None:
    """Create, wait, two batches, pause: every ticket answered twice, the endpoint paused, no other one made."""
    assert emulator.states(NAME) == ["pending", "initializing", "running", "paused"]
    assert emulator.endpoint(NAME)["status"]["state"] == "paused"


def test_resume_batch_pause(airflow: LocalAirflow, emulator: Emulator, outputs: Path) -> None:
    """The paused endpoint is resumed, used, and paused again."""
    run = run_example(airflow, "hf_endpoints_resume_batch_pause")
    assert_complete(outputs, run, "summaries.jsonl")
    assert emulator.states(NAME)[-2:] == ["running", "paused"]


def test_scale_to_zero_between_bursts(airflow: LocalAirflow, emulator: Emulator, outputs: Path) -> None:
    """Between the bursts the endpoint is at zero, the second one wakes it, and it ends at zero."""
    before = len(emulator.states(NAME))
    run = run_example(airflow, "hf_endpoints_scale_to_zero_between_bursts")
    assert_complete(outputs, run, "summaries.jsonl", "urgency.jsonl")
    states = emulator.states(NAME)[before:]
    assert states.count("scaledToZero") == 2
    assert states.count("running") == 2
    assert states[-1] == "scaledToZero"


def test_update_for_large_run(airflow: LocalAirflow, emulator: Emulator, outputs: Path) -> None:
    """The hardware is as before afterwards, and the endpoint paused."""
    hardware = emulator.endpoint(NAME)["compute"]
    run = run_example(airflow, "hf_endpoints_update_for_large_run")
    assert_complete(outputs, run, "replies.jsonl")
    after = emulator.endpoint(NAME)
    assert after["compute"]["instanceSize"] == hardware["instanceSize"]
    assert after["compute"]["scaling"]["maxReplica"] == hardware["scaling"]["maxReplica"]
    assert after["status"]["state"] == "paused"


def test_a_failed_batch_still_pauses(airflow: LocalAirflow, emulator: Emulator) -> None:
    """A batch that can never write its output fails without a retry, and the endpoint is paused all the same."""
    dag_id = "hf_endpoints_batch_text_generation"
    run = airflow.api.trigger(dag_id, {"output_folder": "/dev/null/nowhere"})
    assert airflow.wait_for_run(dag_id, run) == "failed"
    tasks = airflow.task_states(dag_id, run)
    assert tasks["summarise"] == "failed"
    assert tasks["pause"] == "success"
    assert emulator.states(NAME)[-2:] == ["running", "paused"]


@pytest.mark.extended
def test_when_endpoint_fails(airflow: LocalAirflow, emulator: Emulator) -> None:
    """The endpoint fails: the DAG runs once, and the fallback runs. It is back: the fallback is paused again."""
    dag_id, fallback = "hf_endpoints_when_endpoint_fails", f"{NAME}-fallback"
    emulator.behave(fallback, initializing_seconds=A_START)
    create_endpoint(emulator, fallback)
    with EndpointsClient(emulator.token, base_url=emulator.url, namespace=emulator.namespace) as client:
        client.pause_inference_endpoint(fallback)
        airflow.wait_for_dag(dag_id)
        airflow.api.switch_on(dag_id)
        airflow.wait_until(lambda: watched(airflow, NAME), "it is watched")

        emulator.behave(NAME, fail="CUDA out of memory on start")
        client.resume_inference_endpoint(NAME)
        wait_for_end(airflow, dag_id, 1)
        assert client.get_inference_endpoint(fallback).status == "running"

        emulator.behave(NAME, fail=None)
        client.resume_inference_endpoint(NAME)
        wait_for_end(airflow, dag_id, 2)
        assert client.get_inference_endpoint(fallback).status == "paused"
        airflow.api.switch_off(dag_id)  # for the tests that count who looks
        client.pause_inference_endpoint(NAME)
    for run, words in zip(ended(airflow, dag_id), ("failed to start", "is ready"), strict=True):
        assert any(words in message for message in airflow.task_messages(dag_id, run, "tell"))


def wait_for_end(airflow: LocalAirflow, dag_id: str, count: int) -> None:
    """Until so many runs have succeeded; when they don't, the error says how far they came."""
    try:
        airflow.wait_until(lambda: len(ended(airflow, dag_id)) == count, f"{count} runs of {dag_id} have succeeded")
    except AirflowFailed as error:
        runs = airflow.api.call("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
        tasks = {run["dag_run_id"]: airflow.api.tasks(dag_id, run["dag_run_id"]) for run in runs}
        triggerer = airflow.components["triggerer"].log.read_text(errors="replace")
        raise AirflowFailed(f"{error}\n{tasks}\n{triggerer[-4000:]}") from None


def ended(airflow: LocalAirflow, dag_id: str) -> list[str]:
    """The runs that have succeeded, oldest first; one that failed is an error."""
    answer = airflow.api.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "run_after"})
    runs = {run["dag_run_id"]: run["state"] for run in answer["dag_runs"]}
    assert "failed" not in runs.values()
    return [run for run, state in runs.items() if state == "success"]


def test_delete(airflow: LocalAirflow, emulator: Emulator) -> None:
    """The endpoint is gone, and deleting it once more is a success too."""
    run_example(airflow, "hf_endpoints_delete_endpoint")
    with pytest.raises(KeyError):
        emulator.endpoint(NAME)
    run_example(airflow, "hf_endpoints_delete_endpoint")
