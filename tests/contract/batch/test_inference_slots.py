"""llama.cpp is asked for its slots before a batch that is to find its number in flight."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from tests.contract.batch_play import job_of, questions, write_rows
from tests.contract.inference_server import Reply, Request, Server, chat_reply, serving

SLOTS = 4
HANG = 20.0  # seconds after which requests that do not come are a failure


def run_on(folder: Path, props: Reply, most: int = 1, owner: str = "llamacpp", **options: Any) -> Server:
    """A batch on an engine that says whose it is and what `props` says.

    :param most: answers begin once so many requests are in flight at a time, or do not come to it
    """
    models = Reply(json={"object": "list", "data": [{"id": "m", "owned_by": owner}]})

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return chat_reply("x", delay=0.05)
        return {"/v1/models": models, "/props": props}.get(request.path, Reply(404, {}))

    async def until_all_are_there(seconds: float) -> None:
        ends = time.monotonic() + HANG
        while server.most_in_flight < most and time.monotonic() < ends:  # noqa: ASYNC110 (it counts requests)
            await asyncio.sleep(0.005)
        await asyncio.sleep(seconds)

    write_rows(folder, questions(60))
    with serving(answer, sleep=until_all_are_there) as server:
        report = run_batch(job_of(server.url, folder, **{"engine": None, "max_concurrency": "auto", **options}))
    assert (report.succeeded, report.requests, report.engine) == (60, 60, options.get("engine") or owner)
    return server


def asked(server: Server) -> int:
    return sum(request.path == "/props" for request in server.requests)


@pytest.mark.parametrize("engine", [None, "llamacpp"])
def test_it_is_sent_as_many_as_it_has_slots_and_one_more(tmp_path: Path, engine: str | None) -> None:
    """Whether the control plane names the engine, or the engine itself does."""
    server = run_on(tmp_path, Reply(json={"total_slots": SLOTS}), SLOTS + 1, engine=engine)
    assert (asked(server), server.most_in_flight) == (1, SLOTS + 1)


@pytest.mark.parametrize(
    "props", [Reply(404, {}), Reply(500, {}), Reply(json={"total_slots": "4"}), Reply(json=[]), Reply(json={})]
)
def test_where_it_does_not_say_the_number_is_searched_for(tmp_path: Path, props: Reply) -> None:
    """As on any engine, from 16 on."""
    assert run_on(tmp_path, props, 16).most_in_flight >= 16


def test_nobody_is_asked_whose_answer_would_change_nothing(tmp_path: Path) -> None:
    """Another engine, or a number that the user gave."""
    told = Reply(json={"total_slots": SLOTS})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert asked(run_on(tmp_path / "a", told, owner="vllm")) == 0
    server = run_on(tmp_path / "b", told, 8, max_concurrency=8)
    assert (asked(server), server.most_in_flight) == (0, 8)
