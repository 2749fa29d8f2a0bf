"""An endpoint that runs for as long as the tasks inside need it, however those end, under a real Airflow.

Each test looks at what reached the service: the calls that changed something, and the endpoint's last state.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.kept import KeptAt, service_name
from dev.local_airflow import LocalAirflow
from dev.task_processes import task_process
from tests.airflow.cases import actions, state
from tests.airflow.test_live import AN_HOUR, create_endpoint, wait_for_a_look
from tests.airflow.test_workers import clear_work

DAG = "live_use"


# A start that is over as soon as it has begun meets a race of Airflow's: the scheduler hears that the deferred task's
# worker is done when the task is queued again, and fails it.
A_START = 10.0  # seconds


def begin(airflow: LocalAirflow, emulator: Emulator, dag: str, name: str, start: float = A_START, **params: Any) -> str:
    """A run that uses the endpoint `name`, which takes so long to start."""
    emulator.behave(name, initializing_seconds=start)
    airflow.wait_for_dag(dag)
    return airflow.api.trigger(dag, {"endpoint": name, **params})


def working(airflow: LocalAirflow, emulator: Emulator, name: str, gate: Path, **params: Any) -> str:
    """A run whose work runs, and does until the file `gate` is there."""
    run = begin(airflow, emulator, DAG, name, gate=str(gate), **params)
    airflow.wait_for_task(DAG, run, "use.work", "running")
    return run


def pause(emulator: Emulator, name: str) -> None:
    with EndpointsClient(emulator.token, base_url=emulator.url) as client:
        client.pause_inference_endpoint(name)


def messages(airflow: LocalAirflow, dag: str, run: str) -> str:
    """What the tasks of a run have logged, for a test that fails."""
    lines = [line for task in airflow.task_states(dag, run) for line in airflow.task_messages(dag, run, task)]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def ended(airflow: LocalAirflow, emulator: Emulator) -> dict[str, tuple[str, str, str]]:
    """Runs that nobody touches, side by side: by endpoint the DAG, the run, and how it ended."""
    begun = {
        "use-works": (DAG, begin(airflow, emulator, DAG, "use-works")),
        "use-fails": (DAG, begin(airflow, emulator, DAG, "use-fails", fail=True)),
        "use-slow": ("live_use_timeout", begin(airflow, emulator, "live_use_timeout", "use-slow", AN_HOUR)),
    }
    return {name: (dag, run, airflow.wait_for_run(dag, run)) for name, (dag, run) in begun.items()}


@pytest.fixture(scope="module")
def more_ended(airflow: LocalAirflow, emulator: Emulator) -> dict[str, tuple[str, str, str]]:
    """The same of runs that find or release their endpoint in other ways."""
    for name in ("use-running", "use-paused"):
        create_endpoint(emulator, name)
    airflow.wait_until(lambda: state(emulator, "use-paused") == "running", "it runs")
    pause(emulator, "use-paused")
    emulator.add_fault("/v2/endpoint/acme/use-stuck/pause", method="POST", status=403)
    for name in ("use-map-outer", "use-map-inner"):
        emulator.behave(name, initializing_seconds=A_START)
    begun = {
        "use-stuck": (DAG, begin(airflow, emulator, DAG, "use-stuck")),
        "use-running": ("live_use_existing", begin(airflow, emulator, "live_use_existing", "use-running")),
        "use-paused": ("live_use_existing", begin(airflow, emulator, "live_use_existing", "use-paused")),
        "use-map": ("live_use_mapped", begin(airflow, emulator, "live_use_mapped", "use-map")),
    }
    found = {name: (dag, run, airflow.wait_for_run(dag, run)) for name, (dag, run) in begun.items()}
    emulator.clear_faults()
    pause(emulator, "use-stuck")
    return found


def states(airflow: LocalAirflow, ended: dict[str, tuple[str, str, str]], name: str) -> tuple[str | None, ...]:
    """How the start, the work, the release and what stands for it ended."""
    tasks = airflow.task_states(*ended[name][:2])
    return tuple(tasks[f"use.{each}"] for each in ("start", "work", "release", "released"))


def test_the_work_succeeds(airflow: LocalAirflow, emulator: Emulator, ended: dict[str, tuple[str, str, str]]) -> None:
    """Created, used, paused; the run is a success."""
    dag, run, end = ended["use-works"]
    assert end == "success", messages(airflow, dag, run)
    assert (["pause"], "paused") == (actions(emulator, "use-works"), state(emulator, "use-works"))


def test_the_work_fails(airflow: LocalAirflow, emulator: Emulator, ended: dict[str, tuple[str, str, str]]) -> None:
    """The endpoint is paused all the same, and the run is the work's: failed."""
    assert ended["use-fails"][2] == "failed"
    expected = ("success", "failed", "success", "success")
    assert expected == states(airflow, ended, "use-fails"), messages(airflow, *ended["use-fails"][:2])
    assert (["pause"], "paused") == (actions(emulator, "use-fails"), state(emulator, "use-fails"))


