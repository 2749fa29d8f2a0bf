"""What the tests of batches share: rows, a job for them, what came of it, servers that fail on some of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.inference_server import Answer, Reply, Request, chat_reply, echo

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


def stopped_early(url: str, folder: Path, after: int, **options: Any) -> None:
    """Run a job and stop it once the server was asked `after` times."""
    asked = [0]

    def stop() -> bool:
        asked[0] = len((folder / "seen").read_text()) if (folder / "seen").exists() else 0
        return asked[0] >= after

    with pytest.raises(BatchStopped, match="stop requested"):
        run_batch(job_of(url, folder, **options), stop=stop)


def counting(folder: Path, delay: float = 0.02) -> Answer:
    def answer(request: Request) -> Reply:
        with (folder / "seen").open("a") as seen:
            seen.write(".")
        return chat_reply(prompt_of(request)[::-1], delay=delay)

    return answer


def slow_after(requests: int) -> Answer:
    """Answers as `echo`, slowly after so many requests, so that a batch sees in time that it has to stop."""

    def answer(request: Request) -> Reply:
        return replace(echo(request), delay=0.3 if request.number >= requests else 0.0)

    return answer


def run_shards(job: BatchJob, shards: list[Shard]) -> None:
    """Each job separately, all at the same time."""
    with ThreadPoolExecutor(len(shards)) as pool:
        list(pool.map(lambda shard: run_batch(replace(job, shard=shard)), shards))


def planned(folder: Path, shards: int = 4, **options: Any) -> list[Shard]:
    return plan_batch(folder / "in.jsonl", folder / "out", shards=shards, **options)
