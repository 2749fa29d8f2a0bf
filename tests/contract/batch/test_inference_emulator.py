"""The data plane against the emulator: every engine and task it speaks, its proxy's states, its faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference import InferenceClient, errors
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted
from tests.contract.emulator_play import LLAMACPP, SGLANG, TEI, TGI, TOOLKIT, VLLM, Play


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(token="hf_emulator_token") as emulator:
        yield emulator


def deploy(emulator: Emulator, image: dict[str, Any], **model: Any) -> str:
    """Create an endpoint, wait until it runs, give its address."""
    play = Play(emulator)
    created = play.create(model={"image": image, **model})
    assert created.status_code < 300, created.text
    for _ in range(500):
        status = play.get().json()["status"]
        if status["state"] == "running" and status.get("url"):
            return str(status["url"])
        time.sleep(0.02)
    raise AssertionError(f"not running: {status}")


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (VLLM, True),
        (VLLM, False),
        (SGLANG, True),
        (LLAMACPP, True),
        (TGI, True),
        (TGI, False),
    ],
)
def test_chat_and_text_generation_on_every_engine_that_generates(
    emulator: Emulator, image: dict[str, Any], named: bool
) -> None:
    """With the engine named and with it found out, the model asked of the engine."""
    url = deploy(emulator, image)
    with InferenceClient(url, emulator.token, engine=next(iter(image)) if named else None) as client:
        chat = client.chat_completion([{"role": "user", "content": "hello there"}], max_tokens=50)
        assert chat.choices[0].message.content
        assert chat.usage is not None
        assert chat.usage.total_tokens
        assert client.text_generation("hello there", max_new_tokens=50)
        assert client.run("text-generation", "one two three four five", {"max_tokens": 1}).truncated


@pytest.mark.parametrize("named", [True, False])
def test_embeddings_and_ranking_on_tei(emulator: Emulator, named: bool) -> None:
    """TEI's own routes."""
    url = deploy(emulator, TEI, task="sentence-embeddings")
    with InferenceClient(url, emulator.token, engine="tei" if named else None) as client:
        one, two = client.feature_extraction(["a", "b"])
        assert len(one) == len(two) > 0
        ranked = client.run("rerank", {"query": "q", "texts": ["a", "b"]}).output
        assert {0, 1} == {item["index"] for item in ranked}


def test_pipelines_on_the_toolkit(emulator: Emulator) -> None:
    """`POST /` with inputs and parameters."""
    url = deploy(emulator, TOOLKIT)
    with InferenceClient(url, emulator.token, engine="huggingface") as client:
        assert client.text_generation("hello there", max_new_tokens=20)


def test_the_proxys_refusals_are_typed(emulator: Emulator) -> None:
    """A wrong token, a paused endpoint."""
    url = deploy(emulator, VLLM)
    with InferenceClient(url, "hf_wrong", engine="vLLM") as client, pytest.raises(errors.AuthenticationError):
        client.chat_completion("hi")
    play = Play(emulator)
    play.http.post(f"{play.base}/demo/pause")
    with InferenceClient(url, emulator.token, engine="vLLM") as client, pytest.raises(errors.EndpointPausedError):
        client.chat_completion("hi")


def test_an_endpoint_scaled_to_zero_is_woken_and_waited_for(emulator: Emulator, tmp_path: Path) -> None:
    """By a single call that may wait, and by a batch."""
    url = deploy(emulator, VLLM)
    play = Play(emulator)
    play.http.post(f"{play.base}/demo/scale-to-zero")
    with InferenceClient(url, emulator.token, engine="vLLM", scale_up_timeout=30) as client:
        assert client.chat_completion("hi").choices[0].message.content
    play.http.post(f"{play.base}/demo/scale-to-zero")
    report = run_batch(batch(emulator, url, tmp_path, 50, probe_interval=0.1))
    assert (report.succeeded, report.failed) == (50, 0)


def batch(emulator: Emulator, url: str, folder: Path, rows: int, **options: Any) -> BatchJob:
    lines = [json.dumps({"text": f"question number {n}"}) for n in range(rows)]
    (folder / "in.jsonl").write_text("\n".join(lines))
    return BatchJob(
        url=url,
        token=emulator.token,
        task="chat-completion",
        input_path=folder / "in.jsonl",
        output_path=folder / "out",
        prompt="Say: {text}",
        max_concurrency=options.pop("max_concurrency", 16),
        **options,
    )


def test_a_batch_through_faults_of_every_kind(emulator: Emulator, tmp_path: Path) -> None:
    """Errors, refusals, dropped, cut and nonsensical answers: every row is answered, and the counts are the
    server's."""
    url = deploy(emulator, VLLM)
    route = "/v1/chat/completions"
    faults: list[dict[str, Any]] = [
        {"status": 500, "body": {"error": {"message": "x"}}},
        {"status": 429, "body": {"error": "busy"}},
        {"status": 503, "body": {"error": "503 Service Unavailable"}},
        {"kind": "drop"},
        {"kind": "cut"},
        {"kind": "not_json"},
    ]
    for fault in faults:
        emulator.add_fault(route, rate=0.03, **fault)
    report = run_batch(batch(emulator, url, tmp_path, 300, max_attempts=10))
    seen = [request for request in emulator.requests if request.path.endswith(route)]
    assert (report.rows, report.succeeded, report.failed) == (300, 300, 0)
    assert report.requests == len(seen)
    lines = [json.loads(line) for line in (tmp_path / "out/results-00000.jsonl").read_text().splitlines()]
    assert list(range(300)) == [line["index"] for line in lines]
    assert all(f"question number {n}" in line["output"] for n, line in enumerate(lines))


def test_a_batch_whose_endpoint_is_paused_stops(emulator: Emulator, tmp_path: Path) -> None:
    """The error says that it is paused."""
    url = deploy(emulator, VLLM)
    play = Play(emulator)
    play.http.post(f"{play.base}/demo/pause")
    with pytest.raises(BatchAborted, match="is paused"):
        run_batch(batch(emulator, url, tmp_path, 20, model="m", engine="vLLM"))
