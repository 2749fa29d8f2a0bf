"""The same job again: finished, refused, stopped or cancelled on its way, with its input in another order."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference import batch
from airflow_provider_hf_endpoints.inference.batch import arun_batch, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchAborted,
    BatchInputError,
    BatchStopped,
    OutputBusyError,
    OutputConflictError,
)
from tests.contract.batch_play import counting, failing, job_of, questions, results, stopped_early, write_rows
from tests.contract.inference_server import Reply, chat_reply, echo, serving


def test_a_finished_job_is_not_done_again(tmp_path: Path) -> None:
    """The second run reports the first one's counts and sends nothing."""
    write_rows(tmp_path, questions(10))
    with serving(echo) as server:
        first = run_batch(job_of(server.url, tmp_path))
        second = run_batch(job_of(server.url, tmp_path))
        assert len(server.posts) == 10
    assert (second.rows, second.succeeded, second.requests, second.completion_tokens) == (10, 10, 0, 20)
    assert first.manifest_path == second.manifest_path


def test_another_job_on_the_same_path_is_refused(tmp_path: Path) -> None:
    """The error names what differs; `overwrite` throws the old output away, `fail` refuses even the same job."""
    write_rows(tmp_path, questions(10))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
        with pytest.raises(OutputConflictError, match=r"another job: prompt was '\{text\}', and is now '\{n\}'"):
            run_batch(job_of(server.url, tmp_path, prompt="{n}"))
        with pytest.raises(OutputConflictError, match="on_existing is 'fail'"):
            run_batch(job_of(server.url, tmp_path, on_existing="fail"))
        report = run_batch(job_of(server.url, tmp_path, prompt="{n}", on_existing="overwrite"))
    assert (report.rows, report.requests) == (10, 10)
    assert [str(n)[::-1] for n in range(10)] == [line["output"] for line in results(tmp_path)]


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_a_job_corrected_before_any_row_was_done_begins_again(tmp_path: Path, output_format: str) -> None:
    """A wrong column, or an endpoint that refuses, leaves an output without rows: nothing that another job may lose."""
    write_rows(tmp_path, questions(4))
    out = {"output_path": str(tmp_path / f"out.{output_format}")}
    with serving(lambda _: Reply(401, {"error": "Invalid token"})) as server:
        with pytest.raises(BatchInputError, match="txt"):
            run_batch(job_of(server.url, tmp_path, prompt="{txt}", **out))
        with pytest.raises(BatchAborted):
            run_batch(job_of(server.url, tmp_path, prompt="Say {text}", **out))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, **out))
    assert (4, 4) == (report.succeeded, report.requests)


def test_an_output_without_rows_gives_no_right_to_results_with_another_name(tmp_path: Path) -> None:
    """`out.jsonl` and `out.parquet` have one journal. The file with the other name is not of the job that began it."""
    write_rows(tmp_path, questions(4))
    with (
        serving(lambda _: Reply(401, {"error": "Invalid token"})) as server,
        pytest.raises(BatchAborted),
    ):
        run_batch(job_of(server.url, tmp_path, prompt="Say {text}", output_path=str(tmp_path / "out.parquet")))
    foreign = tmp_path / "out.jsonl"
    foreign.write_text("somebody's own\n")
    with serving(echo) as server, pytest.raises(OutputConflictError, match="another job"):
        run_batch(job_of(server.url, tmp_path, output_path=str(foreign)))
    assert foreign.read_text() == "somebody's own\n"


def test_a_job_that_is_changed_after_a_row_was_done_is_refused(tmp_path: Path) -> None:
    """That row is paid: only `overwrite` discards it."""
    write_rows(tmp_path, questions(4))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, 2, max_concurrency=1)
        with pytest.raises(OutputConflictError, match="another job"):
            run_batch(job_of(server.url, tmp_path, prompt="{n}"))


