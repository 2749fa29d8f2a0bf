"""What somebody did to an output, or put where it goes, between two runs of the same job.

Nothing there is written over unasked, nothing is called finished that is not what the batch wrote, and each error says
which file it is about.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchError,
    BatchStopped,
    JournalCorruptError,
    OutputConflictError,
)
from airflow_provider_hf_endpoints.inference.journal import recorder
from tests.contract.batch_play import counting, job_of, prompt_of, questions, results, stopped_early, write_rows
from tests.contract.inference_server import Reply, Request, echo, serving

Damage = Callable[[Path], object]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def without(*names: str) -> Callable[[Path], None]:
    """A manifest that lacks something."""

    def change(path: Path) -> None:
        manifest = json.loads(path.read_bytes())
        for name in names:
            del manifest[name]
        path.write_text(json.dumps(manifest))

    return change


def having(**values: Any) -> Damage:
    """A change of a document: other values, or other values in one of its objects."""

    def change(path: Path) -> None:
        document = json.loads(path.read_text())
        for name, value in values.items():
            document[name] = {**document[name], **value} if isinstance(value, dict) else value
        path.write_text(json.dumps(document))

    return change


def one_fails(request: Request) -> Reply:
    return Reply(400, {"error": "no"}) if "3" in prompt_of(request) else echo(request)


DAMAGES: list[tuple[str, Damage, str]] = [
    ("results-00000.jsonl", truncate, "were changed since"),
    ("results-00000.jsonl", lambda path: path.write_bytes(b""), "were changed since"),
    ("results-00000.jsonl", lambda path: path.open("a").write("{}\n"), "were changed since"),
    ("results-00000.jsonl", Path.unlink, "are missing"),
    ("errors.jsonl", truncate, "were changed since"),
    ("errors.jsonl", Path.unlink, "are missing"),
    ("manifest.json", Path.unlink, "no manifest or journal"),
    ("manifest.json", truncate, "is not JSON"),
    ("manifest.json", lambda path: path.write_bytes(b"\xff\x00"), "is not JSON"),
    ("manifest.json", lambda path: path.write_text("[" * 9000), "is not JSON"),
    ("manifest.json", lambda path: path.write_text("[1]"), "an object is expected"),
    ("manifest.json", lambda path: path.write_text('{"a": 1}'), "not the manifest of a batch"),
    ("manifest.json", without("report"), "not the manifest of a batch"),
    ("manifest.json", without("identity"), "not the manifest of a batch"),
    *(("manifest.json", having(**{name: 5}), "not the manifest of a batch") for name in ("report", "sizes", "files")),
    ("manifest.json", having(report={"rows": "x"}), "rows is not a whole number"),
    ("manifest.json", having(identity={"input_path": [1, {}]}), "another job: input_path no longer contains"),
    ("manifest.json", having(identity={"task": None}), "another job: task was None"),
]


@pytest.mark.parametrize(
    ("name", "damage", "words"), DAMAGES, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(DAMAGES)]
)
def test_a_damaged_output_is_neither_finished_nor_written_over(
    tmp_path: Path, name: str, damage: Damage, words: str
) -> None:
    """Until somebody says `overwrite`."""
    write_rows(tmp_path, questions(9))
    with serving(one_fails) as server:
        run_batch(job_of(server.url, tmp_path))
        damage(tmp_path / "out" / name)
        sent = len(server.posts)
        with pytest.raises(OutputConflictError, match=words) as error:
            run_batch(job_of(server.url, tmp_path))
        assert sent == len(server.posts)
        assert "overwrite" in str(error.value)
        run_batch(job_of(server.url, tmp_path, on_existing="overwrite"))
    assert len(results(tmp_path)) == 9


def test_an_empty_list_of_errors_may_be_deleted(tmp_path: Path) -> None:
    """Nothing is lost with it."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
        (tmp_path / "out" / "errors.jsonl").unlink()
        assert (3, 0) == ((report := run_batch(job_of(server.url, tmp_path))).rows, report.requests)


@pytest.mark.parametrize("output", ["mine.jsonl", "folder", "mine.parquet"])
def test_a_file_of_somebody_else_is_not_written_over(tmp_path: Path, output: str) -> None:
    """It is refused before anything is sent, and is what it was."""
    write_rows(tmp_path, questions(3))
    path = tmp_path / output
    mine = path if path.suffix else path / "results-00000.jsonl"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with serving(echo) as server:
        with pytest.raises(OutputConflictError, match="no manifest or journal"):
            run_batch(job_of(server.url, tmp_path, output_path=path))
        assert not server.posts
    assert "mine" == mine.read_text()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_damaged_journal_is_named(tmp_path: Path, text: str) -> None:
    """The answers in it are not thrown away unasked."""
    write_rows(tmp_path, questions(20))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, 5, max_concurrency=2)
        (tmp_path / "out" / "_journal" / "job.json").write_text(text)
        with pytest.raises(BatchError, match=r"job\.json") as error:
            run_batch(job_of(server.url, tmp_path))
    assert "overwrite" in str(error.value)


