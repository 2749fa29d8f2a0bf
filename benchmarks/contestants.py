"""The tools that are compared: each runs alone in a process and prints seconds, CPU seconds and resident memory.

`python benchmarks/contestants.py NAME URL INPUT OUTPUT CONCURRENCY`; `throughput.py` calls it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

PARAMETERS = {"max_tokens": 128}


def ours(url: str, source: Path, target: Path, concurrency: int) -> None:
    """This project, end to end: read, template, send, parse, journal durably, write in input order."""
    run(url, source, target, concurrency)


def ours_over_httpx(url: str, source: Path, target: Path, concurrency: int) -> None:
    """The same with httpx as transport."""
    from airflow_provider_hf_endpoints.inference.transport import HttpxTransport

    run(url, source, target, concurrency, HttpxTransport(url, {"authorization": "Bearer x"}, concurrency))


def ours_without_http(url: str, source: Path, target: Path, concurrency: int) -> None:
    """The same with a transport that answers from memory: what the engine itself costs."""
    from server import ANSWER, MODELS

    from airflow_provider_hf_endpoints.inference.transport import HttpRequest, Transport
    from airflow_provider_hf_endpoints.inference.wire import WireResponse

    class Stub(Transport):
        async def send(self, request: HttpRequest) -> WireResponse:
            await asyncio.sleep(0)
            return WireResponse(200, {}, ANSWER if request.method == "POST" else MODELS)

    run(url, source, target, concurrency, Stub())


def run(url: str, source: Path, target: Path, concurrency: int, transport: object = None) -> None:
    """A batch of this project."""
    from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch

    job = BatchJob(
        url=url,
        token="x",
        task="chat-completion",
        engine="vLLM",
        input_path=source,
        output_path=target,
        prompt="{question}",
        parameters=PARAMETERS,
        max_concurrency=concurrency,
    )
    report = run_batch(job, transport=transport)  # type: ignore[arg-type]
    assert report.failed == 0, report


def hub(url: str, source: Path, target: Path, concurrency: int) -> None:
    """huggingface_hub as its guide drives an endpoint: gather behind a semaphore, results to one JSONL."""
    from huggingface_hub import AsyncInferenceClient

    async def main() -> None:
        client = AsyncInferenceClient(base_url=url, token="x")
        semaphore = asyncio.Semaphore(concurrency)

        async def one(question: str) -> str:
            async with semaphore:
                answer = await client.chat_completion([{"role": "user", "content": question}], **PARAMETERS)
                return str(answer.choices[0].message.content)

        with source.open() as file:
            rows = [json.loads(line) for line in file]
        outputs = await asyncio.gather(*(one(row["question"]) for row in rows))
        with target.open("w") as file:
            for row, output in zip(rows, outputs, strict=True):
                file.write(json.dumps({**row, "output": output}) + "\n")

    asyncio.run(main())


CONTESTANTS: dict[str, Callable[[str, Path, Path, int], None]] = {
    "ours": ours,
    "ours-httpx": ours_over_httpx,
    "ours-stub": ours_without_http,
    "hub": hub,
}

if __name__ == "__main__":
    name, address, source_path, target_path, in_flight = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    # Importing is no part of the work.

    if name == "hub":
        import huggingface_hub  # noqa: F401
    before = os.times()
    started = time.perf_counter()
    CONTESTANTS[name](address, Path(source_path), Path(target_path), int(in_flight))
    seconds = time.perf_counter() - started
    after = os.times()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": after.user - before.user + after.system - before.system,
                "rss_mb": memory,
            }
        )
    )
