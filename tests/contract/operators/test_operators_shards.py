"""Planner, mapped batches and merge as operators against the emulator; what is refused, and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.batch_errors import ShardsMissingError
from airflow_provider_hf_endpoints.operators.inference import (
    BatchInferenceOperator,
    MergeBatchShardsOperator,
    PlanBatchShardsOperator,
)
from tests.contract.operators_play import FAST, VLLM, create, received, run


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    """Forty rows, and where their answers go."""
    lines = "".join(json.dumps({"text": f"row {i}", "key": f"k{i}"}) + "\n" for i in range(40))
    (tmp_path / "in.jsonl").write_text(lines)
    return {"input_path": str(tmp_path / "in.jsonl"), "output_path": str(tmp_path / "out.jsonl")}


def plan(paths: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = run(PlanBatchShardsOperator(**{"task_id": "plan", "shards": 4, **paths, **changes}))
    return result


def mapped(paths: dict[str, Any], shards: list[dict[str, Any]], **changes: Any) -> list[Any]:
    """The tasks that Airflow makes of a mapped batch."""
    given = {"task_id": "batch", "endpoint": "demo", "task": "chat-completion", "prompt": "{text}", **FAST, **paths}
    with DAG("dag", schedule=None):
        batch = BatchInferenceOperator.partial(**given, **changes).expand(shard=shards)
    return [batch.unmap({"shard": shard}) for shard in shards]


def merge(paths: dict[str, Any], **changes: Any) -> Any:
    return run(MergeBatchShardsOperator(task_id="merge", output_path=paths["output_path"], **changes))


def test_plan_map_and_merge(emulator: Emulator, paths: dict[str, Any]) -> None:
    """What goes through XCom is small and plain; the merge's result is the report of the whole, also a second time."""
    run(create(custom_image=VLLM))
    shards = plan(paths)
    assert len(json.dumps(shards)) < 80 * len(shards)
    with pytest.raises(ShardsMissingError, match="4 of 4 shards are not finished: 00000-of-00004"):
        merge(paths)
    for task in mapped(paths, shards, id_column="key"):
        assert run(task)["rows"] > 0
    report = merge(paths)
    assert (40, 40, 0, paths["output_path"]) == tuple(
        report[name] for name in ("rows", "succeeded", "failed", "output_path")
    )
    lines = [json.loads(line) for line in Path(paths["output_path"]).read_text().splitlines()]
    assert [(f"k{i}", i) for i in range(40)] == [(line["id"], line["index"]) for line in lines]
    before = received(emulator)
    assert report == merge(paths)
    assert shards == [{**each, "began": shards[0]["began"]} for each in plan(paths)]
    assert before == received(emulator)


def test_tasks_that_airflow_holds_back_count_for_the_limit(paths: dict[str, Any]) -> None:
    """`max_active_tis_per_dagrun` says how many share; an option says it better."""
    shards = plan(paths)
    for changes, limits in (
        ({}, [3, 3, 2, 2]),
        ({"max_active_tis_per_dagrun": 2}, [5, 5, 5, 5]),
        ({"max_active_tis_per_dag": 3}, [3, 3, 3, 3]),
        ({"job_options": {"concurrent_shards": 1}}, [10, 10, 10, 10]),
    ):
        tasks = mapped(paths, shards, max_concurrency=10, **changes)
        assert limits == [task._job().limits[0] for task in tasks]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shards": 2000}, r"2000 shards, but the maximum is 1024. .*max_map_length"),
        ({"shards": None, "bytes_per_shard": 1}, r"bytes_per_shard=1 of \d+ bytes would give .*max_map_length"),
        ({"input_path": "/nowhere/in.jsonl"}, "/nowhere/in.jsonl"),
    ],
)
def test_a_plan_that_cannot_be_run_fails_for_good(paths: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    """With the argument, and what to do."""
    with pytest.raises(AirflowFailException, match=words):
        plan(paths, **changes)


def test_a_word_that_is_none_is_told_when_the_dag_is_read(paths: dict[str, Any]) -> None:
    """Before any task runs, with the words that there are."""
    with pytest.raises(ValueError, match=r"on_existing='replace' is not valid\. Use one of resume, overwrite, fail"):
        plan(paths, on_existing="replace")


def test_a_division_that_is_none_is_told_when_the_dag_is_read() -> None:
    """Not by the task; one from a template waits for its value."""
    divisions: list[dict[str, Any]] = [{}, {"shards": 0}, {"shards": 2, "bytes_per_shard": 5}]
    for division in divisions:
        with pytest.raises(ValueError, match="shards"):
            PlanBatchShardsOperator(task_id="plan", input_path="a", output_path="b", **division)
    texts: list[dict[str, Any]] = [
        {name: text} for name in ("shards", "bytes_per_shard") for text in ("many", "1.5", "10KB", "0", "-1", "")
    ]
    for division in [{"shards": 10**400}, *texts]:
        with pytest.raises(ValueError, match="shard"):
            PlanBatchShardsOperator(task_id="plan", input_path="a", output_path="b", **division)
    operator = PlanBatchShardsOperator(task_id="plan", input_path="a", output_path="b", shards="{{ n }}")
    operator.render_template_fields({"n": 7})  # type: ignore[typeddict-unknown-key]
    assert operator.shards == "7"
    with pytest.raises(TypeError, match="shrads"):
        BatchInferenceOperator.partial(task_id="batch", shrads=3)


@pytest.mark.parametrize(
    ("shard", "changes", "words"),
    [
        ({"number": 9, "of": 4, "plan": "x"}, {}, "shard"),
        (None, {"max_concurrency": 3}, "max_concurrency: 3 requests in flight are too few for 4 shards at once"),
        (None, {"job_options": {"on_existing": "overwrite"}}, "Give it to the planner"),
    ],
)
def test_a_shard_that_cannot_be_run_wakes_no_endpoint(
    emulator: Emulator, paths: dict[str, Any], shard: Any, changes: dict[str, Any], words: str
) -> None:
    """It fails without a retry, before any request to the service."""
    shards = plan(paths)
    before = received(emulator)
    (task, *_) = mapped(paths, [shard or shards[0]], **changes)
    with pytest.raises(AirflowFailException, match=words):
        run(task)
    assert before == received(emulator)