def test_two_runs_on_one_path_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wins; the other waits for a bounded time, and says who has the output and since when."""
    monkeypatch.setattr(batch, "WAIT", 0.3)
    write_rows(tmp_path, questions(10))
    refused = threading.Event()

    async def until_the_other_has_ended(_: float) -> None:
        await asyncio.to_thread(refused.wait, 60)

    with serving(lambda r: chat_reply("x", delay=0.2), sleep=until_the_other_has_ended) as server:
        job = job_of(server.url, tmp_path, max_concurrency=1)
        outcomes: list[Any] = []
        thread = threading.Thread(target=lambda: outcomes.append(run_batch(job)))
        thread.start()
        while not server.posts:
            time.sleep(0.01)
        with pytest.raises(OutputBusyError, match=rf"another run holds .*process {os.getpid()} on .*, since 20"):
            run_batch(job)
        refused.set()
        thread.join()
    assert outcomes[0].succeeded == 10


def test_a_stopped_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was in flight is drained and durable; nothing of it is sent again."""
    write_rows(tmp_path, questions(100))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, after=30)
        sent = len(server.posts)
        assert len(results(tmp_path)) == sent < 100
        report = run_batch(job_of(server.url, tmp_path))
        assert len(server.posts) == 100
    assert (100, sent, 100 - sent) == (report.rows, report.resumed, report.requests)
    assert [f"question {n}"[::-1] for n in range(100)] == [line["output"] for line in results(tmp_path)]


@pytest.mark.parametrize("id_column", [None, "id"])
def test_a_reordered_input_is_matched_by_what_its_rows_are(tmp_path: Path, id_column: str | None) -> None:
    """Rows done in another order are not sent again, a changed one is, and duplicates are all answered."""
    rows = questions(60)
    rows[10]["text"] = rows[20]["text"] = "same"
    write_rows(tmp_path, rows)
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, after=40, id_column=id_column, max_concurrency=1, order_window=0)
        done = len(server.posts)
        changed = [*reversed(rows)]
        changed[-1] = {**changed[-1], "text": "changed"}
        write_rows(tmp_path, changed)
        report = run_batch(job_of(server.url, tmp_path, id_column=id_column))
        assert 60 - done + 1 == report.requests
    lines = results(tmp_path)
    assert [row["text"][::-1] for row in changed] == [line["output"] for line in lines]
    assert list(range(60)) == [line["index"] for line in lines]
    assert [row["id"] if id_column else n for n, row in enumerate(changed)] == [line["id"] for line in lines]


def test_a_cancelled_batch_keeps_what_is_done(tmp_path: Path) -> None:
    """A cancelled coroutine publishes what is done, and the same job continues."""
    write_rows(tmp_path, questions(100))

    def wait_for_posts(count: int) -> None:
        while len(server.posts) < count:
            time.sleep(0.01)

    async def main(url: str) -> None:
        task = asyncio.create_task(arun_batch(job_of(url, tmp_path)))
        await asyncio.to_thread(wait_for_posts, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serving(counting(tmp_path)) as server:
        asyncio.run(main(server.url))
        done = len(results(tmp_path))
        assert done >= 30 - 8
        report = run_batch(job_of(server.url, tmp_path))
    assert (100, done) == (report.rows, report.resumed)


def test_a_partial_output_never_shrinks(tmp_path: Path) -> None:
    """A run that is stopped before it has read what earlier runs did publishes it all the same, failed rows too."""
    write_rows(tmp_path, questions(100))
    late = chat_reply("x", delay=0.02)
    bad = failing(lambda prompt, tries: Reply(500, {}) if prompt == "question 3" else late)
    with serving(bad) as server:
        with pytest.raises(BatchStopped):
            run_batch(job_of(server.url, tmp_path, max_attempts=1, order_window=0), stop=lambda: len(server.posts) > 50)
        before = results(tmp_path)
        assert "server" == before[3]["error"]["type"]
        server.answer = lambda request: chat_reply("late", delay=0.5)
        with pytest.raises(BatchStopped):
            run_batch(job_of(server.url, tmp_path, max_concurrency=1, drain_timeout=0.1), stop=lambda: True)
        assert before == [line for line in results(tmp_path) if line in before]
        server.answer = echo
        assert (100, 0) == (
            run_batch(job_of(server.url, tmp_path)).succeeded,
            len(results(tmp_path, "out/errors.jsonl")),
        )


def test_a_file_that_was_replaced_is_not_finished(tmp_path: Path) -> None:
    """The rows of another content are not taken for its own; `overwrite` does them."""
    write_rows(tmp_path, questions(5))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
        write_rows(tmp_path, questions(6))
        with pytest.raises(
            OutputConflictError, match=r"input file .*in\.jsonl was \d+ bytes \(version \d+\), and is now"
        ):
            run_batch(job_of(server.url, tmp_path))
        assert 6 == run_batch(job_of(server.url, tmp_path, on_existing="overwrite")).rows
        (tmp_path / "in.jsonl").unlink()
        assert 6 == run_batch(job_of(server.url, tmp_path)).rows  # an input that is gone is no other one


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def packed_again(path: Path) -> None:
    rows = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(rows + b"\n\n", compresslevel=1, mtime=7))


