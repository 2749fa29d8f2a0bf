"""Rows that fail: tried again or not, alone or too many of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchFailed
from tests.contract.batch_play import failing, job_of, prompt_of, questions, results, write_rows
from tests.contract.inference_server import Reply, chat_reply, echo, serving


def test_a_row_that_fails_for_the_time_being_is_tried_again(tmp_path: Path) -> None:
    """500, a dropped connection, a cut body, nonsense: the next try counts."""
    write_rows(tmp_path, questions(40))
    faults = [Reply(500, {"error": "x"}), Reply(cut=0), Reply(json={}, cut=70), Reply(raw=b"?"), Reply(503, {})]

    def bad(prompt: str, tries: int) -> Reply | None:
        number = int(prompt.split()[-1])
        return faults[number % 8] if tries == 0 and number % 8 < len(faults) else None

    with serving(failing(bad)) as server:
        report = run_batch(job_of(server.url, tmp_path))
        assert len(server.posts) >= report.requests
    assert (report.succeeded, report.failed) == (40, 0)
    assert report.retries >= 25
    assert [f"question {n}"[::-1] for n in range(40)] == [line["output"] for line in results(tmp_path)]


def test_a_row_that_fails_every_time_fails_alone(tmp_path: Path) -> None:
    """After `max_attempts`, with the engine's words; the others are answered."""
    write_rows(tmp_path, questions(20))

    def bad(prompt: str, tries: int) -> Reply | None:
        return Reply(500, {"error": {"message": "kernel died"}}) if prompt == "question 7" else None

    with serving(failing(bad)) as server:
        report = run_batch(job_of(server.url, tmp_path, max_attempts=3))
        assert [prompt_of(request) for request in server.posts].count("question 7") == 3
    line = results(tmp_path)[7]
    assert (report.succeeded, report.failed, report.errors) == (19, 1, {"server": 1})
    assert (line["output"], line["error"]["message"], line["attempts"]) == (None, "kernel died", 3)


def test_a_wrong_request_is_not_repeated(tmp_path: Path) -> None:
    """A 400 is the row's own; llama.cpp's 500 for a long input is one too."""
    write_rows(tmp_path, questions(20))
    faults = {
        "question 3": Reply(400, {"error": {"message": "no"}}),
        "question 4": Reply(500, {"error": "input is too large"}),
    }
    with serving(failing(lambda prompt, tries: faults.get(prompt))) as server:
        report = run_batch(job_of(server.url, tmp_path))
        assert len(server.posts) == 20
    assert report.errors == {"bad_request": 1, "prompt_too_long": 1}


def test_truncated_filtered_and_empty_answers_are_counted(tmp_path: Path) -> None:
    """None of them is taken for an ordinary answer."""
    write_rows(tmp_path, questions(4))
    answers = {
        "question 0": chat_reply("x", reason="length"),
        "question 1": chat_reply("", reason="content_filter"),
        "question 2": chat_reply(""),
    }
    with serving(failing(lambda prompt, tries: answers.get(prompt))) as server:
        report = run_batch(job_of(server.url, tmp_path))
    assert (report.succeeded, report.truncated, report.filtered, report.empty) == (4, 1, 1, 2)
    assert [line["truncated"] for line in results(tmp_path)] == [True, False, False, False]


def test_a_request_that_is_never_answered_times_out_and_is_tried_again(tmp_path: Path) -> None:
    """No batch hangs on one row."""
    write_rows(tmp_path, questions(10))

    def bad(prompt: str, tries: int) -> Reply | None:
        return Reply(hang=True) if prompt == "question 5" and tries == 0 else None

    with serving(failing(bad)) as server:
        assert run_batch(job_of(server.url, tmp_path, request_timeout=1.0)).succeeded == 10


def test_a_batch_that_only_fails_is_stopped(tmp_path: Path) -> None:
    """More failed rows than `max_error_rate`: stop, publish, say so; rows that failed for a passing reason go
    again."""
    write_rows(tmp_path, questions(500))
    broken = [True]
    with serving(lambda r: Reply(500, {"error": "x"}) if broken[0] else echo(r)) as server:
        job = job_of(server.url, tmp_path, max_attempts=1, max_error_rate_after=20)
        with pytest.raises(BatchFailed, match="rows failed, more than max_error_rate"):
            run_batch(job)
        assert len(server.posts) < 60
        broken[0] = False
        assert run_batch(job).succeeded == 500


def test_a_few_failed_rows_fail_the_batch_when_asked(tmp_path: Path) -> None:
    """After publishing, and again without a request when the job is run again."""
    write_rows(tmp_path, questions(10))
    with serving(failing(lambda p, t: Reply(400, {"error": "x"}) if p == "question 1" else None)) as server:
        for _ in range(2):
            with pytest.raises(BatchFailed, match="1 of 10 rows failed") as caught:
                run_batch(job_of(server.url, tmp_path, fail_on_errors=True))
            assert caught.value.report.rows == 10
        assert len(server.posts) == 10
