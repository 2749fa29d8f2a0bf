"""Batches over several files, and the dead letters of rows that fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStopped, OutputConflictError
from tests.contract.inference_server import Reply, Request, echo, serving


def job(url: str, folder: Path, given: Any, **options: Any) -> BatchJob:
    settings = {
        "task": "chat-completion",
        "engine": "tgi",
        "prompt": "{text}",
        "max_concurrency": 4,
        "max_error_rate": None,
    }
    return BatchJob(url=url, input_path=given, output_path=folder / "out", **{**settings, **options})


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refuse_bad(request: Request) -> Reply:
    if request.body["messages"][0]["content"].startswith("bad"):
        return Reply(400, {"error": "no"})
    return echo(request)


def slowly(request: Request) -> Reply:
    """The same, so that a batch can be stopped in its middle."""
    return replace(refuse_bad(request), delay=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files in two formats, with rows that fail among them."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text('{"text": "one", "n": 1.50}\n\n{"text": "bad two"}\n')
    (tmp_path / "in/b.csv").write_text("text,n\nthree,3\nbad four,4\n")
    (tmp_path / "in/c.jsonl").write_text('{"text": "five"}\n{broken\tline\n{"text":\t"bad six"}\n')
    return tmp_path


def test_errors_are_dead_letters(folder: Path) -> None:
    """Each has its row as it stood in the input, the file and the line, to be looked into and done again."""
    with serving(refuse_bad) as server:
        report = run_batch(job(server.url, folder, folder / "in"))
        assert (7, 3, 4) == (report.rows, report.succeeded, report.failed)
        letters = lines_of(folder / "out/errors.jsonl")
        assert [
            (1, "in/a.jsonl", 3, {"text": "bad two"}),
            (3, "in/b.csv", 3, {"text": "bad four", "n": "4"}),
            (5, "in/c.jsonl", 2, "{broken\tline"),
            (6, "in/c.jsonl", 3, {"text": "bad six"}),
        ] == [
            (each["index"], str(Path(each["file"]).relative_to(folder)), each["line"], each["row"]) for each in letters
        ]
        results = lines_of(folder / "out/results-00000.jsonl")
        assert list(range(7)) == [line["index"] for line in results]
        assert not any("row" in line or "file" in line for line in results)
        assert [line["error"] for line in results if line["error"]] == [each["error"] for each in letters]
        assert "line 2 of c.jsonl is not JSON" in letters[2]["error"]["message"]


def test_rows_that_failed_can_be_done_again_from_their_dead_letters(folder: Path) -> None:
    """With the column `row` of the errors file as a new input."""
    with serving(refuse_bad) as server:
        run_batch(job(server.url, folder, folder / "in"))
    again = [each["row"] for each in lines_of(folder / "out/errors.jsonl") if isinstance(each["row"], dict)]
    (folder / "again.jsonl").write_text("\n".join(json.dumps(row) for row in again))
    with serving(echo) as server:
        report = run_batch(replace(job(server.url, folder, folder / "again.jsonl"), output_path=folder / "out2"))
    assert (3, 3) == (report.rows, report.succeeded)


def test_a_dead_letter_survives_a_resume_over_a_reordered_input(folder: Path) -> None:
    """It tells where the row stands now."""
    source = folder / "one.jsonl"
    texts = ["bad", *(f"fine {n}" for n in range(50))]
    source.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    with serving(slowly) as server:
        one = job(server.url, folder, source)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 20)
        source.write_text("\n" + "\n".join(json.dumps({"text": text}) for text in texts[::-1]))
        run_batch(one)
        assert 51 == len(server.posts)
    (letter,) = lines_of(folder / "out/errors.jsonl")
    assert (50, 50, 52, {"text": "bad"}) == (letter["index"], letter["id"], letter["line"], letter["row"])


def test_ids_must_differ_across_files(folder: Path) -> None:
    """Both places are named with their files."""
    (folder / "in/d.jsonl").write_text('{"text": "x", "id": 1}')
    (folder / "in/e.jsonl").write_text('{"text": "y", "id": 1}')
    with serving(echo) as server:
        words = r"id 1 in column 'id' appears on line 1 of d\.jsonl and on line 1 of e\.jsonl"
        with pytest.raises(BatchInputError, match=words):
            run_batch(job(server.url, folder, folder / "in/[de].jsonl", id_column="id"))
        assert [] == server.requests


def test_another_list_of_files_is_another_job(folder: Path) -> None:
    """Finished or not; the error names the file that came."""
    with serving(slowly) as server:
        one = job(server.url, folder, folder / "in" / "*", max_concurrency=1)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 2)
        (folder / "in/d.jsonl").write_text('{"text": "more"}')
        with pytest.raises(OutputConflictError, match=r"input_path also contains '.*d\.jsonl'"):
            run_batch(one)
        (folder / "in/d.jsonl").unlink()
        run_batch(one)
        assert 0 == run_batch(replace(one, input_path=folder / "in")).requests  # the same files, named another way
        (folder / "in/a.jsonl").unlink()
        with pytest.raises(OutputConflictError, match=r"input_path no longer contains '.*a\.jsonl'"):
            run_batch(one)


def test_a_file_that_lacks_a_column_is_named_before_anything_is_sent(folder: Path) -> None:
    """Though the first file has it."""
    (folder / "in/d.jsonl").write_text('{"txet": "x"}')
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"d\.jsonl has no column 'text'"):
            run_batch(job(server.url, folder, folder / "in"))
        assert [] == server.requests


def test_an_output_among_the_input_is_refused(folder: Path) -> None:
    """Else the second run would read what the first one wrote."""
    with serving(echo) as server:
        one = replace(job(server.url, folder, folder / "in"), output_path=folder / "in/answers.jsonl")
        with pytest.raises(BatchInputError, match="is inside input_path"):
            run_batch(one)
        assert [] == server.requests


def test_a_packed_file_that_is_torn_ends_the_batch_with_its_name(tmp_path: Path) -> None:
    """Rows before the tear are done and kept; after the whole file is in its place, the same job continues."""
    import gzip

    plain = "".join(json.dumps({"text": f"question {n} of many"}) + "\n" for n in range(6_000)).encode()
    path = tmp_path / "in.jsonl.gz"
    packed = gzip.compress(plain)
    path.write_bytes(packed[: len(packed) // 2])
    with serving(echo) as server:
        one = job(server.url, tmp_path, path, max_concurrency=64)
        with pytest.raises(BatchInputError, match=r"in\.jsonl\.gz is truncated"):
            run_batch(one)
        assert not (tmp_path / "out/manifest.json").exists()
