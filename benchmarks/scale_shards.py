"""A sharded batch by its rows and shards: plan, XComs, objects of the journal, ids compared, rows merged.

Real are the planner, the plan's JSON, what a shard is given, the search for doubled ids and the merge's step for each
line. Counted is what a shard asks of the storage; the times of a hundred million rows are those of a part, times more.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.journal.compaction import FANOUT
from airflow_provider_hf_endpoints.inference.journal.recorder import GROUP_ROWS_REMOTE
from airflow_provider_hf_endpoints.inference.shards.ids import WIDTH, IdFile, find_doubled, write_hashes
from airflow_provider_hf_endpoints.inference.shards.moved_lines import Move
from airflow_provider_hf_endpoints.inference.shards.plan import Plan, PlannedFile, plan_shards
from benchmarks.tables import head, row

ROW_BYTES = 200
RATE = 50.0  # rows a second of one shard
INTERVAL = BatchJob.__dataclass_fields__["checkpoint_interval"].default
SAMPLE_ROWS = 500_000  # through the merge's step
SAMPLE_IDS = 1_000_000


@dataclass(frozen=True)
class Batch:
    """How much, in how many parts."""

    rows: int
    shards: int
    files: int


def planned(batch: Batch) -> tuple[Plan, float]:
    """The plan, and the seconds that it takes without looking at the files."""
    size = batch.rows * ROW_BYTES // batch.files
    files = tuple(PlannedFile(f"s3://bucket/input/part-{n:05d}.jsonl", size, f"v{n}") for n in range(batch.files))
    began = time.process_time()
    plan = Plan("s3://bucket/input", "auto", files, plan_shards(files, shards=batch.shards))
    plan.refs(time.time())
    return plan, time.process_time() - began


def segments(rows: int) -> tuple[int, int]:
    """Objects that a shard's journal writes on an object store, and that are there at the end, compacted."""
    seconds = rows / RATE
    written = max(int(seconds / INTERVAL), rows // GROUP_ROWS_REMOTE, 1)
    merged, left, level = 0, 0, written
    while level >= FANOUT:
        left += level % FANOUT
        level //= FANOUT
        merged += level
    return written + merged, left + level


def seconds_of_merge() -> float:
    """CPU seconds of the merge's step for one line."""
    line = b'{"id":"row-123456","index":123456,"output":"%s","error":null}\n' % (b"x" * ROW_BYTES)
    move = Move(1_000_000, 0, False)
    began = time.process_time()
    for _ in range(SAMPLE_ROWS):
        move.line(line)
    return (time.process_time() - began) / SAMPLE_ROWS


def seconds_of_ids(shards: int) -> float:
    """CPU seconds for one id of so many shards, until none is found twice."""
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(shards):
            path = Path(folder) / f"{number}.ids"
            with path.open("wb") as file:
                write_hashes(file, array("Q", sorted(draw.getrandbits(64) for _ in range(SAMPLE_IDS // shards))), "")
            files.append(IdFile(UPath(path), ""))
        began = time.process_time()
        assert find_doubled(files, lambda _: ()) == set()
        return (time.process_time() - began) / SAMPLE_IDS


def table(batches: tuple[Batch, ...]) -> None:
    """Print a line for each."""
    a_line = seconds_of_merge()
    head(
        "rows",
        "shards",
        "input files",
        "plan: CPU s, MB of its JSON",
        "XCom of the plan, MB",
        "all shards read of it, MB",
        "journal of a shard: objects written, left",
        "doubled ids: CPU s, MB of disk",
        "merge: CPU h",
    )
    for batch in batches:
        plan, took = planned(batch)
        size = len(json.dumps(plan.as_dict())) / 1e6
        xcom = len(json.dumps([each.as_dict() for each in plan.refs(time.time())])) / 1e6
        written, left = segments(batch.rows // batch.shards)
        ids = seconds_of_ids(batch.shards) * batch.rows
        row(
            f"{batch.rows:,}",
            batch.shards,
            batch.files,
            f"{took:.2f}, {size:.2f}",
            f"{xcom:.2f}",
            f"{size * batch.shards:.0f}",
            f"{written}, {left}",
            f"{ids:.0f}, {batch.rows * WIDTH / 1e6:.0f}",
            f"{a_line * batch.rows / 3600:.2f}",
        )
