"""The dispatcher on a transport that answers from memory: it ends, whatever happens at its very end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference import run
from airflow_provider_hf_endpoints.inference.batch import BatchJob, arun_batch
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.output.publish import publish
from airflow_provider_hf_endpoints.inference.sending import timeouts
from airflow_provider_hf_endpoints.inference.wire import WireResponse


class Memory(Transport):
    """Answers at once; knows how many requests were out at most."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.most = 0

    async def send(self, request: HttpRequest) -> WireResponse:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        return self.answer(request)

    @staticmethod
    def answer(request: HttpRequest) -> WireResponse:
        text = json.loads(request.body)["messages"][0]["content"]
        choice = {"message": {"content": text.upper()}, "finish_reason": "stop"}
        return WireResponse(200, {}, json.dumps({"choices": [choice]}).encode())


def job(folder: Path, name: str, **options: object) -> BatchJob:
    return BatchJob(
        url="http://memory",
        task="chat-completion",
        engine="tgi",
        input_path=folder / "in.jsonl",
        output_path=folder / name,
        prompt="{text}",
        **options,  # type: ignore[arg-type]
    )


def test_the_last_group_and_the_end_may_come_together(tmp_path: Path) -> None:
    """A full group is to be written at the moment when the batch ends: no caller waits forever."""
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(1000)))

    async def main() -> None:
        for attempt in range(10):
            async with asyncio.timeout(60):
                report = await arun_batch(job(tmp_path, f"out{attempt}", max_concurrency=256), transport=Memory())
            assert report.succeeded == 1000

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 64, 101, 512])
def test_exactly_as_many_are_in_flight_as_were_asked_for(tmp_path: Path, count: int) -> None:
    """No fewer, no more."""
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(2000)))
    transport = Memory()
    asyncio.run(arun_batch(job(tmp_path, "out", max_concurrency=count), transport=transport))
    assert transport.most == count


class AnsweredAsItIsGivenUp(Memory):
    """The second request for the row `t0` is answered in the moment in which the first is given up."""

    def __init__(self) -> None:
        super().__init__()
        self.first: asyncio.Task[None] | None = None

    async def send(self, request: HttpRequest) -> WireResponse:
        if b'"t0"' in request.body and self.first is None:
            self.first = asyncio.current_task()
            await asyncio.sleep(60)
        while b'"t0"' in request.body and self.first is not None and not self.first.cancelling():  # noqa: ASYNC110
            await asyncio.sleep(0)  # the very moment counts
        return self.answer(request)


def test_given_up_and_answered_at_once_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hedged row's first request takes too long just when its second is answered: one line, and no error."""
    monkeypatch.setattr(timeouts, "SHORTEST", 0.07)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(200)))
    options = {"max_concurrency": 8, "hedge_after": 0.01, "order_window": 0}
    report = asyncio.run(arun_batch(job(tmp_path, "out", **options), transport=AnsweredAsItIsGivenUp()))
    assert (200, 0, 1) == (report.succeeded, report.failed, report.hedges)


def test_cancelled_while_it_publishes_an_output_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything was done and is being written when the batch is cancelled: no other process writes there at that
    time.
    """
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(500)))
    begun, writing = threading.Event(), []

    def slowly(*args: Any, **options: Any) -> dict[str, Any]:
        writing.append(options["complete"])
        begun.set()
        time.sleep(0.2)
        return publish(*args, **options)

    monkeypatch.setattr(run, "publish", slowly)

    async def main() -> None:
        task = asyncio.create_task(arun_batch(job(tmp_path, "out", max_concurrency=64), transport=Memory()))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [True] == writing
    lines = (tmp_path / "out" / "results-00000.jsonl").read_text().splitlines()
    assert [f"T{n}" for n in range(500)] == [json.loads(line)["output"] for line in lines]
    assert {"in.jsonl", "out"} == {path.name for path in tmp_path.iterdir()}
    assert {"results-00000.jsonl", "errors.jsonl", "manifest.json"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }
