"""Whole batches over real HTTP: order, counts, errors, waiting, stopping, going on."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.batch import BatchJob, arun_batch, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchAborted,
    BatchFailed,
    BatchInputError,
    BatchStopped,
    MissingColumnError,
    OutputConflictError,
)
from tests.contract.inference_server import Answer, Reply, Request, chat_reply, echo, serving

TOKEN = "hf_batch_secret"


def write_rows(folder: Path, rows: list[Any], name: str = "in.jsonl") -> Path:
    path = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def questions(count: int) -> list[Any]:
    return [{"id": f"q{n}", "text": f"question {n}", "n": n} for n in range(count)]


def job_of(url: str, folder: Path, **options: Any) -> BatchJob:
    settings: dict[str, Any] = {
        "url": url,
        "token": TOKEN,
        "task": "chat-completion",
        "engine": "tgi",
        "input_path": folder / "in.jsonl",
        "output_path": folder / "out",
        "prompt": "{text}",
        "max_concurrency": 8,
        "probe_interval": 0.05,
    }
    return BatchJob(**{**settings, **options})


def results(folder: Path, name: str = "out/results-00000.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def prompt_of(request: Request) -> str:
    return str(request.body["messages"][-1]["content"])


def failing(bad: Callable[[str, int], Reply | None]) -> Answer:
    """Answers as `echo`, but for prompts for which `bad(prompt, tries before)` has another reply."""
    tries: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        prompt = prompt_of(request)
        tries[prompt] += 1
        return bad(prompt, tries[prompt] - 1) or echo(request)

    return answer


def test_every_row_has_its_line_in_the_order_of_the_input(tmp_path: Path) -> None:
    """Whatever order the answers come in, line n of the output belongs to row n; counts and tokens add up."""
    write_rows(tmp_path, questions(200))

    def answer(request: Request) -> Reply:
        slow = request.number % 7 == 0
        return chat_reply(prompt_of(request)[::-1], delay=0.05 if slow else 0.0)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, id_column="id", keep_columns=("n",)))
        assert len(server.posts) == 200
        assert server.most_in_flight == 8
    lines = results(tmp_path)
    assert [f"question {n}"[::-1] for n in range(200)] == [line["output"] for line in lines]
    assert [(n, f"q{n}", {"n": n}) for n in range(200)] == [(x["index"], x["id"], x["columns"]) for x in lines]
    assert (
        report.rows,
        report.succeeded,
        report.failed,
        report.prompt_tokens,
        report.completion_tokens,
        report.requests,
    ) == (200, 200, 0, 600, 400, 200)
    assert lines[0]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert report.as_dict() == manifest["report"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "errors.jsonl",
        "manifest.json",
        "results-00000.jsonl",
    ]


def test_a_jsonl_path_is_the_file_itself(tmp_path: Path) -> None:
    """With siblings for errors and manifest, and nothing else left."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, output_path=str(tmp_path / "sub" / "a.jsonl")))
    names = sorted(path.name for path in (tmp_path / "sub").iterdir())
    assert names == ["a.errors.jsonl", "a.jsonl", "a.manifest.json"]
    assert str(tmp_path / "sub" / "a.manifest.json") == report.manifest_path


@pytest.mark.parametrize("transport_url", ["file", "memory"])
def test_input_and_output_on_any_file_system(tmp_path: Path, transport_url: str) -> None:
    """UPath, file:// and an object store that cannot append."""
    base = UPath(f"file://{tmp_path}") if transport_url == "file" else UPath("memory://batch")
    (base / "in.jsonl").parent.mkdir(parents=True, exist_ok=True)
    (base / "in.jsonl").write_text("\n".join(json.dumps(row) for row in questions(20)))
    with serving(echo) as server:
        job = job_of(
            server.url, tmp_path, input_path=base / "in.jsonl", output_path=base / "o", checkpoint_interval=0.01
        )
        assert run_batch(job).succeeded == 20
        assert run_batch(job).requests == 0
    lines = (base / "o" / "results-00000.jsonl").read_text().splitlines()
    assert [f"question {n}"[::-1] for n in range(20)] == [json.loads(line)["output"] for line in lines]
    assert {"results-00000.jsonl", "errors.jsonl", "manifest.json"} == {path.name for path in (base / "o").iterdir()}


def test_gzip_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    """A packed input is unpacked; blank lines are not rows."""
    content = "\ufeff" + "\n\n".join(json.dumps(row) for row in questions(5)) + "\n\n"
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, input_path=tmp_path / "in.jsonl.gz"))
    assert report.succeeded == 5


