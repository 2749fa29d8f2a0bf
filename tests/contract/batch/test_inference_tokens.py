"""Tokens that a batch reports against those that the server gave out, where answers are thrown away and asked for
again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.batch_play import job_of, prompt_of, questions, results, write_rows
from tests.contract.inference_server import Reply, Request, chat_reply, serving

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Meter:
    """Answers that cost something, each a little more than the one before, and their sum."""

    def __init__(self, answer: Callable[[str, int], Any]) -> None:
        self._answer = answer
        self.tries: Counter[str] = Counter()
        self.prompt = self.completion = 0

    @property
    def tokens(self) -> tuple[int, int]:
        return self.prompt, self.completion

    def __call__(self, request: Request) -> Reply:
        prompt = prompt_of(request)
        self.tries[prompt] += 1
        reply: Reply = self._answer(prompt, self.tries[prompt])
        if reply.json is None:
            return reply
        usage = {"prompt_tokens": 10 + request.number, "completion_tokens": 1 + request.number % 7}
        self.prompt += usage["prompt_tokens"]
        self.completion += usage["completion_tokens"]
        return replace(reply, json={**reply.json, "usage": usage})


def told(report: BatchReport) -> tuple[int, int]:
    return report.prompt_tokens, report.completion_tokens


def in_lines(folder: Path) -> int:
    """Tokens of the answers that stand in the output."""
    used = [line["usage"] for line in results(folder) if line["usage"]]
    return sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in used)


def misfits(prompt: str, tries: int) -> Reply:
    """Every third text does not fit at first, every seventh never does."""
    number = int(prompt.split()[-1])
    fits = number % 7 != 0 and (number % 3 != 0 or tries > 2)
    return chat_reply(json.dumps({"n": number}) if fits else "a number", reason="stop" if fits else "length")


def test_answers_that_do_not_fit_their_schema_are_counted(tmp_path: Path) -> None:
    """In the report and the manifest; a line has the tokens of its answer only."""
    write_rows(tmp_path, questions(60))
    meter = Meter(misfits)
    with serving(meter) as server:
        report = run_batch(job_of(server.url, tmp_path, response_schema=SCHEMA, max_attempts=4))
        assert len(server.posts) == report.requests == sum(line["attempts"] for line in results(tmp_path))
    assert (9, {"invalid_output": 9}) == (report.failed, report.errors)
    assert meter.tokens == told(report)
    assert report.discarded_tokens == report.total_tokens - in_lines(tmp_path) > 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert meter.tokens == told(BatchReport(**manifest["report"]))


@pytest.mark.parametrize("reordered", [False, True])
def test_they_are_counted_over_all_runs_of_a_batch(tmp_path: Path, reordered: bool) -> None:
    """Stopped again and again, rows that failed asked once more, one changed, the input turned round."""
    rows = questions(60)
    write_rows(tmp_path, rows)
    meter = Meter(misfits)
    with serving(meter) as server:
        job = job_of(server.url, tmp_path, response_schema=SCHEMA, max_attempts=2, id_column="id", order_window=0)
        for _ in range(3):
            until = len(server.posts) + 25
            with pytest.raises(BatchStopped) as stopped:
                run_batch(job, stop=lambda until=until: len(server.posts) >= until)  # type: ignore[misc]
            assert meter.tokens == told(stopped.value.report)
            if reordered:
                rows = [*reversed(rows)]
                rows[30] = {**rows[30], "text": f"a new question {rows[30]['n']}"}
                write_rows(tmp_path, rows)
        report = run_batch(job)
    assert meter.tokens == told(report)
    assert report.discarded_tokens == report.total_tokens - in_lines(tmp_path) > 0


START = """
import json, sys
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
run_batch(BatchJob(**json.loads(sys.argv[1])))
"""


def test_after_a_kill_what_the_journal_knows_is_counted(tmp_path: Path) -> None:
    """kill -9: of the answers before it those that had reached the journal, and all that came after it."""
    write_rows(tmp_path, questions(900))
    meter = Meter(lambda prompt, tries: replace(misfits(prompt, tries), delay=0.02))
    settings: dict[str, Any] = {"task": "chat-completion", "engine": "tgi", "prompt": "{text}", "max_concurrency": 8}
    settings |= {"input_path": f"{tmp_path}/in.jsonl", "output_path": f"{tmp_path}/out", "response_schema": SCHEMA}
    settings["max_attempts"] = 2
    with serving(meter) as server:
        settings["url"] = server.url
        process = subprocess.Popen([sys.executable, "-c", START, json.dumps(settings)])
        while not any(path.stat().st_size for path in (tmp_path / "out/_journal").glob("*.log")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        seen = -1
        while seen != len(server.posts):  # requests that it had sent may still be on their way
            seen = len(server.posts)
            time.sleep(0.5)
        journal = Journal(UPath(tmp_path / "out/_journal"))
        assert 0 < len(list(journal.open())) < 900
        journal.close()
        before = meter.tokens
        report = run_batch(BatchJob(**settings))
    assert report.resumed > 0
    assert told(report) == (
        journal.prompt_tokens + meter.prompt - before[0],
        journal.completion_tokens + meter.completion - before[1],
    )
    assert report.discarded_tokens == report.total_tokens - in_lines(tmp_path) > 0


def no_answers(prompt: str, tries: int) -> Reply:
    """At first no answer, but what it has cost."""
    senseless = [{"choices": []}, {"error": "overflow"}, {"choices": [{"index": 0, "message": {}}]}]
    number = int(prompt.split()[-1])
    return Reply(json=senseless[number % 3]) if tries == 1 else chat_reply("x")


def test_answers_that_make_no_sense_are_counted(tmp_path: Path) -> None:
    """As far as they tell what they cost."""
    write_rows(tmp_path, questions(30))
    meter = Meter(no_answers)
    with serving(meter) as server:
        report = run_batch(job_of(server.url, tmp_path))
    assert (30, meter.tokens) == (report.succeeded, told(report))
    assert report.discarded_tokens == report.total_tokens - in_lines(tmp_path) > 0


def test_both_answers_to_a_row_that_was_sent_twice_are_counted(tmp_path: Path) -> None:
    """The first answer is not valid while the second is still in flight."""
    write_rows(tmp_path, questions(30))

    def answer(prompt: str, tries: int) -> Reply:
        if prompt != "question 3":
            return chat_reply("x")
        return Reply(json={"choices": []}, delay=1.0) if tries == 1 else chat_reply("y", delay=1.0)

    meter = Meter(answer)
    with serving(meter) as server:
        report = run_batch(job_of(server.url, tmp_path, hedge_after=0.5))
    assert (30, 31, 1, meter.tokens) == (report.succeeded, report.requests, report.hedges, told(report))


def test_arrays_with_too_few_vectors_are_counted(tmp_path: Path) -> None:
    """Once as a whole, then each part of it."""
    write_rows(tmp_path, questions(16))
    given: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        texts = request.body["input"]
        count = len(texts) if isinstance(texts, list) else 1
        given["prompt"] += 5 * count
        vectors = [{"index": n, "embedding": [0.5]} for n in range(1 if count > 4 else count)]
        return Reply(json={"data": vectors, "usage": {"prompt_tokens": 5 * count, "total_tokens": 5 * count}})

    with serving(answer) as server:
        job = job_of(server.url, tmp_path, engine="vLLM", model="m", task="feature-extraction", rows_per_request=16)
        report = run_batch(job)
    assert (16, given["prompt"]) == (report.succeeded, report.prompt_tokens)
    assert (16 + 8 + 8) * 5 == report.discarded_tokens


def test_the_merge_adds_them_up(tmp_path: Path) -> None:
    """Those of every shard."""
    write_rows(tmp_path, questions(60))
    meter = Meter(misfits)
    with serving(meter) as server:
        job = job_of(server.url, tmp_path, response_schema=SCHEMA, max_attempts=2)
        for shard in plan_batch(tmp_path / "in.jsonl", tmp_path / "out", shards=3):
            run_batch(replace(job, shard=shard))
    report = merge_shards(tmp_path / "out")
    assert meter.tokens == told(report)
    assert report.discarded_tokens == report.total_tokens - in_lines(tmp_path) > 0
