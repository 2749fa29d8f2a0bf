"""The plan of a batch's shards: made again, refused, and the input or the plan changed under its shards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchInputError,
    BatchStopped,
    OutputConflictError,
    ShardsMissingError,
)
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.plan import TooManyShardsError
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.batch_play import job_of, planned, questions, run_shards, write_rows
from tests.contract.inference_server import echo, serving


def changed_input(folder: Path) -> None:
    with open(folder / "in.jsonl", "a") as file:
        file.write('{"text": "more"}\n')


def touched_input(folder: Path) -> None:
    os.utime(folder / "in.jsonl", (1, 1))


def removed_plan(folder: Path) -> None:
    (folder / "out/_shards/plan.json").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed_input, r"in.jsonl changed since the batch was planned \(\d+ bytes then, \d+ now\)"),
        (touched_input, r"in.jsonl changed since the batch was planned \(version"),
        (removed_plan, "contains no plan. Run the planner again"),
        (lambda folder: planned(folder, 3, on_existing="overwrite"), "another plan"),
        (lambda folder: (folder / "in.jsonl").unlink(), "in.jsonl"),
    ],
    ids=["size", "version", "no-plan", "other-plan", "gone"],
)
def test_a_shard_of_what_was_not_planned_sends_nothing(
    tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    """The file, or the plan, is named."""
    write_rows(tmp_path, questions(40))
    shards = planned(tmp_path)
    change(tmp_path)
    with serving(echo) as server:
        with pytest.raises((BatchInputError, OutputConflictError), match=words):
            run_batch(replace(job_of(server.url, tmp_path), shard=shards[1]))
        assert server.requests == []


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "{", "[" * 5000, '{"format": 1}', "\x00"])
def test_a_plan_that_somebody_damaged_is_named(tmp_path: Path, text: str) -> None:
    """Neither the planner, nor a shard, nor the merge takes it for a plan, and each says which file it is."""
    write_rows(tmp_path, questions(40))
    shards = planned(tmp_path)
    (tmp_path / "out/_shards/plan.json").write_text(text)
    with serving(echo) as server:
        for work in (
            lambda: planned(tmp_path),
            lambda: run_batch(replace(job_of(server.url, tmp_path), shard=shards[1])),
            lambda: merge_shards(tmp_path / "out"),
        ):
            with pytest.raises(OutputConflictError, match=r"plan\.json.*overwrite"):
                work()
        assert server.requests == []


def test_a_shard_that_is_stopped_while_it_reads_tells_its_own_folder(tmp_path: Path) -> None:
    """As the report of any other shard does, wherever it stopped."""
    write_rows(tmp_path, questions(4000))
    shard = planned(tmp_path, 2)[1]
    with serving(echo) as server:
        job = replace(job_of(server.url, tmp_path, id_column="id"), shard=shard)
        with pytest.raises(BatchStopped) as caught:
            run_batch(job, stop=lambda: True)
        assert server.posts == []
        report = run_batch(job)
    told = caught.value.report
    assert (report.output_path, report.results_path) == (told.output_path, told.results_path)
    assert told.output_path == str(tmp_path / "out/_shards" / shard.name)


def test_planning_again(tmp_path: Path) -> None:
    """The same input gives the same plan; any other input is refused with the reason, unless the plan may be
    discarded.
    """
    write_rows(tmp_path, questions(40))
    shards = planned(tmp_path)
    assert shards == planned(tmp_path)
    with pytest.raises(OutputConflictError, match="plan of 4 shards, but this one has 5"):
        planned(tmp_path, 5)
    with pytest.raises(OutputConflictError, match="already contains this plan"):
        planned(tmp_path, on_existing="fail")
    with serving(echo) as server:
        run_shards(job_of(server.url, tmp_path), shards)
        changed_input(tmp_path)
        with pytest.raises(OutputConflictError, match=r"in.jsonl changed \(\d+ bytes then"):
            planned(tmp_path)
        new = planned(tmp_path, on_existing="overwrite")
        assert [path.name for path in (tmp_path / "out/_shards").iterdir()] == ["plan.json"]
        run_shards(job_of(server.url, tmp_path), new)
        assert merge_shards(tmp_path / "out").rows == 41
        write_rows(tmp_path, questions(3), "other.jsonl")
        with pytest.raises(OutputConflictError, match="plan for another input"):
            plan_batch(tmp_path / "other.jsonl", tmp_path / "out", shards=2)


def test_where_a_batch_without_shards_is(tmp_path: Path) -> None:
    """The planner leaves its output alone."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
    with pytest.raises(OutputConflictError, match="batch without shards"):
        planned(tmp_path)
    with pytest.raises(ShardsMissingError, match="no plan"):
        merge_shards(tmp_path / "out")


def test_the_planner_refuses_what_it_cannot_divide(tmp_path: Path) -> None:
    """No input, an empty one, too many shards, an output among the inputs."""
    with pytest.raises(BatchInputError, match="does not exist"):
        planned(tmp_path)
    (tmp_path / "in.jsonl").touch()
    with pytest.raises(BatchInputError, match="empty"):
        planned(tmp_path)
    write_rows(tmp_path, questions(40))
    with pytest.raises(
        TooManyShardsError, match=r"bytes_per_shard=2 of \d+ bytes would give \d+ shards, but the maximum is 99"
    ):
        plan_batch(tmp_path / "in.jsonl", tmp_path / "out", bytes_per_shard=2, most=99)
    with pytest.raises(BatchInputError, match="is inside input_path"):
        plan_batch(tmp_path / "*.jsonl", tmp_path / "x.jsonl", shards=2)
    assert not (tmp_path / "out").exists()
