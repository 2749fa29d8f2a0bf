"""Outputs in other forms than plain JSONL: Parquet, and packed."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from backports import zstd
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStopped, OutputConflictError
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.output import parquet as parquet_output
from tests.contract.inference_server import Reply, Request, chat_reply, echo, serving

ROWS = 30


def job(url: str, folder: Path, output: Any, **options: Any) -> BatchJob:
    settings = {"task": "chat-completion", "engine": "tgi", "prompt": "{text}", "max_concurrency": 4, **options}
    return BatchJob(url=url, input_path=folder / "in.jsonl", output_path=output, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"text": "bad" if n == 7 else f"question {n}", "key": n, "tags": ["a", n]} for n in range(ROWS)]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def answer(request: Request) -> Reply:
    content = request.body["messages"][0]["content"]
    return Reply(400, {"error": "no"}) if content == "bad" else chat_reply(content[::-1], delay=0.02)


@pytest.mark.parametrize("place", ["local", "memory"])
def test_parquet(folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the output in the input's order, over several row groups, errors in place."""
    monkeypatch.setattr(parquet_output, "GROUP_ROWS", 8)
    base = UPath(folder) if place == "local" else UPath(f"memory://{folder.name}")
    with serving(answer) as server:
        one = job(server.url, folder, base / "out.parquet", id_column="key", keep_columns=("tags",))
        report = run_batch(one)
        assert (0, ROWS) == (run_batch(one).requests, report.rows)
    with (base / "out.parquet").open("rb") as file:
        table = pq.ParquetFile(file)
        assert (4, True) == (table.num_row_groups, table.schema_arrow.equals(parquet_output.SCHEMA))
        rows = table.read().to_pylist()
    assert list(range(ROWS)) == [row["index"] for row in rows]
    assert [str(n) for n in range(ROWS)] == [row["id"] for row in rows]
    good = {"output": "0 noitseuq", "embedding": None, "error": None, "columns": '{"tags":["a",0]}', "attempts": 1}
    assert good == {name: rows[0][name] for name in good}
    assert rows[0]["usage"]["completion_tokens"] is not None
    assert (None, "bad_request", 400) == (rows[7]["output"], rows[7]["error"]["type"], rows[7]["error"]["status"])
    assert {"out.parquet", "out.errors.jsonl", "out.manifest.json"} == {
        path.name for path in base.iterdir() if path.name.startswith("out")
    }
    assert {"text": "bad", "key": 7, "tags": ["a", 7]} == json.loads((base / "out.errors.jsonl").read_text())["row"]


def test_a_folder_may_hold_parquet(folder: Path) -> None:
    """Where it is asked for; the other form is another job's output, and `overwrite` leaves none of it."""
    output = folder / "out"
    with serving(answer) as server:
        run_batch(job(server.url, folder, output))
        with pytest.raises(OutputConflictError, match="output_format"):
            run_batch(job(server.url, folder, output, output_format="parquet"))
        report = run_batch(job(server.url, folder, output, output_format="parquet", on_existing="overwrite"))
        assert 0 == run_batch(job(server.url, folder, output, output_format="parquet")).requests
    assert {"results-00000.parquet", "errors.jsonl", "manifest.json"} == {path.name for path in output.iterdir()}
    assert ROWS == report.rows == pq.ParquetFile(output / "results-00000.parquet").metadata.num_rows


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("out.jsonl", {"output_format": "parquet"}, "Use the suffix .parquet"),
        ("out.parquet", {"output_format": "jsonl"}, "Use the suffix .jsonl"),
        ("out", {"output_format": "csv"}, "output_format='csv' is not valid. Use one of None, jsonl, parquet"),
        (
            "out",
            {"output_format": "parquet", "shard": Shard(0, 2, "a" * 16)},
            "output_format is not allowed for a shard",
        ),
    ],
)
def test_a_form_that_cannot_be_is_refused(folder: Path, output: str, options: dict[str, Any], words: str) -> None:
    """When the job is made, in words that say what to change."""
    with pytest.raises(ValueError, match=re.escape(words)):
        job("http://nowhere", folder, folder / output, **options)


def test_embeddings_are_lists_of_numbers(folder: Path) -> None:
    """In a separate column, so the schema is the same for every batch."""
    vector = {"data": [{"index": 0, "embedding": [0.5, 1, -2.25]}]}
    with serving(lambda request: Reply(json=vector)) as server:
        options = {"task": "feature-extraction", "engine": "vLLM", "model": "m", "rows_per_request": 1}
        run_batch(job(server.url, folder, folder / "out.parquet", **options))
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    assert ([0.5, 1.0, -2.25], None) == (rows[0]["embedding"], rows[0]["output"])


def test_an_output_that_is_neither_text_nor_numbers_is_json(folder: Path) -> None:
    """As the answers of pipelines are."""
    with serving(lambda request: Reply(json=[{"label": "POSITIVE", "score": 0.9}])) as server:
        run_batch(job(server.url, folder, folder / "out.parquet", task="text-classification", engine="toolkit"))
    row = pq.read_table(folder / "out.parquet").to_pylist()[0]
    assert "POSITIVE" in json.dumps(json.loads(row["output"]))


def test_what_is_done_of_a_stopped_batch_is_whole(folder: Path) -> None:
    """A Parquet file with the rows that are done; the next run replaces it."""
    with serving(answer) as server:
        one = job(server.url, folder, folder / "out.parquet", max_concurrency=1)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 10)
        part = pq.read_table(folder / "out.parquet").num_rows
        assert 10 <= part < ROWS
        assert not (folder / "out.manifest.json").exists()
        run_batch(one)
        assert (ROWS, ROWS) == (pq.read_table(folder / "out.parquet").num_rows, len(server.posts))


@pytest.mark.parametrize(("suffix", "unpack"), [(".gz", gzip.decompress), (".zst", zstd.decompress)])
def test_a_packed_output(folder: Path, suffix: str, unpack: Any) -> None:
    """The same lines."""
    with serving(echo) as server:
        run_batch(job(server.url, folder, folder / f"out.jsonl{suffix}"))
    lines = unpack((folder / f"out.jsonl{suffix}").read_bytes()).splitlines()
    assert list(range(ROWS)) == [json.loads(line)["index"] for line in lines]
    assert (folder / "out.errors.jsonl").exists()


def test_an_output_feeds_the_next_batch(folder: Path) -> None:
    """Parquet out, Parquet in."""
    with serving(echo) as server:
        run_batch(job(server.url, folder, folder / "out.parquet"))
        second = BatchJob(
            url=server.url,
            task="chat-completion",
            engine="tgi",
            input_path=folder / "out.parquet",
            output_path=folder / "again.jsonl",
            prompt="{output}",
            id_column="index",
        )
        assert ROWS == run_batch(second).succeeded
    texts = [json.loads(line)["output"] for line in (folder / "again.jsonl").read_text().splitlines()]
    assert ["bad" if n == 7 else f"question {n}" for n in range(ROWS)] == texts


def test_answers_in_openais_form_are_no_parquet(folder: Path) -> None:
    """Refused before anything is sent."""
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"Use the suffix \.jsonl"):
            run_batch(job(server.url, folder, folder / "out.parquet", prompt=None, input_format="openai-batch"))
        assert [] == server.requests


def test_what_is_not_installed_is_said_before_anything_is_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"airflow-provider-hf-endpoints\[parquet\]"):
            run_batch(job(server.url, folder, folder / "out.parquet"))
        assert [] == server.requests
