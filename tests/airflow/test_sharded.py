"""The example of a sharded batch on a live Airflow, one of whose shards loses its worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from dev.airflow_api import TaskState
from dev.local_airflow import LocalAirflow
from dev.task_processes import TASK_PROCESS
from tests.airflow.test_examples import NAME

pytestmark = pytest.mark.extended

DAG = "hf_endpoints_sharded_batch"
ROWS = 160
MODEL: dict[str, Any] = {
    "repository": "org/model",
    "framework": "custom",
    "task": "text-generation",
    "custom_image": {"vLLM": {"url": "vllm/vllm-openai:latest"}},
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
}


def task_processes(airflow: LocalAirflow) -> list[psutil.Process]:
    """The processes in which tasks run."""
    children = psutil.Process(airflow.components["scheduler"].pid).children(recursive=True)
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if TASK_PROCESS.match(" ".join(child.cmdline()).strip())]


def journalled(shards: Path) -> bool:
    """Whether a shard has made rows durable, and is not through."""
    return any(path.stat().st_size > 0 for path in shards.glob("*/_journal/*.log"))


def sent(emulator: Emulator) -> int:
    """Rows that the endpoint was asked."""
    return len([each for each in emulator.requests if each.method == "POST" and each.path.startswith("/endpoints/")])


def shards_of(airflow: LocalAirflow, run: str) -> dict[int, TaskState]:
    """The mapped tasks."""
    return {task.map_index: task for task in airflow.api.tasks(DAG, run) if task.task_id == "summarise"}


def test_a_killed_shard_goes_on_and_all_are_merged(
    airflow: LocalAirflow, emulator: Emulator, outputs: Path, tmp_path: Path
) -> None:
    """Four shards, two at a time: one file with every question once, in order; only the killed shard sends rows again.

    The endpoint is paused when the shards are through.
    """
    questions = [{"id": f"q{n}", "text": f"Natalia sold {n} clips in April. How many is that?"} for n in range(ROWS)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions), encoding="utf-8")
    emulator.behave(NAME, latency_seconds=0.25, slots=4)
    with EndpointsClient(emulator.token, base_url=emulator.url, hub_url=emulator.url) as client:
        client.create_inference_endpoint(NAME, **MODEL)
    airflow.wait_for_dag(DAG)
    before = sent(emulator)
    run = airflow.api.trigger(DAG, {"input_path": str(tmp_path / "in.jsonl")})
    folder = outputs / run.replace(":", "-")
    airflow.wait_until(lambda: journalled(folder / "summaries.shards"), "a shard has rows done")
    task_processes(airflow)[0].kill()
    airflow.wait_until(
        lambda: any(each.state == "failed" or each.try_number == 2 for each in shards_of(airflow, run).values()),
        "the kill is noticed",
    )
    if any(each.state == "failed" for each in shards_of(airflow, run).values()):  # Airflow 3.0 gives it no retry
        assert airflow.wait_for_run(DAG, run) == "failed"
        for task in ("resume", "wait_until_ready", "summarise", "merge", "pause", "done"):
            airflow.api.clear(DAG, run, task)
    assert airflow.wait_for_run(DAG, run) == "success", airflow.task_messages(DAG, run, "summarise")
    answers = [json.loads(line) for line in (folder / "summaries.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], place, None) for place, row in enumerate(questions)] == [
        (answer["id"], answer["index"], answer["error"]) for answer in answers
    ]
    assert ROWS <= sent(emulator) - before < ROWS + ROWS // 4
    assert set(shards_of(airflow, run)) == {0, 1, 2, 3}
    assert emulator.states(NAME)[-2:] == ["running", "paused"]
