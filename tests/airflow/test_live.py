"""The provider under a real scheduler, triggerer and API server, against the emulator."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.local_airflow import LocalAirflow
from tests.airflow.cases import Case

AN_HOUR = 3600.0  # seconds of the emulator's clock: longer than any test, unless the clock is put forward


def create_endpoint(emulator: Emulator, name: str) -> None:
    """An endpoint that somebody made before, not with a DAG."""
    with EndpointsClient(emulator.token, base_url=emulator.url, hub_url=emulator.url) as client:
        client.create_inference_endpoint(
            name,
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
            framework="pytorch",
            task="text-generation",
            vendor="aws",
            region="us-east-1",
            accelerator="cpu",
            instance_type="intel-icl",
            instance_size="x2",
        )


def looks_at(emulator: Emulator, name: str) -> int:
    """How often somebody has asked the control plane for the endpoint."""
    return sum(request.method == "GET" and request.path.endswith(f"/{name}") for request in emulator.requests)


def wait_for_a_look(airflow: LocalAirflow, emulator: Emulator, name: str) -> None:
    """Wait until somebody asks for the endpoint: a worker does; a trigger only where it is alone in its namespace.

    The waits of one namespace share a list of all its endpoints, the watchers of `dags_extended` among them.
    """
    seen = looks_at(emulator, name)
    airflow.wait_until(lambda: looks_at(emulator, name) > seen, f"somebody looks at {name}")


def watched(airflow: LocalAirflow, name: str, times: int = 1) -> bool:
    """Whether watchers of the endpoint have so often begun with a state that they saw, in all triggerers so far."""
    log = airflow.components["triggerer"].log.read_text(errors="replace")
    return log.count(f"Watching endpoint {name}, which is ") >= times


def wait_for_words(airflow: LocalAirflow, dag_id: str, run: str, task: str, *words: str) -> None:
    """Wait until a task's log says something: Airflow may write its last lines after it has set the task's state."""

    def said() -> bool:
        log = "\n".join(airflow.task_messages(dag_id, run, task))
        return all(word in log for word in words)

    airflow.wait_until(said, f"the log of {task} says {words}")


def write_rows(path: Path, rows: int) -> Path:
    path.write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(rows)))
    return path


def test_a_wait_survives_the_triggerer(airflow: LocalAirflow, case: Case) -> None:
    """A sensor deferred over a triggerer that is killed without warning ends with the next one."""
    case.slow()
    case.create()
    run = case.trigger("live_wait")
    airflow.wait_for_handover("live_wait", run, "wait")
    case.wait_for_a_look()

    airflow.kill_component("triggerer")
    airflow.start_component("triggerer")
    case.wait_for_a_look()
    assert airflow.task_states("live_wait", run)["wait"] == "deferred"
    case.emulator.advance(AN_HOUR)

    assert airflow.wait_for_run("live_wait", run) == "success", airflow.task_messages("live_wait", run, "wait")
    assert airflow.api.tasks("live_wait", run)[0].try_number == 1


def test_the_link_is_there_during_the_wait(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Whoever wonders why a task waits can go to the endpoint's page from it, before the wait has ended."""
    emulator.behave("linked", initializing_seconds=AN_HOUR)
    airflow.wait_for_dag("live_create")
    run = airflow.api.trigger("live_create", {"endpoint": "linked"})
    airflow.wait_for_handover("live_create", run, "create")

    links = airflow.api.links("live_create", run, "create")

    assert any(link and link.startswith("http") and "linked" in link for link in links.values()), links
    emulator.advance(AN_HOUR)
    assert airflow.wait_for_run("live_create", run) == "success"
    result = airflow.api.xcom("live_create", run, "create")
    assert "running" in json.dumps(result), "what the task returns is small and says the endpoint's state"


def test_a_batch_writes_every_row_and_pauses(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """Create, batch and pause as a DAG: one output line for each row, in order, and nothing left running."""
    rows = write_rows(tmp_path / "rows.jsonl", 25)
    output = tmp_path / "output.jsonl"
    airflow.wait_for_dag("live_batch")
    conf = {"endpoint": "batch-good", "input_path": str(rows), "output_path": str(output)}
    run = airflow.api.trigger("live_batch", conf)

    state = airflow.wait_for_run("live_batch", run)

    assert state == "success", airflow.task_messages("live_batch", run, "batch")
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["index"] for answer in answers] == list(range(25))
    assert [answer["error"] for answer in answers] == [None] * 25
    assert emulator.states("batch-good")[-1] == "paused"


def test_a_failed_batch_still_pauses(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """When the batch fails, the teardown pauses the endpoint, and the run still counts as failed."""
    airflow.wait_for_dag("live_batch")
    conf = {
        "endpoint": "batch-bad",
        "input_path": str(tmp_path / "nowhere.jsonl"),
        "output_path": str(tmp_path / "output.jsonl"),
    }
    run = airflow.api.trigger("live_batch", conf)

    state = airflow.wait_for_run("live_batch", run)

    assert state == "failed"
    states = airflow.task_states("live_batch", run)
    assert states == {"create": "success", "batch": "failed", "pause": "success"}
    assert emulator.states("batch-bad")[-1] == "paused"
    wait_for_words(airflow, "live_batch", run, "batch", "nowhere.jsonl")


def test_an_endpoint_that_fails_ends_the_wait_with_its_reason(airflow: LocalAirflow, emulator: Emulator) -> None:
    """The task of an endpoint that cannot start fails at once, and its log has the service's words and the logs."""
    emulator.behave("hopeless", fail="CUDA out of memory on start", logs=("loading weights", "allocation failed"))
    airflow.wait_for_dag("live_create")
    run = airflow.api.trigger("live_create", {"endpoint": "hopeless"})

    state = airflow.wait_for_run("live_create", run)

    assert state == "failed"
    wait_for_words(airflow, "live_create", run, "create", "CUDA out of memory on start", "allocation failed")


def test_the_test_button_says_whose_token_it_is(airflow: LocalAirflow, emulator: Emulator) -> None:
    """The Test button of a right connection names the user; the one of a wrong token says that it is refused."""
    connection = {"connection_id": "tried", "conn_type": "hf_endpoints", "host": emulator.url}

    worked, said = airflow.api.test_connection(connection | {"password": emulator.token})
    assert worked, said
    assert "acme" in said

    worked, said = airflow.api.test_connection(connection | {"password": "hf_wrong"})
    assert not worked
    assert "hf_wrong" not in said


def test_the_form_of_the_connection(airflow: LocalAirflow) -> None:
    """The connection form of the UI calls the token by its name and has a field for everything in the extra."""
    (meta,) = [meta for meta in airflow.api.hook_meta() if meta["connection_type"] == "hf_endpoints"]
    assert "token" in json.dumps(meta["standard_fields"]).lower()
    assert {"namespace", "timeout", "hub_url", "catalog_url"} <= set(meta["extra_fields"])


def test_the_token_is_nowhere(airflow: LocalAirflow, emulator: Emulator) -> None:
    """After all that ran so far, neither a log nor the metadata database has the token in it."""
    secret = emulator.token.encode()
    files = [file for file in airflow.home.rglob("*") if file.is_file() and not file.is_symlink()]
    assert any(file.suffix == ".log" for file in files)
    assert not [file for file in files if secret in content(file)]


def content(file: Path) -> bytes:
    """What is in it; nothing where it is gone meanwhile, as SQLite's own beside the database come and go."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_bytes()
    return b""