OF_INPUTS: list[Damage] = [having(inputs=5), having(inputs=[1]), having(run="x"), having(run=[])]


@pytest.mark.parametrize("damage", OF_INPUTS)
def test_a_journal_that_does_not_know_its_files_is_continued(tmp_path: Path, damage: Damage) -> None:
    """The versions of the files are not a part of the job."""
    write_rows(tmp_path, questions(20))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, 5, max_concurrency=2)
        damage(tmp_path / "out" / "_journal" / "job.json")
        report = run_batch(job_of(server.url, tmp_path))
    assert 20 == report.rows
    assert report.resumed > 0


@pytest.mark.parametrize("inputs", [5, [1], "x"])
def test_a_manifest_that_does_not_know_its_files_is_that_of_the_same_job(tmp_path: Path, inputs: Any) -> None:
    """Earlier releases stored no files, and nothing else of the job differs."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
        path = tmp_path / "out" / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["identity"]["inputs"] = inputs
        path.write_text(json.dumps(manifest))
        assert 0 == run_batch(job_of(server.url, tmp_path)).requests


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": "", "spent": {"no": 1}}', '{"spent": {}}'])
def test_a_damaged_budget_starts_again(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning: the rows that are done are kept all the same."""
    write_rows(tmp_path, questions(20))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, 5, max_concurrency=2, max_runtime=600)
        budget = next((tmp_path / "out").rglob("*budget*.json"))
        budget.write_text(text)
        assert 20 == run_batch(job_of(server.url, tmp_path, max_runtime=600)).rows
    assert "starts again" in caplog.text


def test_a_journal_that_is_deleted_while_the_batch_runs_loses_no_answer(tmp_path: Path) -> None:
    """A clean-up took the folder before the first rows were written there: the folder is made again."""
    write_rows(tmp_path, questions(30))

    def answer(request: Request) -> Reply:
        if request.number == 5:
            shutil.rmtree(tmp_path / "out/_journal")
        return echo(request)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path))
        assert 30 == len(server.posts)
    assert (30, 30) == (report.succeeded, len(results(tmp_path)))


def journal_of(folder: Path) -> Path:
    return folder / "out/_journal"


def take_away(what: str, segment: Path) -> None:
    match what:
        case "folder":
            shutil.rmtree(segment.parent.rename(segment.parent.with_name("moved")))  # at once, as seen by the batch
        case "moved folder":
            segment.parent.rename(segment.parent.with_name("moved"))
        case "segment":
            segment.unlink()
        case "moved segment":
            segment.rename(segment.with_name("moved"))
        case _:
            segment.rename(segment.with_name("moved"))
            segment.write_bytes(b"")


@pytest.mark.parametrize("gone", ["folder", "moved folder", "segment", "moved segment", "another file in its place"])
def test_a_journal_that_is_gone_while_its_batch_runs_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """With the rows before and after, so that the next run sends none of them again."""
    monkeypatch.setattr(recorder, "GROUP_ROWS", 20)
    write_rows(tmp_path, questions(200))
    lost: list[str] = []

    def answer(request: Request) -> Reply:
        segments = list(journal_of(tmp_path).glob("*.log"))
        if not lost and segments and segments[0].stat().st_size and len(server.posts) >= 60:
            lost.append(gone)
            take_away(gone, segments[0])
        waits = len(server.posts) >= (150 if lost else 60)  # for the first group, and for the stop
        return replace(echo(request), delay=0.3 if waits else 0.0)

    with serving(answer) as server:
        job = job_of(server.url, tmp_path, checkpoint_interval=0.05)
        with pytest.raises(BatchStopped):
            run_batch(job, stop=lambda: bool(lost) and len(server.posts) >= 150)
        assert [gone] == lost
        report = run_batch(job_of(server.url, tmp_path))
    assert (200, 200) == (report.succeeded, len(server.posts))
    assert report.prompt_tokens == sum(line["usage"]["prompt_tokens"] for line in results(tmp_path))


def test_rows_of_an_earlier_run_that_are_gone_are_sent_again_by_the_next(tmp_path: Path) -> None:
    """The run that misses them fails at once with an error that names them, and keeps its own."""
    write_rows(tmp_path, questions(100))

    def answer(request: Request) -> Reply:
        if len(server.posts) == 70:
            for path in before:
                path.unlink(missing_ok=True)
        waits = not before and len(server.posts) >= 40  # until the batch has seen that it has to stop
        return replace(echo(request), delay=0.3 if waits else 0.0)

    before: list[Path] = []

    with serving(answer) as server:
        with pytest.raises(BatchStopped):
            run_batch(job_of(server.url, tmp_path), stop=lambda: len(server.posts) >= 40)
        before += list(journal_of(tmp_path).glob("*.log"))
        done = len(server.posts)
        with pytest.raises(JournalCorruptError, match="was deleted or moved while the batch ran"):
            run_batch(job_of(server.url, tmp_path))
        assert 100 == run_batch(job_of(server.url, tmp_path)).succeeded
        assert 100 + done == len(server.posts)
