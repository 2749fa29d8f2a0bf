"""Tasks that run like pods: nothing of a task outlives its pod, and pods are evicted.

The page on Kubernetes describes the way of a SIGTERM to the task. Airflow's own supervisor is tested for it here.
"""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from airflow import __version__ as AIRFLOW_VERSION

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.local_airflow import LocalAirflow
from tests.airflow.cases import Case
from tests.airflow.test_sharded import sent
from tests.airflow.test_workers import take_up, waiting_on_worker

GRACE = 30.0  # seconds: what Kubernetes gives a pod that names no `terminationGracePeriodSeconds`
ROWS = 120
# The first Airflow whose supervisor passes a SIGTERM on to its task.
PASSES_ON = (3, 3) <= tuple(map(int, AIRFLOW_VERSION.split(".")[:2]))
# Before, a pod is gone at once, as in `test_workers.py`.
pytestmark = [] if PASSES_ON else [pytest.mark.extended]


def pods(airflow: LocalAirflow, dag_id: str, task_id: str) -> list[Path]:
    """The pods of a task that run."""
    return [file.parent for file in (airflow.home / "pods").glob(f"{dag_id}.{task_id}.*/pid")]


def evict(airflow: LocalAirflow, dag_id: str, task_id: str) -> bool:
    """As a node does: SIGTERM to the first process, and SIGKILL to all of the pod that is left after the grace.

    :return: whether the pod ended by itself
    """
    (folder,) = pods(airflow, dag_id, task_id)
    first = psutil.Process(int((folder / "pid").read_text()))
    family = first.children(recursive=True)
    first.terminate()
    _, left = psutil.wait_procs([first], timeout=GRACE)
    for process in [*left, *family]:
        if process.is_running():
            process.kill()
    airflow.wait_until(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, "the pod is gone")
    return not left


@pytest.mark.skipif(not PASSES_ON, reason="before Airflow 3.3 the supervisor ends with SIGTERM, and its task with it")
def test_a_start_is_released_within_the_grace(airflow: LocalAirflow, case: Case) -> None:
    """The pod is evicted while its task waits: the endpoint is paused before the pod is killed, and the pod's
    output has the line of the task's log that says so.
    """
    run = waiting_on_worker(case, "live_pod_create")
    evict(airflow, "live_pod_create", "create")
    assert airflow.wait_for_run("live_pod_create", run) == "failed"
    case.expect("create", "pause")
    assert case.state() == "paused"
    (said,) = (airflow.home / "pods").glob("live_pod_create.create.*.log")
    assert f"Endpoint {case.endpoint} did not become ready; it is now paused" in said.read_text(errors="replace")


def test_a_batch_goes_on_in_another_pod(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    """The second pod has nothing of the first but the output's folder: each row is there once, and the endpoint paused.

    Where Airflow passes SIGTERM on, what was in flight comes in, and no row is sent twice. Else the pod is gone at
    once: what was in flight, and what was not yet in the journal, is sent again.
    """
    name, dag_id, task_id = "pod-batch", "live_pod_batch", "batch"
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"ticket {n}"}) + "\n" for n in range(ROWS)))
    output = tmp_path / "out" / "results.jsonl"
    emulator.behave(name, latency_seconds=1.0)
    airflow.wait_for_dag(dag_id)
    before = sent(emulator)
    conf = {"endpoint": name, "input_path": str(tmp_path / "in.jsonl"), "output_path": str(output)}
    run = airflow.api.trigger(dag_id, conf)
    airflow.wait_until(lambda: any(each.stat().st_size for each in output.parent.rglob("*.log")), "rows are recorded")
    ended = evict(airflow, dag_id, task_id)
    emulator.behave(name, latency_seconds=0.0)
    take_up(airflow, dag_id, run, task_id)
    assert airflow.wait_for_run(dag_id, run) == "success", airflow.task_messages(dag_id, run, task_id)
    answers = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [(place, None) for place in range(ROWS)] == [(each["index"], each["error"]) for each in answers]
    asked = sent(emulator) - before
    assert asked == ROWS if PASSES_ON and ended else ROWS <= asked < ROWS + ROWS // 4
    assert emulator.states(name)[-1] == "paused"
    assert not list((airflow.home / "pods").glob(f"{dag_id}.{task_id}.1.*/pid"))
