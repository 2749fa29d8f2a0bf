"""A batch against an endpoint in trouble, over real HTTP: outages, a tail of slow ones, an engine that mostly fails."""

from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchReport, Snapshot, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted
from airflow_provider_hf_endpoints.inference.engines import scrape
from airflow_provider_hf_endpoints.inference.errors import RetryBudgetError
from airflow_provider_hf_endpoints.inference.sending import timeouts
from tests.contract.batch_play import failing, job_of, prompt_of, questions, results, write_rows
from tests.contract.inference_server import Reply, Request, Server, chat_reply, echo, serving

OUTAGE = 1.5  # seconds


class Outage:
    """Refuses from the `after`-th request on, for a while."""

    def __init__(self, reply: Reply, after: int = 100) -> None:
        self.reply = reply
        self.after = after
        self.began: float | None = None
        self.refused: list[tuple[str, float]] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        now = time.monotonic()
        with self._lock:
            if self.began is None and request.number >= self.after:
                self.began = now
            if self.began is not None and now < self.began + OUTAGE:
                self.refused.append((prompt_of(request), now))
                return self.reply
        return chat_reply("x", delay=0.02)

    def early(self, seconds: float) -> list[str]:
        """Rows that came again before the time that their refusal had asked for."""
        return [
            row for row, at in self.refused for same, said in self.refused if same == row and said < at < said + seconds
        ]


def run_through(outage: Outage, folder: Path, rows: int = 400) -> tuple[BatchReport, Server]:
    write_rows(folder, questions(rows))
    with serving(outage) as server:
        report = run_batch(job_of(server.url, folder, max_concurrency=32, probe_interval=0.5))
    return report, server


def test_an_outage_that_asks_to_wait_costs_a_few_requests(tmp_path: Path) -> None:
    """429 with `Retry-After`: those in flight and a tenth at most, none early, and every row is answered."""
    outage = Outage(Reply(429, {"error": "busy"}, headers={"Retry-After": "1"}))
    report, _ = run_through(outage, tmp_path)
    assert (report.succeeded, report.failed) == (400, 0)
    assert len(outage.refused) <= 32 * 1.1
    assert outage.early(1.0) == []


def test_an_outage_that_asks_nothing_is_probed(tmp_path: Path) -> None:
    """503: those in flight, once or twice, then single probes; no row fails, and none is charged an attempt."""
    outage = Outage(Reply(503, {"error": "503 Service Unavailable"}))
    report, _ = run_through(outage, tmp_path)
    assert (report.succeeded, report.failed) == (400, 0)
    assert len(outage.refused) <= 2 * 32 + 4
    assert {row["attempts"] for row in results(tmp_path)} == {1}


def test_an_engine_that_mostly_fails_stops_the_batch(tmp_path: Path) -> None:
    """Beyond the retry budget everything done is kept, and the error says what happened and what to do."""
    chance = random.Random(1)

    def answer(request: Request) -> Reply:
        return Reply(500, {"error": {"message": "CUDA error"}}) if chance.random() < 0.6 else echo(request)

    write_rows(tmp_path, questions(2000))
    with serving(answer) as server:
        job = job_of(server.url, tmp_path, max_attempts=50, max_error_rate=None)
        with pytest.raises(BatchAborted) as caught:
            run_batch(job)
    report = caught.value.report
    assert isinstance(caught.value.cause, RetryBudgetError)
    assert report.rows == len([row for row in results(tmp_path) if row["error"] is None]) > 0
    assert report.retries <= max(100 + 2 * 8, 0.2 * 2000) + 8
    for words in ("retries for", "CUDA error", "retry_budget", "Run the same job again"):
        assert words in str(caught.value)


def test_the_budget_can_be_lifted(tmp_path: Path) -> None:
    """`retry_budget=None`: as often as `max_attempts` allows."""
    write_rows(tmp_path, questions(130))
    with serving(failing(lambda _, before: Reply(500, {"error": "no"}) if before < 2 else None)) as server:
        report = run_batch(job_of(server.url, tmp_path, retry_budget=None))
    assert (report.succeeded, report.retries) == (130, 260)


def test_requests_that_are_never_answered_cost_one_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a hundred hangs, three fail at first: the timeout is learnt, and the rest does not wait for them."""
    monkeypatch.setattr(timeouts, "SHORTEST", 1.0)
    write_rows(tmp_path, questions(600))

    def bad(prompt: str, before: int) -> Reply | None:
        n = int(prompt.split()[-1])
        if before:
            return None
        return Reply(hang=True) if n % 100 == 50 else Reply(500, {"error": "no"}) if n % 33 == 1 else None

    with serving(failing(bad)) as server:
        began = time.monotonic()
        report = run_batch(job_of(server.url, tmp_path, max_concurrency=32, request_timeout=60.0))
    assert (report.succeeded, report.retries) == (600, 25)
    assert time.monotonic() - began < 30  # far from the 60 s that the job allows
    assert server.gone == 6


def test_snapshots_add_up_and_the_log_ends_with_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last snapshot tells what the report does; lines come at their interval."""
    write_rows(tmp_path, questions(60))
    seen: list[Snapshot] = []

    def answer(request: Request) -> Reply:
        if prompt_of(request) == "question 7":
            return Reply(400, {"error": {"message": "no such question"}})
        return chat_reply("x", delay=0.05)

    with serving(answer) as server, caplog.at_level(logging.INFO):
        job = job_of(server.url, tmp_path, max_concurrency=4, progress_interval=0.2)
        report = run_batch(job, observer=seen.append)
    last = seen[-1]
    assert len(seen) >= 3
    assert (last.done, last.failed, dict(last.errors)) == (60, 1, {"bad_request": 1})
    assert (last.prompt_tokens, last.completion_tokens) == (report.prompt_tokens, report.completion_tokens)
    assert (last.in_flight, last.limit, last.requests) == (0, 4, report.requests)
    table = next(record.getMessage() for record in caplog.records if record.getMessage().startswith("batch finished"))
    assert "failed    bad_request: 1 (1.7 %), the first: no such question" in table
    assert "4 to 4 in flight" in table
    assert [record for record in caplog.records if "of 60 rows done" in record.getMessage()]


def test_the_engines_metrics_are_looked_at_where_answers_do_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue far too long is a hint, and a page that is not there is asked for once; no row is disturbed."""
    monkeypatch.setattr(scrape, "INTERVAL", 0.05)
    write_rows(tmp_path, questions(300))

    def answer(request: Request) -> Reply:
        if request.path == "/metrics":
            return Reply(raw=b"# TYPE tgi_queue_size gauge\ntgi_queue_size 28\n")
        return chat_reply("x", delay=0.1)

    for with_metrics, folder in ((True, tmp_path / "with"), (False, tmp_path / "without")):
        with serving(answer if with_metrics else echo) as server:
            job = job_of(server.url, tmp_path, output_path=folder, max_concurrency="auto")
            assert run_batch(job).succeeded == 300
        looks = [request for request in server.requests if request.path == "/metrics"]
        assert len(looks) >= 2 if with_metrics else len(looks) <= 1


def test_a_given_number_asks_for_no_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would follow from it."""
    monkeypatch.setattr(scrape, "INTERVAL", 0.01)
    write_rows(tmp_path, questions(50))
    with serving(lambda _: chat_reply("x", delay=0.02)) as server:
        run_batch(job_of(server.url, tmp_path))
    assert [request.path for request in server.requests if request.method == "GET"] == []