def test_system_prompt_messages_and_body_templates(tmp_path: Path) -> None:
    """Each kind of template reaches the engine as it was meant."""
    write_rows(tmp_path, [{"text": "hi", "lang": "fr", "k": 3}])
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path, system="Answer in {lang}.", output_path=tmp_path / "1"))
        messages = [{"role": "user", "content": "{text}?"}]
        run_batch(job_of(server.url, tmp_path, prompt=None, messages=messages, output_path=tmp_path / "2"))
        body = {"messages": messages, "top_k": "{k}"}
        run_batch(job_of(server.url, tmp_path, prompt=None, body=body, output_path=tmp_path / "3"))
        bodies = [request.body for request in server.posts]
    assert bodies[0]["messages"] == [{"role": "system", "content": "Answer in fr."}, {"role": "user", "content": "hi"}]
    assert bodies[1]["messages"] == [{"role": "user", "content": "hi?"}]
    assert bodies[2] == {"messages": [{"role": "user", "content": "hi?"}], "top_k": 3}


def test_engine_and_model_are_found_out_once(tmp_path: Path) -> None:
    """An endpoint whose engine is not known is asked, once for the whole batch."""
    write_rows(tmp_path, questions(5))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, engine=None))
        assert {"org/model"} == {request.body["model"] for request in server.posts}
        assert len(server.requests) - len(server.posts) == 2
    assert (report.engine, report.model) == ("openai", "org/model")


# --- input that is not as it should be


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before any request."""
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"in\.jsonl does not exist"):
            run_batch(job_of(server.url, tmp_path))
        assert server.requests == []


def test_an_empty_input_is_named(tmp_path: Path) -> None:
    """Blank lines are no rows."""
    (tmp_path / "in.jsonl").write_text("\n \n")
    with pytest.raises(BatchInputError, match=r"in\.jsonl is empty"):
        run_batch(job_of("http://127.0.0.1:9", tmp_path))


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    """Before any request."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        with pytest.raises(
            MissingColumnError, match=r"line 1 of in.jsonl has no column 'body'.*its columns: 'id', 'text', 'n'"
        ):
            run_batch(job_of(server.url, tmp_path, prompt="{body}"))
        assert server.requests == []


def test_a_broken_line_is_an_error_row_with_its_number(tmp_path: Path) -> None:
    """The rows around it are answered; the output still has a line per line."""
    write_rows(tmp_path, [{"text": "a"}, '{"text": "b', "[1]", {"other": 1}, {"text": None}, {"text": "f"}])
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, max_error_rate=None))
    lines = results(tmp_path)
    assert [line["output"] for line in lines] == ["a", None, None, None, None, "f"]
    messages = [line["error"]["message"] for line in lines if line["error"]]
    assert [f"line {n} " in text or f"line {n}:" in text for n, text in enumerate(messages, start=2)] == [True] * 4
    assert (report.succeeded, report.failed, report.errors) == (2, 4, {"bad_row": 4})
    assert [line["index"] for line in results(tmp_path, "out/errors.jsonl")] == [1, 2, 3, 4]


def test_a_broken_line_stops_the_batch_when_asked(tmp_path: Path) -> None:
    """Among the first lines before any request."""
    write_rows(tmp_path, [{"text": "a"}, "{broken", {"text": "c"}])
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"line 2 of in\.jsonl is no JSON"):
            run_batch(job_of(server.url, tmp_path, on_bad_input="stop"))
        assert server.requests == []


def test_a_broken_line_far_down_stops_with_everything_done_kept(tmp_path: Path) -> None:
    """Later ones are met on the way: what is done is published, and a repaired input goes on from there."""
    rows = questions(300)
    write_rows(tmp_path, [*rows[:250], "{broken", *rows[251:]])
    with serving(echo) as server:
        job = job_of(server.url, tmp_path, on_bad_input="stop", order_window=50)
        with pytest.raises(BatchInputError, match=r"line 251 of in\.jsonl is no JSON"):
            run_batch(job)
        done = len(results(tmp_path))
        assert 0 < done <= 250
        write_rows(tmp_path, rows)
        report = run_batch(job)
        assert (300, done) == (report.rows, report.resumed)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"text": "a", "id": 1}, {"text": "b", "id": 1}],
            "id 1 in column 'id' stands on line 1 of in.jsonl and on line 2",
        ),
        ([{"text": "a", "id": 1}, {"text": "b"}], "line 2 of in.jsonl has no usable id"),
        ([{"text": "a", "id": 1.5}], "line 1 of in.jsonl has no usable id"),
    ],
)
def test_missing_and_doubled_ids_are_refused(tmp_path: Path, rows: list[Any], words: str) -> None:
    """Before any request."""
    write_rows(tmp_path, rows)
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=words):
            run_batch(job_of(server.url, tmp_path, id_column="id"))
        assert server.requests == []


# --- rows that fail


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
    """None of them passes for an ordinary answer."""
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
        assert run_batch(job_of(server.url, tmp_path, request_timeout=0.3)).succeeded == 10


