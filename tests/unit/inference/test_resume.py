"""A batch that was ended in the middle and is run again, on an input that may have been edited meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.batch import BatchJob, arun_batch
from airflow_provider_hf_endpoints.inference.batch_errors import OutputConflictError
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.wire import WireResponse

Rows = list[tuple[str, int]]  # what is asked, and a column that no request has in it


class Memory(Transport):
    """Answers `most` requests at once and the others never."""

    def __init__(self, most: int = 10**9) -> None:
        self.asked: list[str] = []
        self.full = asyncio.Event()
        self._most = most

    async def send(self, request: HttpRequest) -> WireResponse:
        text = json.loads(request.body)["messages"][0]["content"]
        if len(self.asked) >= self._most:
            self.full.set()
            await asyncio.sleep(3600)
        self.asked.append(text)
        await asyncio.sleep(0)
        choice = {"message": {"content": text.upper()}, "finish_reason": "stop"}
        return WireResponse(200, {}, json.dumps({"choices": [choice]}).encode())


def job(folder: Path) -> BatchJob:
    return BatchJob(
        url="http://memory",
        task="chat-completion",
        engine="tgi",
        input_path=folder / "in.jsonl",
        output_path=folder / "out",
        prompt="{text}",
        max_concurrency=3,
    )


def write(folder: Path, rows: Rows) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text, "other": n}) + "\n" for text, n in rows))


def run(folder: Path) -> tuple[BatchReport, list[str]]:
    """A run to the end, and what it sent."""

    async def main() -> tuple[BatchReport, list[str]]:
        transport = Memory()
        return await arun_batch(job(folder), transport=transport), transport.asked

    return asyncio.run(main())


def run_until(folder: Path, most: int) -> None:
    """A run that is cancelled once so many requests are answered."""

    async def main() -> None:
        transport = Memory(most)
        task = asyncio.create_task(arun_batch(job(folder), transport=transport))
        full = asyncio.create_task(transport.full.wait())
        await asyncio.wait([task, full], return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        full.cancel()
        await asyncio.gather(task, full, return_exceptions=True)

    asyncio.run(main())


def answers(folder: Path) -> list[tuple[int, int, str]]:
    lines = map(json.loads, (folder / "out/results-00000.jsonl").read_text().splitlines())
    return [(line["id"], line["index"], line["output"]) for line in lines]


def expected(rows: Rows) -> list[tuple[int, int, str]]:
    return [(n, n, text.upper()) for n, (text, _) in enumerate(rows)]


def edited(seed: int) -> tuple[Rows, int, Rows]:
    """An input, how much of it was done, and what became of it: rows moved, gone, new, the same text twice."""
    chance = random.Random(seed)
    rows: Rows = [(chance.choice("abcdefghijklmnop"), chance.randrange(3)) for _ in range(chance.randint(1, 25))]
    later = list(rows)
    for _ in range(chance.randint(0, 3)):
        place = chance.randrange(len(later))
        match chance.choice(("drop", "move", "text", "other", "new")):
            case "drop" if len(later) > 1:
                del later[place]
            case "move":
                later.insert(chance.randrange(len(later)), later.pop(place))
            case "text":
                later[place] = ("z", later[place][1])
            case "other":
                later[place] = (later[place][0], 9)
            case _:
                later.insert(place, ("y", 0))
    return rows, chance.randrange(len(rows)), later


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_every_row_of_the_input_as_it_is_now_has_its_answer(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """In order and under its own place, whatever was done before; and what is the same is not sent again."""
    rows, done, later = edited(seed)
    folder = tmp_path_factory.mktemp("edited")
    write(folder, rows)
    run_until(folder, done)
    write(folder, later)
    report, sent = run(folder)
    assert expected(later) == answers(folder)
    assert len(later) == report.resumed + len(sent)
    if [text for text, _ in rows] == [text for text, _ in later]:
        # A column that no request has in it may have changed: it is the request that counts.
        assert len(later) - done == len(sent)
    assert run(folder)[1] == []


def test_a_journal_of_another_release_is_refused_by_name(tmp_path: Path) -> None:
    """Rows in a form that this release does not read are neither lost nor silently done twice."""
    write(tmp_path, [("a", 1), ("b", 2)])
    run_until(tmp_path, 1)
    description = tmp_path / "out" / "_journal" / "job.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "format": 1}))
    with pytest.raises(OutputConflictError, match=r"another version of this provider began .*\(journal format 1"):
        run(tmp_path)