def grouped_again(path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pq.read_table(path), path, row_group_size=2, compression="gzip")


def quoted_again(path: Path) -> None:
    path.write_text("\r\n".join(",".join(f'"{v}"' for v in line.split(",")) for line in path.read_text().split()))


WRITTEN_AGAIN: dict[str, Callable[[Path], None]] = {
    "in.jsonl": touched,
    "in.jsonl.gz": packed_again,
    "in.parquet": grouped_again,
    "in.csv": quoted_again,
}


def written(path: Path) -> Path:
    """Five rows in the form that the name tells."""
    rows = questions(5)
    if path.name.endswith(".parquet"):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.name.endswith(".csv"):
        path.write_text("\n".join(["id,text", *(f"{row['id']},{row['id']}-text" for row in rows)]))
    else:
        data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("options", [{}, {"on_existing": "overwrite", "attempt_key": "k"}], ids=["resume", "overwrite"])
@pytest.mark.parametrize("name", WRITTEN_AGAIN)
def test_the_same_rows_in_a_file_that_was_written_again_are_not_paid_again(
    tmp_path: Path, name: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Touched, packed another way, in other row groups: the rows are compared with those that were sent, and only
    where anything differs."""
    path = written(tmp_path / name)
    with serving(echo) as server, caplog.at_level(logging.INFO):
        job = job_of(server.url, tmp_path, input_path=path, **options)
        run_batch(job)
        run_batch(job)
        assert "comparing its rows" not in caplog.text
        WRITTEN_AGAIN[name](path)
        report = run_batch(job)
        assert (5, 0) == (report.rows, report.requests)
        assert "comparing its rows" in caplog.text
        assert 5 == len(server.posts)


@pytest.mark.parametrize("change", ["one letter", "two rows swapped", "a row that is none"])
def test_other_rows_of_the_same_size_are_another_job(tmp_path: Path, change: str) -> None:
    """And so is another order."""
    path = write_rows(tmp_path, [*questions(5), "{broken"])
    lines = path.read_text().splitlines()
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
        match change:
            case "one letter":
                lines[3] = lines[3].replace("question 3", "question 7")
            case "two rows swapped":
                lines[0], lines[1] = lines[1], lines[0]
            case _:
                lines[5] = "{brokem"
        path.write_text("\n".join(lines) + "\n")
        touched(path)
        with pytest.raises(OutputConflictError, match=r"input file .*in\.jsonl was \d+ bytes .* and is now"):
            run_batch(job_of(server.url, tmp_path))
        with pytest.raises(OutputConflictError, match="prompt was"):
            run_batch(job_of(server.url, tmp_path, prompt="{text}!"))
        assert 5 == len(server.posts)


def test_a_resumed_run_knows_the_digest_of_all_rows(tmp_path: Path) -> None:
    """Rows that an earlier run has done are in it."""
    path = write_rows(tmp_path, questions(100))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, after=30)
        run_batch(job_of(server.url, tmp_path))
        touched(path)
        assert 0 == run_batch(job_of(server.url, tmp_path)).requests


def test_a_manifest_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    """It does not tell what the input was."""
    write_rows(tmp_path, questions(5))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path))
        path = tmp_path / "out" / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["identity"]["inputs"]
        path.write_text(json.dumps(manifest))
        write_rows(tmp_path, questions(6))
        assert (5, 0) == ((report := run_batch(job_of(server.url, tmp_path))).rows, report.requests)


def test_an_output_in_another_form_is_not_finished(tmp_path: Path) -> None:
    """Both have one manifest; it names the results to which it belongs. Nor is one whose results are gone."""
    write_rows(tmp_path, questions(5))
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path, output_path=tmp_path / "out.jsonl"))
        for name in ("out.parquet", "out.jsonl.gz"):
            with pytest.raises(OutputConflictError, match=rf"belongs to the results in out\.jsonl, not to {name}"):
                run_batch(job_of(server.url, tmp_path, output_path=tmp_path / name))
        (tmp_path / "out.jsonl").unlink()
        with pytest.raises(OutputConflictError, match=r"its results .*out\.jsonl are missing"):
            run_batch(job_of(server.url, tmp_path, output_path=tmp_path / "out.jsonl"))
        assert 5 == len(server.posts)


def test_an_unfinished_output_in_another_form_is_refused(tmp_path: Path) -> None:
    """Its partial results would stay beside those of the other form."""
    write_rows(tmp_path, questions(100))
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, after=30, output_path=tmp_path / "out.jsonl")
        with pytest.raises(OutputConflictError, match=r"unfinished output in another format, out\.jsonl"):
            run_batch(job_of(server.url, tmp_path, output_path=tmp_path / "out.parquet"))


@pytest.mark.parametrize("key", ["", "dag/task/run/-1/2"])
def test_a_retry_of_an_overwrite_goes_on(tmp_path: Path, key: str) -> None:
    """The output of the first try is not an older output. With another key, or without one, it is."""
    write_rows(tmp_path, questions(100))
    again = {"on_existing": "overwrite", "attempt_key": key}
    with serving(counting(tmp_path)) as server:
        stopped_early(server.url, tmp_path, after=10)
        stopped_early(server.url, tmp_path, after=40, **again)
        resumed = len(results(tmp_path))
        first = run_batch(job_of(server.url, tmp_path, **again))
        assert (resumed, 100 - resumed) == (first.resumed, first.requests)
        # Finished: without a key nobody can tell a retry from a wish to have it anew.
        assert (0 if key else 100) == run_batch(job_of(server.url, tmp_path, **again)).requests
        assert 100 == run_batch(job_of(server.url, tmp_path, on_existing="overwrite", attempt_key="other")).requests


def test_a_csv_goes_on_in_the_encoding_that_was_named_later(tmp_path: Path) -> None:
    """Rows that read the same are not sent again; a finished output is of one encoding."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"text\n" + b"".join(b"question %d\n" % n for n in range(3000)) + "é\n".encode("cp1252"))
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match="is not valid utf-8"):
            run_batch(job_of(server.url, tmp_path, input_path=path, order_window=0))
        done = len(server.posts)
        report = run_batch(job_of(server.url, tmp_path, input_path=path, encoding="cp1252"))
        assert (3001, done) == (report.succeeded, report.resumed)
        with pytest.raises(OutputConflictError, match="encoding was 'cp1252', and is now 'latin-1'"):
            run_batch(job_of(server.url, tmp_path, input_path=path, encoding="latin-1"))


def test_a_batch_that_still_reads_its_input_stops_at_once(tmp_path: Path) -> None:
    """Where ids are compared all lines are read first; nothing is sent, and the next run does everything."""
    rows = [{"id": number, "text": "a"} for number in range(20_000)]
    write_rows(tmp_path, rows)
    looks: list[int] = []

    def stop() -> bool:
        looks.append(1)
        return len(looks) > 2

    with serving(echo) as server:
        with pytest.raises(BatchStopped, match="while the input was read"):
            run_batch(job_of(server.url, tmp_path, id_column="id"), stop=stop)
        assert (3, []) == (len(looks), server.posts)
