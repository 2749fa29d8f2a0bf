"""Stragglers over real HTTP: sent once more, answered once, counted as they were sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Clock
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from tests.beside import once
from tests.clock import owned_clock
from tests.contract.batch_play import prompt_of
from tests.contract.inference_server import Reply, Request, Sleep, chat_reply, echo, serving

LATE = 100.0  # seconds of the batch's clock, far more than any answer takes that does not hang


def job_of(url: str, folder: Path, rows: int, **options: Any) -> BatchJob:
    (folder / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(rows)))
    settings: dict[str, Any] = {"task": "chat-completion", "engine": "tgi", "prompt": "{text}", "max_concurrency": 8}
    settings |= {"input_path": folder / "in.jsonl", "output_path": folder / "out.jsonl", "hedge_after": LATE}
    return BatchJob(url=url, **{**settings, **options})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The batch's: it runs, and `late` puts it forward."""
    return owned_clock(monkeypatch, stopped=False)


def late(clock: Clock, is_late: Callable[[], bool]) -> AbstractContextManager[None]:
    """A request in flight is late on the batch's clock when `is_late` returns True, and at no other time."""
    return once(is_late, lambda: clock.advance(LATE))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("options", [{}, {"order_window": 0, "max_concurrency": 1}], ids=["", "a limit of one"])
def test_a_request_that_hangs_is_overtaken(tmp_path: Path, clock: Clock, options: dict[str, Any]) -> None:
    """The second request is answered, the first one's socket closed; tokens once, attempts as they were."""
    seen: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        seen[prompt_of(request)] += 1
        hangs = prompt_of(request) == "t7" and seen["t7"] == 1
        return Reply(hang=True) if hangs else echo(request)

    hangs_for_ever = options.get("max_concurrency") == 1

    def is_late() -> bool:
        return seen["t7"] == 1 and (hangs_for_ever or (server.in_flight == 1 and len(server.posts) == 40))

    with serving(answer) as server, late(clock, is_late):
        if hangs_for_ever:
            # The only place in flight is taken: a hedge never goes above the limit.
            report = run_batch(job_of(server.url, tmp_path, 40, request_timeout=1.0, **options))
            assert (0, 40) == (report.hedges, report.succeeded)
            return
        report = run_batch(job_of(server.url, tmp_path, 40, **options))
        until = time.monotonic() + 60
        while server.gone == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert (1, 41) == (server.gone, len(server.posts))
        assert server.most_in_flight <= 8
    assert (40, 40, 41, 1, 1) == (report.rows, report.succeeded, report.requests, report.retries, report.hedges)
    assert (3 * 40, 2 * 40) == (report.prompt_tokens, report.completion_tokens)
    assert {7: 2} == {line["index"]: line["attempts"] for line in lines(tmp_path) if line["attempts"] != 1}


def after_the_second(seen: Counter[str]) -> Sleep:
    """A delay that begins when the row t3 has come twice."""

    async def sleep(seconds: float) -> None:
        while seen["t3"] < 2:  # noqa: ASYNC110 (counted where requests are answered)
            await asyncio.sleep(0.005)
        await asyncio.sleep(seconds)

    return sleep


def test_the_first_answer_counts_whichever_it_is(tmp_path: Path, clock: Clock) -> None:
    """The first request comes back before the second: its text, and one line."""
    seen: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        prompt = prompt_of(request)
        seen[prompt] += 1
        if prompt != "t3":
            return echo(request)
        return chat_reply("first", delay=0.2) if seen["t3"] == 1 else Reply(hang=True)

    with (
        serving(answer, sleep=after_the_second(seen)) as server,
        late(clock, lambda: server.in_flight == 1 and len(server.posts) == 30),
    ):
        report = run_batch(job_of(server.url, tmp_path, 30))
    assert ("first", 2) == (lines(tmp_path)[3]["output"], lines(tmp_path)[3]["attempts"])
    assert (30, 30, 31, 1) == (report.rows, report.succeeded, report.requests, report.hedges)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_second_request_that_fails_takes_nothing_from_the_first(tmp_path: Path, clock: Clock, status: int) -> None:
    """The row waits for the request that is still in flight; a refused request is not an attempt."""
    seen: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        prompt = prompt_of(request)
        seen[prompt] += 1
        if prompt != "t3":
            return echo(request)
        return chat_reply("late", delay=0.6) if seen["t3"] == 1 else Reply(status, {"error": "no"})

    with (
        serving(answer, sleep=after_the_second(seen)) as server,
        late(clock, lambda: server.in_flight == 1 and len(server.posts) == 30),
    ):
        report = run_batch(job_of(server.url, tmp_path, 30))
    assert ("late", 1 if status == 429 else 2) == (lines(tmp_path)[3]["output"], lines(tmp_path)[3]["attempts"])
    assert (30, 1) == (report.succeeded, report.hedges)


def test_arrays_are_hedged_whole(tmp_path: Path, clock: Clock) -> None:
    """Every row of one that hangs gets its answer from the second, once."""
    hung: list[int] = []

    def answer(request: Request) -> Reply:
        texts = request.body["input"]
        if not hung:
            hung.append(request.number)
            return Reply(hang=True)
        data = [{"index": n, "embedding": [float(text[1:])]} for n, text in enumerate(texts)]
        return Reply(json={"data": data, "usage": {"prompt_tokens": len(texts)}})

    with serving(answer) as server, late(clock, lambda: server.in_flight == 1 and len(server.posts) == 2):
        job = job_of(server.url, tmp_path, 64, task="feature-extraction", engine="vLLM", model="m", order_window=0)
        report = run_batch(job)
    assert [[[float(n)]] for n in range(64)] == [line["output"] for line in lines(tmp_path)]
    assert (64, 3, 1, 64) == (report.succeeded, report.requests, report.hedges, report.prompt_tokens)


@pytest.mark.parametrize("after", [0, -1, "soon", True, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(tmp_path: Path, after: Any) -> None:
    """When the job is made."""
    with pytest.raises(ValueError, match="hedge_after must be greater than 0 seconds"):
        job_of("http://x", tmp_path, 1, hedge_after=after)


@pytest.mark.parametrize("number", [0, -1, "8", 2.0, None, True])
def test_a_number_of_requests_that_is_none_is_refused(tmp_path: Path, number: Any) -> None:
    """When the job is made; True is not a number."""
    with pytest.raises(ValueError, match='max_concurrency must be "auto" or at least 1'):
        job_of("http://x", tmp_path, 1, max_concurrency=number)