def test_the_start_takes_too_long(
    airflow: LocalAirflow, emulator: Emulator, ended: dict[str, tuple[str, str, str]]
) -> None:
    """The endpoint does not stay, the work does not run, and the run fails."""
    assert ended["use-slow"][2] == "failed"
    assert ("failed", "upstream_failed", "success", "success") == states(airflow, ended, "use-slow")
    assert (["pause"], "paused") == (actions(emulator, "use-slow"), state(emulator, "use-slow"))


@pytest.mark.extended
def test_work_that_does_not_begin(airflow: LocalAirflow, emulator: Emulator) -> None:
    """No pool lets it: the watch, which begins and ends in the triggerer, pauses the endpoint, says why, and fails."""
    dag = "live_use_idle"
    run = begin(airflow, emulator, dag, "use-idle", start=20.0)
    airflow.wait_for_task(dag, run, "use.watch", "failed")
    assert (["pause"], "paused") == (actions(emulator, "use-idle"), state(emulator, "use-idle"))
    why = "No task has begun to use endpoint acme/use-idle within max_idle=5 s"  # the triggerer writes its log later
    airflow.wait_until(lambda: why in messages(airflow, dag, run), f"the watch's log says: {why}")
    airflow.api.set_task_state(dag, run, "use.work", "failed")
    assert "failed" == airflow.wait_for_run(dag, run)
    assert "success" == airflow.task_states(dag, run)["use.release"]


@pytest.mark.extended
def test_a_release_that_fails_fails_the_run(airflow: LocalAirflow, more_ended: dict[str, tuple[str, str, str]]) -> None:
    """The work is a success and the endpoint may be running: nobody would look if the run were green."""
    assert more_ended["use-stuck"][2] == "failed"
    assert ("success", "success", "failed", "upstream_failed") == states(airflow, more_ended, "use-stuck")


@pytest.mark.extended
@pytest.mark.parametrize(("found", "did"), [("running", ["resume"]), ("paused", ["pause", "resume", "pause"])])
def test_an_endpoint_is_left_as_it_was_found(
    airflow: LocalAirflow, emulator: Emulator, more_ended: dict[str, tuple[str, str, str]], found: str, did: list[str]
) -> None:
    """One that somebody else keeps running goes on running (a resume says so); one that was paused is paused again."""
    dag, run, end = more_ended[f"use-{found}"]
    assert end == "success", messages(airflow, dag, run)
    assert (did, found) == (actions(emulator, f"use-{found}"), state(emulator, f"use-{found}"))


@pytest.mark.extended
def test_mapped_tasks_and_one_group_in_another(
    airflow: LocalAirflow, emulator: Emulator, more_ended: dict[str, tuple[str, str, str]]
) -> None:
    """Two endpoints, each used by its own tasks, each given back as its group says."""
    dag, run, end = more_ended["use-map"]
    assert end == "success", messages(airflow, dag, run)
    assert (["delete"], ["pause"]) == (actions(emulator, "use-map-outer"), actions(emulator, "use-map-inner"))
    assert state(emulator, "use-map-inner") == "paused"


