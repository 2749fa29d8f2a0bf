"""A file of prompts through a real model: `python benchmarks/real_engine.py questions.jsonl --prompt "{question}"`.

The emulator creates an endpoint with llama.cpp and SmolLM2-135M-Instruct behind it (docs/reference/emulator.md says
what to install); the batch finds its own number in flight. Prints what came of the rows, held against the requests
that the emulator counted, and then runs the finished job once more.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bars import Bar, line

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal, Ready
from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, run_batch

MODEL: dict[str, Any] = {
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "framework": "pytorch",
    "task": "text-generation",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
    "custom_image": {"llamacpp": {"url": "ghcr.io/ggml-org/llama.cpp:server", "modelPath": "model.gguf"}},
}


def posts(emulator: Emulator) -> int:
    """Chat requests that have reached the engine."""
    return sum(each.method == "POST" and each.path.endswith("/v1/chat/completions") for each in emulator.requests)


def tell(report: BatchReport, asked: int, again: int, output: Path, expected: int) -> None:
    """The figures."""
    answers = [json.loads(text) for text in output.read_text().splitlines()]
    print(json.dumps({name: value for name, value in report.as_dict().items() if "path" not in name}))
    for answer in answers[:3]:
        print(f"  {answer['index']}: {answer['output']!r} ({answer['finish_reason']})")
    line("rows of the input that are no line, in their place", expected - len(answers), Bar(0), form=".0f")
    line("lines out of their place", sum(n != each["index"] for n, each in enumerate(answers)), Bar(0), form=".0f")
    line("rows that failed", report.failed, Bar(0), form=".0f")
    marked = sum(each["truncated"] == (each["finish_reason"] == "length") for each in answers)
    line("lines whose cut text is not marked", len(answers) - marked, Bar(0), form=".0f")
    line("requests in the report beside the server's own count", abs(report.requests - asked), Bar(0), form=".0f")
    tokens = sum(each["usage"]["prompt_tokens"] + each["usage"]["completion_tokens"] for each in answers)
    told = report.prompt_tokens + report.completion_tokens
    line("tokens in the report beside those of the lines", abs(tokens - told), Bar(0), form=".0f")
    line("requests of the finished job run again", again, Bar(0), form=".0f")


def main() -> None:
    """Run it, and print what came."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("input", type=Path, help="JSONL")
    parser.add_argument("--prompt", required=True, help="a template over its columns")
    parser.add_argument("--max-tokens", type=int, default=4)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the emulator's own
    expected = sum(1 for text in options.input.read_text().splitlines() if text.strip())
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(engine="llamacpp", max_requests_kept=10 * expected) as emulator,
        EndpointsClient(emulator.token, base_url=emulator.url, hub_url=emulator.url) as client,
    ):
        client.create_inference_endpoint("real", **MODEL)
        end = client.wait("real", Goal(started=datetime.now(UTC), deadline=datetime.now(UTC) + timedelta(minutes=5)))
        assert isinstance(end, Ready), end
        assert end.endpoint is not None
        job = BatchJob(
            url=str(end.endpoint.url),
            token=emulator.token,
            task="chat-completion",
            input_path=options.input,
            output_path=Path(folder, "out"),
            prompt=options.prompt,
            parameters={"max_tokens": options.max_tokens, "temperature": 0},
        )
        report = run_batch(job)
        asked = posts(emulator)
        run_batch(job)
        tell(report, asked, posts(emulator) - asked, Path(folder, "out", "results-00000.jsonl"), expected)


if __name__ == "__main__":
    main()
