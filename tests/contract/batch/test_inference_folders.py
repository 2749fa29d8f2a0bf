"""Batches whose rows are the files of a folder: resumed, finished, changed meanwhile, divided among workers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped, OutputConflictError
from airflow_provider_hf_endpoints.inference.input_errors import EmptyInputError
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.batch_play import prompt_of, run_shards
from tests.contract.inference_server import Reply, Request, chat_reply, serving

FILES = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(FILES):
        path = tmp_path / "in" / f"{number % 4}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number + 1))
    return tmp_path


def job(url: str, folder: Path, **options: Any) -> BatchJob:
    settings: dict[str, Any] = {
        "task": "chat-completion",
        "engine": "tgi",
        "input_path": folder / "in/**/*.png",
        "input_format": "files",
        "output_path": folder / "out",
        "prompt": "{name} has {size} bytes",
        "id_column": "name",
        "max_concurrency": 4,
        "order_window": 0,
    }
    return BatchJob(url=url, **{**settings, **options})


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out/results-00000.jsonl").read_text().splitlines()]


def slow(request: Request) -> Reply:
    return chat_reply(prompt_of(request), delay=0.02)


def refuse_some(request: Request) -> Reply:
    return Reply(400, {"error": "no"}) if "07.png" in prompt_of(request) else slow(request)


def test_a_stopped_batch_continues_and_a_new_file_is_sent(folder: Path) -> None:
    """Every file is a row once, although one was added before the others and one was replaced in between."""
    with serving(slow) as server:
        one = job(server.url, folder)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 15)
        sent = len(server.posts)
        (folder / "in/0/00-new.png").write_bytes(b"x" * 99)
        (folder / "in/0/04.png").write_bytes(b"x" * 77)  # sent before with another size
        report = run_batch(one)
        assert (FILES + 1, FILES + 1) == (report.rows, report.succeeded)
        assert FILES + 2 == len(server.posts) >= sent
    found = {line["id"]: line["output"] for line in lines_of(folder)}
    assert sorted(found) == [line["id"] for line in lines_of(folder)]
    assert "0/04.png has 77 bytes" == found["0/04.png"]


def test_a_finished_output_is_that_of_the_same_files(folder: Path) -> None:
    """The same files send nothing. A new file is not passed over: the error says so, and `overwrite` sends all."""
    with serving(slow) as server:
        one = job(server.url, folder)
        assert FILES == run_batch(one).requests
        assert 0 == run_batch(one).requests
        (folder / "in/3/99.png").write_bytes(b"new")
        with pytest.raises(OutputConflictError, match="with other files: a file was added, removed or replaced since"):
            run_batch(one)
        assert FILES + 1 == run_batch(replace(one, on_existing="overwrite")).requests


def test_a_failed_file_is_named(folder: Path) -> None:
    """The dead letter has the row, so that the file can be found."""
    with serving(refuse_some) as server:
        report = run_batch(job(server.url, folder))
    [letter] = [json.loads(line) for line in (folder / "out/errors.jsonl").read_text().splitlines()]
    assert (1, "3/07.png", 8) == (report.failed, letter["row"]["name"], letter["row"]["size"])


def test_workers_divide_a_folder(folder: Path) -> None:
    """Their merged output is the one of a single worker, and a shard refuses a folder that has changed."""
    given = folder / "in/**/*.png"
    with serving(slow) as server:
        run_batch(job(server.url, folder, output_path=folder / "single", id_column=None))
        whole = (folder / "single/results-00000.jsonl").read_bytes()
        shards = plan_batch(given, folder / "out", shards=3, input_format="files")
        one = job(server.url, folder, id_column=None)
        run_shards(one, shards)
        assert FILES == merge_shards(folder / "out").rows
        assert whole == (folder / "out/results-00000.jsonl").read_bytes()
        shards = plan_batch(given, folder / "out", shards=3, input_format="files", on_existing="overwrite")
        (folder / "in/3/99.png").write_bytes(b"new")
        with pytest.raises(Exception, match=f"{FILES} files then, {FILES + 1} now"):
            run_batch(replace(one, shard=shards[0]))


def test_an_empty_folder_is_an_empty_input(tmp_path: Path) -> None:
    """As a file without a row: an error, unless the job says otherwise."""
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptyInputError, match="contains no file"):
        run_batch(job("http://127.0.0.1:1", tmp_path))