@pytest.mark.extended
def test_the_work_is_cleared_while_it_runs(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """The setups run anew; that the first attempt created the endpoint is not forgotten, so it is paused at the end."""
    run = working(airflow, emulator, "use-cleared", tmp_path / "gate")
    clear_work(airflow, DAG, run)
    (tmp_path / "gate").touch()
    assert airflow.wait_for_run(DAG, run) == "success", messages(airflow, DAG, run)
    assert (["pause"], "paused") == (actions(emulator, "use-cleared"), state(emulator, "use-cleared"))


@pytest.mark.extended
def test_the_work_is_cleared_after_the_end(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """Cleared and mended it gets its endpoint again, and gives it back again."""
    (tmp_path / "gate").touch()
    run = begin(airflow, emulator, DAG, "use-mended", gate=str(tmp_path / "gate"), fail=True)
    assert airflow.wait_for_run(DAG, run) == "failed"
    (tmp_path / "gate.mended").touch()
    airflow.api.clear(DAG, run, "use.work")
    assert airflow.wait_for_run(DAG, run) == "success", messages(airflow, DAG, run)
    assert ["pause", "resume", "pause"] == actions(emulator, "use-mended")


@pytest.mark.extended
def test_the_work_is_marked_failed(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """A person ends the work."""
    run = working(airflow, emulator, "use-marked", tmp_path / "gate")
    airflow.api.set_task_state(DAG, run, "use.work", "failed")
    assert airflow.wait_for_run(DAG, run) == "failed"
    assert (["pause"], "paused") == (actions(emulator, "use-marked"), state(emulator, "use-marked"))


@pytest.mark.extended
def test_the_run_is_marked_failed(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """A person ends the whole run while the work runs: the teardown still runs."""
    run = working(airflow, emulator, "use-run-marked", tmp_path / "gate")
    airflow.api.set_run_state(DAG, run, "failed")
    airflow.wait_until(lambda: state(emulator, "use-run-marked") == "paused", "the endpoint is paused")
    assert airflow.wait_for_run(DAG, run) == "failed"
    assert ["pause"] == actions(emulator, "use-run-marked")


@pytest.mark.extended
def test_the_worker_of_the_start_is_killed(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Nothing of the task's own code runs, and it has no retry: the release saves the endpoint."""
    run = begin(airflow, emulator, "live_use_on_worker", "use-killed", AN_HOUR)
    airflow.wait_for_task("live_use_on_worker", run, "use.start", "running")
    wait_for_a_look(airflow, emulator, "use-killed")
    (start,) = [each for each in airflow.api.tasks("live_use_on_worker", run) if each.task_id == "use.start"]
    os.kill(task_process(airflow, start), signal.SIGKILL)
    assert airflow.wait_for_run("live_use_on_worker", run) == "failed"
    assert (["pause"], "paused") == (actions(emulator, "use-killed"), state(emulator, "use-killed"))


@pytest.mark.extended
def test_two_runs_share_an_endpoint(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """The first to end leaves it to the second, which pauses it. The leases were in Airflow Variables, and are gone."""
    prefix = f"hf_endpoints_leases.{KeptAt(service=service_name(emulator.url)).key('acme')}.use-shared."
    first = working(airflow, emulator, "use-shared", tmp_path / "first")
    second = working(airflow, emulator, "use-shared", tmp_path / "second")
    assert len(airflow.api.variable_keys(prefix)) >= 2
    (tmp_path / "first").touch()
    assert airflow.wait_for_run(DAG, first) == "success", messages(airflow, DAG, first)
    assert ([], "running") == (actions(emulator, "use-shared"), state(emulator, "use-shared"))
    (tmp_path / "second").touch()
    assert airflow.wait_for_run(DAG, second) == "success", messages(airflow, DAG, second)
    assert (["pause"], "paused") == (actions(emulator, "use-shared"), state(emulator, "use-shared"))
    assert [] == airflow.api.variable_keys(prefix)
    assert "can't" not in messages(airflow, DAG, second)


def test_functions_are_work_of_the_group(airflow: LocalAirflow, emulator: Emulator, outputs: Path) -> None:
    """Decorated functions, mapped or not: their tasks run between start and release, and each map index has a file."""
    run = begin(airflow, emulator, "live_use_functions", "use-functions", output=str(outputs / "functions"))
    assert airflow.wait_for_run("live_use_functions", run) == "success", messages(airflow, "live_use_functions", run)
    files = sorted((outputs / "functions").glob("[01].jsonl"))
    inputs = [file.with_suffix(".input.jsonl").read_text().splitlines() for file in files]
    expected = [[f"{word} {number}" for number in range(3)] for word in ("one", "two")]
    assert expected == [[json.loads(line)["text"] for line in lines] for lines in inputs]
    assert [3, 3] == [len(file.read_text().splitlines()) for file in files]
    assert "paused" == state(emulator, "use-functions")
