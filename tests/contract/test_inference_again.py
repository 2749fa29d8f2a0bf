"""The same job again: finished, refused, stopped or cancelled on its way, with its input in another order."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import arun_batch, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped, OutputConflictError
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
        with pytest.raises(OutputConflictError, match=r"another job: prompt was '\{text\}' and is '\{n\}'"):
            run_batch(job_of(server.url, tmp_path, prompt="{n}"))
        with pytest.raises(OutputConflictError, match="on_existing is 'fail'"):
            run_batch(job_of(server.url, tmp_path, on_existing="fail"))
        report = run_batch(job_of(server.url, tmp_path, prompt="{n}", on_existing="overwrite"))
    assert (report.rows, report.requests) == (10, 10)
    assert [str(n)[::-1] for n in range(10)] == [line["output"] for line in results(tmp_path)]


def test_two_runs_on_one_path_do_not_mix(tmp_path: Path) -> None:
    """One wins, the other says so."""
    write_rows(tmp_path, questions(10))
    with serving(lambda r: chat_reply("x", delay=0.2)) as server:
        job = job_of(server.url, tmp_path, max_concurrency=1)
        outcomes: list[Any] = []
        thread = threading.Thread(target=lambda: outcomes.append(run_batch(job)))
        thread.start()
        while not server.posts:
            time.sleep(0.01)
        with pytest.raises(OutputConflictError, match="another run"):
            run_batch(job)
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
    """Cancelling the coroutine publishes what is there; the same job goes on."""
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
    bad = failing(lambda prompt, tries: Reply(500, {}) if prompt == "question 3" else None)
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
