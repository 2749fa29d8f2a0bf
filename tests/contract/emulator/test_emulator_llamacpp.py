"""The llama.cpp engine really answers: a real model behind every text-generating image, cold starts included."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.engines.llamacpp_process import EngineUnavailable, find_model
from tests.contract.emulator_play import LLAMACPP, TGI, TOOLKIT, VLLM, Play

try:
    find_model(None)
    MISSING = ""
except EngineUnavailable as error:
    MISSING = str(error)

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

LOADED = 600.0  # seconds after which a model that does not load is a failure
MESSAGES = [{"role": "user", "content": "Say hello."}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    with Emulator(namespace="acme", engine="llamacpp") as emulator:
        playing = Play(emulator)
        playing.http.timeout = httpx.Timeout(LOADED)
        yield playing


def ready(play: Play, name: str, **changes: Any) -> str:
    """An endpoint whose health route answers 200."""
    url = play.running(name, **changes)
    ends = time.monotonic() + LOADED
    while play.http.get(f"{url}/health").status_code != 200:
        assert time.monotonic() < ends
        time.sleep(0.05)
    return url


def test_the_toolkits_image(play: Play) -> None:
    """The default image: loading is a 503, then the model answers `POST /`, and chat where the image serves chat."""
    play.emulator.set_quirks("toolkit_chats")
    created = play.create("toolkit", model={"image": TOOLKIT}).json()["status"]["url"]
    assert play.http.get(f"{created}/health").status_code == 503
    play.until("running", "toolkit")
    ends = time.monotonic() + LOADED
    statuses = set()
    while (response := play.http.get(f"{created}/health")).status_code != 200:
        statuses.add(response.status_code)
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert statuses <= {503}
    body = {"inputs": "The capital of France is", "parameters": {"max_new_tokens": 5, "do_sample": False}}
    answered = play.http.post(created, json=body).json()
    assert answered[0]["generated_text"].startswith("The capital of France is Paris")
    assert play.http.post(created, json={"inputs": "x", "parameters": {"surprise": 1}}).status_code == 400
    chat = play.http.post(created + CHAT, json={"model": "dummy", "messages": MESSAGES, "max_tokens": 4}).json()
    assert chat["usage"]["completion_tokens"] == 4
    assert chat["choices"][0]["finish_reason"] == "length"
    meter = play.emulator.meter("toolkit")
    assert meter["completion_tokens"] == 5 + 4
    play.post("pause", "toolkit")
    assert play.http.post(created, json=body).status_code == 400


def test_tgis_routes(play: Play) -> None:
    """/generate with details, and a stream whose last event has the whole text."""
    url = ready(play, "tgi", model={"image": TGI})
    body = {"inputs": "The sky is", "parameters": {"max_new_tokens": 4, "details": True}}
    answered = play.http.post(f"{url}/generate", json=body).json()
    assert answered["generated_text"]
    assert (answered["details"]["generated_tokens"], answered["details"]["finish_reason"]) == (4, "length")
    with play.http.stream("POST", f"{url}/generate_stream", json=body) as response:
        events = [json.loads(line.removeprefix("data:")) for line in response.iter_lines() if line]
    assert events[-1]["generated_text"] == "".join(event["token"]["text"] for event in events)
    assert events[-1]["details"]["finish_reason"] == "length"
    assert play.emulator.meter("tgi")["completion_tokens"] == 4 + 4
    assert play.http.post(f"{url}/generate", json={"inputs": ""}).status_code == 422
    play.delete("tgi")


def test_vllms_routes(play: Play) -> None:
    """Behind vLLM's image the model is still called by its repository, streams, and obeys a JSON schema."""
    url = ready(play, "vllm", model={"image": VLLM, "repository": "org/model"})
    assert play.http.get(f"{url}/v1/models").json()["data"][0]["id"] == "org/model"
    assert play.http.post(url + CHAT, json={"model": "dummy", "messages": MESSAGES}).status_code == 404
    body = {"model": "org/model", "messages": MESSAGES, "max_tokens": 3, "stream": True}
    with play.http.stream("POST", url + CHAT, json=body) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert play.emulator.meter("vllm")["completion_tokens"] == 3
    assert play.emulator.meter("vllm")["prompt_tokens"] > 3
    schema = {"type": "object", "properties": {"label": {"enum": ["good", "bad"]}}, "required": ["label"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = {"messages": MESSAGES, "response_format": response_format, "max_tokens": 30}
    content = play.http.post(url + CHAT, json=body).json()["choices"][0]["message"]["content"]
    assert json.loads(content)["label"] in ("good", "bad")
    play.delete("vllm")


def test_llamacpps_own_routes(play: Play) -> None:
    """llama.cpp's own health, properties and slots; a prompt over its context is its own error."""
    url = ready(play, "cpp", model={"image": LLAMACPP})
    assert play.http.get(f"{url}/health").json() == {"status": "ok"}
    assert play.http.get(f"{url}/props").json()["total_slots"] == 4
    assert len(play.http.get(f"{url}/slots").json()) == 4
    long = [{"role": "user", "content": "word " * 3000}]
    refused = play.http.post(url + CHAT, json={"messages": long})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "exceed_context_size_error")
    play.delete("cpp")


def test_an_update_of_the_model_is_answered_under_its_name(play: Play) -> None:
    """After an update to another repository it answers under the new name, the old one until then."""
    url = ready(play, "next", model={"image": VLLM, "repository": "org/old"})
    play.put({"model": {"repository": "org/new"}}, "next")
    play.until("running", "next")
    ends = time.monotonic() + LOADED
    while True:
        body = {"messages": MESSAGES, "max_tokens": 1}
        answered = play.http.post(url + CHAT, json=body)
        if answered.status_code == 200 and answered.json()["model"] == "org/new":
            break
        assert time.monotonic() < ends
        time.sleep(0.05)
    play.delete("next")


def test_other_tasks_echo(play: Play) -> None:
    """Embeddings and classification come from the echo engine: the model only generates text."""
    url = play.running("classes", model={"task": "text-classification"})
    assert set(play.http.post(url, json={"inputs": "x"}).json()[0]) == {"label", "score"}
    play.delete("classes")


def test_a_model_that_is_no_model(tmp_path: Any) -> None:
    """A file that llama.cpp cannot load ends in `failed`, with its own log lines."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    with Emulator(namespace="acme", engine="llamacpp", model_path=str(broken)) as emulator:
        play = Play(emulator)
        play.create()
        status = play.until("failed")["status"]
        assert "llama.cpp ended" in status["errorMessage"]
        assert "error" in {entry["level"] for entry in play.http.get("/v3/endpoint/acme/demo/logs").json()}
