"""The tools that are compared: each runs alone in a process and prints seconds, CPU seconds and resident memory.

`python benchmarks/contestants.py NAME URL INPUT OUTPUT CONCURRENCY`; `throughput.py` calls it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import resource
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

PARAMETERS = {"max_tokens": 128}


def ours(url: str, source: Path, target: Path, concurrency: int) -> None:
    """This project, end to end: read, template, send, parse, journal durably, write in input order."""
    run(url, source, target, concurrency)


def ours_over_httpx(url: str, source: Path, target: Path, concurrency: int) -> None:
    """The same with httpx as transport."""
    from airflow_provider_hf_endpoints.inference.http.httpx_transport import HttpxTransport

    run(url, source, target, concurrency, HttpxTransport(url, {"authorization": "Bearer x"}, concurrency))


def ours_without_http(url: str, source: Path, target: Path, concurrency: int) -> None:
    """The same with a transport that answers from memory: what the engine itself costs."""
    from server import ANSWER, MODELS

    from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
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


def bodies(source: Path) -> Iterator[tuple[int, bytes]]:
    """Every row's request, for the bare loops."""
    with source.open("rb") as file:
        for number, line in enumerate(file):
            messages = [{"role": "user", "content": json.loads(line)["question"]}]
            yield number, json.dumps({"messages": messages, "model": "org/model", **PARAMETERS}).encode()


async def bare(source: Path, target: Path, concurrency: int, post: Callable[[bytes], Awaitable[bytes]]) -> None:
    """As many workers as may be in flight over an iterator, answers to one file as they come: nothing is durable, in
    order, or tried again. What an HTTP library costs by itself."""
    rows = bodies(source)
    with target.open("w") as file:

        async def work() -> None:
            for number, body in rows:
                answer = json.loads(await post(body))
                output = answer["choices"][0]["message"]["content"]
                file.write(json.dumps({"index": number, "output": output}) + "\n")

        await asyncio.gather(*(work() for _ in range(concurrency)))


ROUTE = "/v1/chat/completions"
HEADERS = {"content-type": "application/json", "authorization": "Bearer x"}


def bare_aiohttp(url: str, source: Path, target: Path, concurrency: int) -> None:
    """A loop over aiohttp."""
    import aiohttp

    async def main() -> None:
        context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
        connector = aiohttp.TCPConnector(limit=concurrency, ssl=context)
        async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

            async def post(body: bytes) -> bytes:
                async with session.post(url + ROUTE, data=body) as answer:
                    return await answer.read()

            await bare(source, target, concurrency, post)

    asyncio.run(main())


def bare_httpx(url: str, source: Path, target: Path, concurrency: int) -> None:
    """A loop over httpx."""
    import httpx

    async def main() -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(headers=HEADERS, limits=limits, timeout=600) as client:

            async def post(body: bytes) -> bytes:
                return (await client.post(url + ROUTE, content=body)).content

            await bare(source, target, concurrency, post)

    asyncio.run(main())


def bare_pyreqwest(url: str, source: Path, target: Path, concurrency: int) -> None:
    """A loop over pyreqwest (Rust)."""
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().max_connections(concurrency).default_headers(HEADERS)
    if "SSL_CERT_FILE" in os.environ:
        builder = builder.add_root_certificate_pem(Path(os.environ["SSL_CERT_FILE"]).read_bytes())

    async def main() -> None:
        async with builder.build() as client:

            async def post(body: bytes) -> bytes:
                answer = await client.post(url + ROUTE).body_bytes(body).build().send()
                return bytes(await answer.bytes())

            await bare(source, target, concurrency, post)

    asyncio.run(main())


def datatrove(url: str, source: Path, target: Path, concurrency: int) -> None:
    """datatrove's inference runner with checkpoints, over its own client for an endpoint."""
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    async def rollout(document: Any, generate: Any) -> Any:
        return await generate({"messages": [{"role": "user", "content": document.text}], **PARAMETERS})

    config = InferenceConfig(
        server_type="endpoint",
        endpoint_url=url,
        api_key="x",
        model_name_or_path="org/model",
        max_concurrent_generations=concurrency,
        metric_interval=3600,
    )
    folder = str(target.with_name("out-datatrove"))
    runner = InferenceRunner(
        rollout,
        config,
        JsonlWriter(folder, output_filename="${rank}_chunk_${chunk_index}.jsonl", compression=None),
        checkpoints_local_dir=f"{folder}/checkpoints",
        records_per_chunk=500,
    )
    runner.run(JsonlReader(str(source), text_key="question").run(), rank=0, world_size=1)
    chunks = [path for path in Path(folder).glob("*_chunk_*.jsonl") if path.is_file()]
    with source.open("rb") as file:
        assert sum(len(path.read_bytes().splitlines()) for path in chunks) == sum(1 for _ in file), chunks


CONTESTANTS: dict[str, Callable[[str, Path, Path, int], None]] = {
    "ours": ours,
    "ours-httpx": ours_over_httpx,
    "ours-stub": ours_without_http,
    "hub": hub,
    "datatrove": datatrove,
    "aiohttp": bare_aiohttp,
    "pyreqwest": bare_pyreqwest,
    "httpx": bare_httpx,
}

if __name__ == "__main__":
    name, address, source_path, target_path, in_flight = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    # The import is not a part of the work.

    libraries = {"hub": "huggingface_hub", "datatrove": "datatrove.pipeline.inference.run_inference"}
    library = "airflow_provider_hf_endpoints.inference.batch" if name.startswith("ours") else libraries.get(name, name)
    importlib.import_module(library)
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
    sys.stdout.flush()
    os._exit(0)  # pyreqwest's threads can outlive the interpreter, which then dies of them