def test_retry_after_holds_the_whole_batch(tmp_path: Path) -> None:
    """While the server asks for patience nothing is sent, and no row is counted as failed for it."""
    write_rows(tmp_path, questions(60))
    until: list[float] = []

    def answer(request: Request) -> Reply:
        now = time.monotonic()
        if request.number == 20:
            until.append(now + 1.0)
        if until and now < until[0]:
            return Reply(429, {"error": "busy"}, headers={"Retry-After": "1"})
        return echo(request)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, max_attempts=1))
        early = [t for t in server.times[20:] if until[0] - 0.9 < t < until[0] - 0.05]
    assert early == []
    assert (report.succeeded, report.failed) == (60, 0)


# --- the endpoint


def test_a_cold_endpoint_is_waited_for_with_single_probes(tmp_path: Path) -> None:
    """503 while it starts: no flood, no attempt counted."""
    write_rows(tmp_path, questions(30))
    ready = time.monotonic() + 1.0

    def answer(request: Request) -> Reply:
        return echo(request) if time.monotonic() > ready else Reply(503, {"error": "503 Service Unavailable"})

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, max_attempts=1, probe_interval=0.2))
        assert len([t for t in server.times if t < ready]) <= 8 + 6
    assert (report.succeeded, report.failed) == (30, 0)
    assert {1} == {line["attempts"] for line in results(tmp_path)}


def test_an_endpoint_that_does_not_come_ends_the_batch(tmp_path: Path) -> None:
    """After `startup_timeout`, with the endpoint's words."""
    write_rows(tmp_path, questions(5))
    with serving(lambda r: Reply(503, {"error": "503 Service Unavailable"})) as server:
        with pytest.raises(BatchAborted, match="no replica ready") as caught:
            run_batch(job_of(server.url, tmp_path, startup_timeout=0.4, probe_interval=0.1))
        assert len(server.requests) < 20
    assert isinstance(caught.value.cause, errors.StartingError)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply(400, {"error": "Bad Request: The endpoint is paused, ask a …"}), errors.EndpointPausedError),
        (Reply(401, {"error": "Unauthorized"}), errors.AuthenticationError),
        (Reply(403, {"error": "missing permissions"}), errors.PermissionDeniedError),
        (Reply(404, {"error": "Not Found"}), errors.NotFoundError),
    ],
)
def test_an_endpoint_that_is_gone_ends_the_batch_within_a_few_requests(
    tmp_path: Path, reply: Reply, cause: type[errors.InferenceError]
) -> None:
    """What was done is kept and published; once the endpoint is back, the same job goes on from there."""
    write_rows(tmp_path, questions(200))
    gone = [True]
    with serving(lambda r: reply if gone[0] and r.number >= 50 else echo(r)) as server:
        with pytest.raises(BatchAborted) as caught:
            run_batch(job_of(server.url, tmp_path))
        sent = len(server.posts)
        assert sent <= 50 + 2 * 8
        assert isinstance(caught.value.cause, cause)
        done = results(tmp_path)
        assert 42 <= len(done) <= 50
        assert caught.value.report.rows == len(done)
        assert not (tmp_path / "out/manifest.json").exists()
        gone[0] = False
        report = run_batch(job_of(server.url, tmp_path))
        assert 200 - len(done) == len(server.posts) - sent
    assert (200, 200, len(done)) == (report.rows, report.succeeded, report.resumed)
    assert [f"question {n}"[::-1] for n in range(200)] == [line["output"] for line in results(tmp_path)]


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


# --- the output path


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


def stopped_early(url: str, folder: Path, after: int, **options: Any) -> None:
    """Run a job and stop it once the server was asked `after` times."""
    asked = [0]

    def stop() -> bool:
        asked[0] = len((folder / "seen").read_text()) if (folder / "seen").exists() else 0
        return asked[0] >= after

    with pytest.raises(BatchStopped, match="asked to stop"):
        run_batch(job_of(url, folder, **options), stop=stop)


def counting(folder: Path, delay: float = 0.02) -> Answer:
    def answer(request: Request) -> Reply:
        with (folder / "seen").open("a") as seen:
            seen.write(".")
        return chat_reply(prompt_of(request)[::-1], delay=delay)

    return answer


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


def test_it_runs_inside_a_running_loop(tmp_path: Path) -> None:
    """`run_batch` in a notebook or in an async task."""
    write_rows(tmp_path, questions(5))

    async def main(url: str) -> int:
        return run_batch(job_of(url, tmp_path)).succeeded

    with serving(echo) as server:
        assert asyncio.run(main(server.url)) == 5


def test_the_log_has_progress_and_no_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line every `progress_interval`, none per request, the token nowhere."""
    write_rows(tmp_path, questions(30))
    caplog.set_level(logging.INFO)
    with serving(counting(tmp_path, 0.05)) as server:
        run_batch(job_of(server.url, tmp_path, max_concurrency=2, progress_interval=0.2))
    lines = [record.getMessage() for record in caplog.records]
    assert any("in flight of 2" in line for line in lines)
    assert len(lines) < 15
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert TOKEN not in "".join(lines) + written + repr(job_of("http://x", tmp_path))
