"""An endpoint that is busy, cold, or gone while a batch sends to it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted, BatchStopped
from tests.contract.batch_play import job_of, questions, results, write_rows
from tests.contract.inference_server import Reply, Request, echo, serving


def test_retry_after_holds_the_whole_batch(tmp_path: Path) -> None:
    """While the server asks for patience nothing is sent, and no row is counted as failed for it."""
    write_rows(tmp_path, questions(60))
    until: list[float] = []
    refused: list[Request] = []

    def answer(request: Request) -> Reply:
        now = time.monotonic()
        if request.number == 20:
            until.append(now + 1.0)
        if until and now < until[0]:
            refused.append(request)
            return Reply(429, {"error": "busy"}, headers={"Retry-After": "1"})
        return echo(request)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, max_attempts=1, max_concurrency=8))
    assert 1 <= len(refused) <= 8, "no more than were in flight at that moment"
    assert (report.succeeded, report.failed) == (60, 0)


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
        with pytest.raises(BatchAborted, match="no ready replica") as caught:
            run_batch(job_of(server.url, tmp_path, startup_timeout=0.4, probe_interval=0.1))
        assert len(server.requests) < 20
    assert isinstance(caught.value.cause, errors.StartingError)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply(400, {"error": "Bad Request: The endpoint is paused, ask a …"}), errors.EndpointPausedError),
        (Reply(400, {"error": "Bad Request: Invalid state", "code": "BAD_REQUEST"}), errors.EndpointPausedError),
        (
            Reply(400, {"error": "Bad Request: Your endpoint is in error, check its …", "code": "BAD_REQUEST"}),
            errors.EndpointFailedError,
        ),
        (Reply(401, {"error": "Unauthorized"}), errors.AuthenticationError),
        (Reply(403, {"error": "missing permissions"}), errors.PermissionDeniedError),
        (Reply(404, {"error": "Not Found"}), errors.NotFoundError),
    ],
)
def test_an_endpoint_that_is_gone_ends_the_batch_within_a_few_requests(
    tmp_path: Path, reply: Reply, cause: type[errors.InferenceError]
) -> None:
    """Finished rows are kept and published; when the endpoint is back, the same job continues from there."""
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


def test_a_run_that_ends_before_its_first_row_tells_what_an_earlier_one_has_done(tmp_path: Path) -> None:
    """Rows, failures and tokens, as the earlier report had them, while the endpoint is still paused."""
    paused = Reply(400, {"error": "Bad Request: The endpoint is paused, ask a …"})
    write_rows(tmp_path, questions(100))

    def answer(request: Request) -> Reply:
        bad = request.method == "POST" and "question 3" in json.dumps(request.body)
        return paused if request.number >= 50 else Reply(400, {"error": "bad"}) if bad else echo(request)

    with serving(answer) as server:
        with pytest.raises(BatchAborted) as first:
            run_batch(job_of(server.url, tmp_path, engine=None))
        server.answer = lambda request: paused
        with pytest.raises(BatchAborted) as again:
            run_batch(job_of(server.url, tmp_path, engine=None))
    was, now = first.value.report, again.value.report
    assert now.requests == 0
    assert was.failed >= 1
    assert was.completion_tokens > 0
    for name in ("rows", "succeeded", "failed", "errors", "prompt_tokens", "completion_tokens", "discarded_tokens"):
        assert getattr(now, name) == getattr(was, name), name


def test_the_time_of_the_whole_run_ends_the_wait_for_an_endpoint(tmp_path: Path) -> None:
    """`job_timeout` counts from the first question on: an endpoint that does not come does not extend it."""
    write_rows(tmp_path, questions(3))
    with serving(lambda request: Reply(503, {"error": "503 Service Unavailable"})) as server:
        job = job_of(
            server.url, tmp_path, engine=None, model=None, job_timeout=0.4, startup_timeout=600.0, probe_interval=0.1
        )
        with pytest.raises(
            BatchStopped, match=r"job_timeout of 0\.4 s has passed, and the endpoint was not ready: .*503"
        ):
            run_batch(job)
