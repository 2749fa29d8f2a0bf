"""The echo engine's dialects as pure functions: each engine's routes, shapes, limits and error bodies."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator.engines import echo, words
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Reply
from airflow_provider_hf_endpoints.emulator.service import validation
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint
from airflow_provider_hf_endpoints.emulator.settings import Behaviour

VLLM: dict[str, Any] = {"vLLM": {"url": "u"}}
SGLANG: dict[str, Any] = {"sGLang": {"url": "u"}}
LLAMACPP: dict[str, Any] = {"llamacpp": {"url": "u", "modelPath": "m"}}
TGI: dict[str, Any] = {"tgi": {"url": "u"}}
TEI: dict[str, Any] = {"tei": {"url": "u"}}
TOOLKIT: dict[str, Any] = {"huggingface": {}}
CHAT = "/v1/chat/completions"


def call(
    image: dict[str, Any],
    path: str,
    body: Any = None,
    *,
    task: str = "text-generation",
    behaviour: Behaviour | None = None,
    headers: dict[str, str] | None = None,
    raw: bytes | None = None,
    toolkit_chats: bool = False,
    **model: Any,
) -> Reply:
    spec = validation.accept_spec(
        {
            "name": "demo",
            "type": "authenticated",
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {
                "accelerator": "cpu",
                "instanceType": "intel-icl",
                "instanceSize": "x2",
                "scaling": {"minReplica": 1, "maxReplica": 1},
            },
            "model": {"repository": "org/model", "framework": "pytorch", "image": image, "task": task, **model},
        }
    )
    endpoint = Endpoint(
        id="e",
        namespace="acme",
        name="demo",
        spec=spec,
        price_per_hour=1.0,
        behaviour=behaviour or Behaviour(),
        seconds_per_minute=60.0,
        scale_down_window=300.0,
        created_at=0.0,
        created_by="acme",
        updated_at=0.0,
        updated_by="acme",
    )
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None and raw is None else "POST"
    kind = {"content-type": "application/json", **(headers or {})}
    return echo.answer(Call(endpoint, method, path, kind, content, now=1.0, toolkit_chats=toolkit_chats))


def said(reply: Reply) -> Any:
    return json.loads(reply.body)


def events(reply: Reply) -> list[Any]:
    assert reply.chunks is not None
    texts = [chunk.decode().removeprefix("data:").strip() for chunk in reply.chunks]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


# ------------------------------------------------------------------------------------------- OpenAI's routes


@pytest.mark.parametrize("image", [VLLM, SGLANG, LLAMACPP, TGI], ids=lambda image: next(iter(image)))
def test_chat(image: dict[str, Any]) -> None:
    """The answer repeats the last user message; usage counts words; max_tokens truncates, and the answer reports it."""
    messages = [{"role": "system", "content": "be brief"}, *user("a b c d")]
    whole = said(call(image, CHAT, {"messages": messages}))
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "Echo: a b c d"}
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"] == {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    assert whole["model"] == "org/model"
    cut = said(call(image, CHAT, {"messages": messages, "max_tokens": 3}))
    assert (cut["choices"][0]["message"]["content"], cut["choices"][0]["finish_reason"]) == ("Echo: a b", "length")
    stopped = said(call(image, CHAT, {"messages": messages, "stop": " c"}))
    assert (stopped["choices"][0]["message"]["content"], stopped["choices"][0]["finish_reason"]) == (
        "Echo: a b",
        "stop",
    )


def test_the_same_request_has_the_same_answer() -> None:
    body = {"messages": user("again"), "temperature": 1.5}
    assert call(VLLM, CHAT, body).body == call(VLLM, CHAT, body).body


def test_chat_stream() -> None:
    """Chunks, a finish_reason in the last, usage where asked for, and [DONE]."""
    body = {"messages": user("a b"), "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = events(call(VLLM, CHAT, body))
    assert done == "[DONE]"
    assert usage["usage"]["completion_tokens"] == 3
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Echo: a b"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]


def test_completions_and_copies() -> None:
    answered = said(call(VLLM, "/v1/completions", {"prompt": ["x", "y"], "n": 2, "max_tokens": 5}))
    assert [choice["text"] for choice in answered["choices"]] == ["Echo: x", "Echo: x", "Echo: y", "Echo: y"]
    assert [choice["index"] for choice in answered["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("image", [VLLM, SGLANG, LLAMACPP, TGI], ids=lambda image: next(iter(image)))
def test_models(image: dict[str, Any]) -> None:
    """/v1/models names the repository."""
    assert [model["id"] for model in said(call(image, "/v1/models"))["data"]] == ["org/model"]


def test_a_wrong_model_name() -> None:
    """404 on vLLM and SGLang, each in its own words; llama.cpp and TGI do not look. "dummy" is a wrong name."""
    body = {"model": "dummy", "messages": user("x")}
    vllm, sglang = call(VLLM, CHAT, body), call(SGLANG, CHAT, body)
    assert (vllm.status, sglang.status) == (404, 404)
    assert set(said(vllm)["error"]) == {"message", "type", "param", "code"}
    assert said(vllm)["error"]["code"] == 404
    assert (said(sglang)["object"], said(sglang)["code"]) == ("error", 404)
    assert [call(image, CHAT, body).status for image in (LLAMACPP, TGI)] == [200, 200]
    assert call(VLLM, CHAT, {**body, "model": "org/model"}).status == 200


def test_context_overflow() -> None:
    """400 on vLLM, SGLang and llama.cpp (with its own type and numbers), 422 on TGI."""
    short = Behaviour(context_length=10)
    body = {"messages": user("word " * 20)}
    for image in (VLLM, SGLANG):
        assert call(image, CHAT, body, behaviour=short).status == 400
    cpp = call(LLAMACPP, CHAT, body, behaviour=short)
    error = said(cpp)["error"]
    assert (cpp.status, error["type"], error["n_prompt_tokens"], error["n_ctx"]) == (
        400,
        "exceed_context_size_error",
        23,
        10,
    )
    tgi = call(TGI, CHAT, body, behaviour=short)
    assert (tgi.status, said(tgi)["error_type"]) == (422, "validation")
    small = {"messages": user("a b"), "max_tokens": 50}
    assert call(VLLM, CHAT, small, behaviour=short).status == 400
    cut = said(call(LLAMACPP, CHAT, {"messages": user("a b c d"), "max_tokens": 50}, behaviour=short))
    assert cut["choices"][0]["finish_reason"] == "length"


def test_the_context_by_arguments_and_image() -> None:
    """`--max-model-len`, `ctxSize` over `nParallel`, and TGI's variables set the context."""
    assert said(call(VLLM, "/v1/models", args=["--max-model-len", "77"]))["data"][0]["max_model_len"] == 77
    assert said(call(VLLM, "/v1/models", args=["--max-model-len=78"]))["data"][0]["max_model_len"] == 78
    cpp = {"llamacpp": {**LLAMACPP["llamacpp"], "ctxSize": 100, "nParallel": 4}}
    assert said(call(cpp, "/props"))["default_generation_settings"]["n_ctx"] == 25
    env = {"MAX_TOTAL_TOKENS": "20", "MAX_INPUT_LENGTH": "10"}
    info = said(call(TGI, "/info", env=env))
    assert (info["max_total_tokens"], info["max_input_tokens"]) == (20, 10)


def test_sglang_says_its_errors_in_the_stream() -> None:
    """When it streams, SGLang has answered 200 before it looks, and nests the error."""
    reply = call(SGLANG, CHAT, {"model": "no", "messages": user("x"), "stream": True})
    assert reply.status == 200
    error, done = events(reply)
    assert (error["error"]["code"], done) == (404, "[DONE]")


def test_embeddings() -> None:
    """Vectors of length 1, alike for texts that share words, the same every time."""
    body = {"input": ["red cat", "red cats", "red cat"]}
    answered = said(call(VLLM, "/v1/embeddings", body, task="feature-extraction"))
    one, other, same = [line["embedding"] for line in answered["data"]]
    assert one == same != other
    assert math.isclose(sum(x * x for x in one), 1, abs_tol=1e-4)
    assert words.similarity("red cat", "red dog") > words.similarity("red cat", "blue dog")
    assert answered["usage"]["prompt_tokens"] == 6


def test_llamacpp_blames_itself_for_a_long_embedding() -> None:
    """A client's mistake sent as a 500: a trap for clients that retry every 5xx."""
    long = {"input": "word " * 20}
    assert call(LLAMACPP, "/v1/embeddings", long, behaviour=Behaviour(context_length=10)).status == 500
    embeds: dict[str, Any] = {"task": "feature-extraction", "behaviour": Behaviour(context_length=10)}
    assert call(VLLM, "/v1/embeddings", long, **embeds).status == 400


@pytest.mark.parametrize("image", [VLLM, SGLANG])
def test_a_model_that_generates_embeds_nothing(image: dict[str, Any]) -> None:
    """vLLM and SGLang load a model for one of both, and refuse the other."""
    refused = call(image, "/v1/embeddings", {"input": "a"})
    assert (400, True) == (refused.status, b"does not support Embeddings" in refused.body)


SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["a", "b"]}, "score": {"type": "number"}, "of": {"$ref": "#/$defs/list"}},
    "$defs": {"list": {"type": "array", "items": {"type": "string"}}},
}


def test_structured_output() -> None:
    """Each engine's own spelling: json_schema everywhere, TGI's `value` too; the other spelling is not looked at."""
    proper = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    for image in (VLLM, SGLANG, LLAMACPP, TGI):
        text = said(call(image, CHAT, {"messages": user("x"), "response_format": proper}))["choices"][0]["message"]
        made = json.loads(text["content"])
        assert set(made) == {"label", "score", "of"}
        assert made["label"] in ("a", "b")
    older = {"messages": user("x"), "response_format": {"type": "json_object", "value": SCHEMA}}
    assert "label" in said(call(TGI, CHAT, older))["choices"][0]["message"]["content"]
    assert "label" not in said(call(VLLM, CHAT, older))["choices"][0]["message"]["content"]


def test_vllms_load_header() -> None:
    """The load of the replica, only for requests that ask for it."""
    asked = call(VLLM, CHAT, {"messages": user("x")}, headers={"endpoint-load-metrics-format": "TEXT"})
    assert asked.headers["endpoint-load-metrics"].startswith("TEXT named_metrics.kv_cache_usage_perc=")
    assert call(VLLM, CHAT, {"messages": user("x")}).headers == {}


@pytest.mark.parametrize("image", [VLLM, SGLANG, LLAMACPP, TGI, TEI], ids=lambda image: next(iter(image)))
def test_health_and_metrics(image: dict[str, Any]) -> None:
    assert call(image, "/health").status == 200
    assert b"gauge" in call(image, "/metrics").body


BAD = [
    ({}, "no messages"),
    ({"messages": []}, "empty"),
    ({"messages": "x"}, "text"),
    ({"messages": [{"content": "x"}]}, "no role"),
    ({"messages": [{"role": "user", "content": 5}]}, "content"),
    ({"messages": [{"role": "user", "content": "x"}], "max_tokens": "5"}, "max_tokens"),
    ({"messages": [{"role": "user", "content": "x"}], "n": 0}, "n"),
    ({"messages": [{"role": "user", "content": "x"}], "response_format": 3}, "format"),
]


@pytest.mark.parametrize(("body", "_why"), BAD, ids=[why for _, why in BAD])
def test_bad_bodies(body: dict[str, Any], _why: str) -> None:
    """400 in the engine's own words, TGI's 422."""
    assert said(call(VLLM, CHAT, body))["error"]["type"] == "BadRequestError"
    assert said(call(SGLANG, CHAT, body))["object"] == "error"
    assert said(call(LLAMACPP, CHAT, body))["error"]["type"] == "invalid_request_error"
    assert set(said(call(TGI, CHAT, body))) == {"error", "error_type"}
    statuses = [call(image, CHAT, body).status for image in (VLLM, SGLANG, LLAMACPP, TGI)]
    assert statuses == [400, 400, 400, 422]


# ------------------------------------------------------------------------------------------- TGI


@pytest.mark.parametrize("image", [VLLM, SGLANG])
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"temperature": -1}, "temperature must be non-negative, got -1."),
        ({"temperature": "cold"}, "`temperature` must be a number"),
        ({"top_p": 0}, "top_p must be in (0, 1], got 0."),
        ({"top_p": 2}, "top_p must be in (0, 1], got 2."),
    ],
)
def test_values_that_cannot_be_sampled_from(image: dict[str, Any], parameters: dict[str, Any], words: str) -> None:
    """A DAG that passes on the emulator must not fail on the engine at its first row."""
    chat = {"messages": [{"role": "user", "content": "Hello"}]}
    reply = call(image, CHAT, {**chat, **parameters})
    assert 400 == reply.status
    assert words in json.dumps(json.loads(reply.body), ensure_ascii=False)
    assert 200 == call(image, CHAT, {**chat, "temperature": 0, "top_p": 1}).status


def test_tgi_generate() -> None:
    """/generate gives the continuation, / a list with the prompt in it; details say why it ended."""
    body = {"inputs": "a b", "parameters": {"details": True, "max_new_tokens": 2}}
    answered = said(call(TGI, "/generate", body))
    assert answered["generated_text"] == "Echo: a"
    assert (answered["details"]["finish_reason"], answered["details"]["generated_tokens"]) == ("length", 2)
    assert said(call(TGI, "/", {"inputs": "a b"})) == [{"generated_text": "a bEcho: a b"}]
    reasons = [
        said(call(TGI, "/generate", {"inputs": "a b", "parameters": {"details": True, **more}}))["details"][
            "finish_reason"
        ]
        for more in ({}, {"stop": ["b"]}, {"max_new_tokens": 1})
    ]
    assert reasons == ["eos_token", "stop_sequence", "length"]


def test_tgi_stream() -> None:
    """Tokens one by one, the text and the details with the last."""
    *first, last = events(call(TGI, "/generate_stream", {"inputs": "a b"}))
    assert [event["token"]["text"] for event in (*first, last)] == ["Echo:", " a", " b"]
    assert {event["generated_text"] for event in first} == {None}
    assert (last["generated_text"], last["details"]["finish_reason"]) == ("Echo: a b", "eos_token")
    assert call(TGI, "/", {"inputs": "a b", "stream": True}).chunks is not None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": ""},
        {"inputs": ["a"]},
        {"inputs": "a", "parameters": {"max_new_tokens": 0}},
        {"inputs": "a", "parameters": {"temperature": 0}},
        {"inputs": "a", "parameters": {"max_new_tokens": 10**6}},
        {"inputs": "a", "parameters": []},
    ],
    ids=str,
)
def test_tgi_validation(body: dict[str, Any]) -> None:
    """422 with error_type validation."""
    reply = call(TGI, "/generate", body)
    assert (reply.status, said(reply)["error_type"]) == (422, "validation")


def test_tgi_defaults_to_1024_new_tokens() -> None:
    reply = call(TGI, "/generate", {"inputs": "word " * 2000, "parameters": {"details": True}})
    assert said(reply)["details"]["generated_tokens"] == 1024


# ------------------------------------------------------------------------------------------- TEI


def test_tei() -> None:
    """Embeddings, rerank, predict and similarity; / is what the task calls for."""
    assert len(said(call(TEI, "/embed", {"inputs": ["a", "b"]}))) == 2
    assert said(call(TEI, "/", {"inputs": "a"}, task="sentence-embeddings")) == [words.embed("a")]
    ranked = said(call(TEI, "/rerank", {"query": "red cat", "texts": ["blue dog", "red cat"], "return_text": True}))
    assert [(line["index"], line["text"]) for line in ranked] == [(1, "red cat"), (0, "blue dog")]
    assert sum(line["score"] for line in said(call(TEI, "/predict", {"inputs": "x"}))) == pytest.approx(1)
    pair = {"inputs": {"source_sentence": "a b", "sentences": ["a b", "c"]}}
    assert said(call(TEI, "/similarity", pair))[0] == pytest.approx(1, abs=1e-4)
    assert said(call(TEI, "/info"))["max_client_batch_size"] == 32


def test_tei_limits() -> None:
    """413 over 32 items and over 2 MB, with other words on /v1; longer texts are truncated silently."""
    many = ["x"] * 33
    flat = call(TEI, "/embed", {"inputs": many})
    assert (flat.status, said(flat)["error_type"]) == (413, "Validation")
    openai = call(TEI, "/v1/embeddings", {"input": many})
    assert (openai.status, set(said(openai))) == (413, {"message", "code", "type"})
    assert call(TEI, "/embed", {"inputs": "x" * 2_000_001}).status == 413
    assert call(TEI, "/embed", {"inputs": many}, env={"MAX_CLIENT_BATCH_SIZE": "40"}).status == 200
    long = "same " * 512
    assert said(call(TEI, "/embed", {"inputs": long})) == said(call(TEI, "/embed", {"inputs": f"{long} more words"}))
    assert call(TEI, "/embed", {"inputs": []}).status == 422


# ------------------------------------------------------------------------------------------- the toolkit


TASKS: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("text-generation", "a b", {"max_new_tokens": 2}, [{"generated_text": "a b Echo: a"}]),
    ("text-generation", ["a"], {"return_full_text": False}, [[{"generated_text": "Echo: a"}]]),
    ("summarization", "a b", {}, [{"summary_text": "a b"}]),
    ("summarization", ["a", "b"], {}, [{"summary_text": "a"}, {"summary_text": "b"}]),
    ("translation", "a", {}, [{"translation_text": "a"}]),
    ("sentence-embeddings", "a", {}, {"embeddings": words.embed("a")}),
    ("feature-extraction", "a b", {}, [[words.embed("a"), words.embed("b")]]),
    ("question-answering", {"question": "red?", "context": "red"}, {},
     {"score": words.score("red?"), "start": 0, "end": 3, "answer": "red"}),
    ("token-classification", "see Rome", {},
     [{"entity_group": "MISC", "score": words.score("Rome"), "word": "Rome", "start": 4, "end": 8}]),
    ("sentence-similarity", {"source_sentence": "a", "sentences": ["a"]}, {},
     {"similarities": [words.similarity("a", "a")]}),
    ("table-question-answering", {"query": "q", "table": {"c": ["v"]}}, {},
     {"answer": "v", "coordinates": [[0, 0]], "cells": ["v"], "aggregator": "NONE"}),
]  # fmt: skip


@pytest.mark.parametrize(("task", "inputs", "parameters", "expected"), TASKS, ids=lambda value: str(value)[:20])
def test_toolkit(task: str, inputs: Any, parameters: dict[str, Any], expected: Any) -> None:
    """Each pipeline's own shape."""
    assert said(call(TOOLKIT, "/", {"inputs": inputs, "parameters": parameters}, task=task)) == expected


def test_toolkit_classification() -> None:
    """Labels with scores; zero-shot ranks the candidates, best first."""
    one = said(call(TOOLKIT, "/", {"inputs": "x"}, task="text-classification"))
    assert set(one[0]) == {"label", "score"}
    both = said(call(TOOLKIT, "/", {"inputs": "x", "parameters": {"top_k": None}}, task="text-classification"))
    assert len(both) == 2
    body = {"inputs": "refund me", "parameters": {"candidate_labels": ["a", "b", "c"]}}
    zero = said(call(TOOLKIT, "/", body, task="zero-shot-classification"))
    assert sorted(zero["labels"]) == ["a", "b", "c"]
    assert zero["scores"] == sorted(zero["scores"], reverse=True)
    assert sum(zero["scores"]) == pytest.approx(1, abs=1e-4)


def test_toolkit_pictures_and_sounds() -> None:
    """Bytes in, labels out; text in, a picture out."""
    heard = call(TOOLKIT, "/", raw=b"RIFF", task="automatic-speech-recognition", headers={"content-type": "audio/wav"})
    assert "text" in said(heard)
    seen = call(TOOLKIT, "/", raw=b"\xff\xd8", task="image-classification", headers={"content-type": "image/jpeg"})
    assert {"label", "score"} == set(said(seen)[0])
    drawn = call(TOOLKIT, "/", {"inputs": "a cat"}, task="text-to-image")
    assert (drawn.content_type, drawn.body[:4]) == ("image/png", b"\x89PNG")


@pytest.mark.parametrize(
    ("task", "body"),
    [
        ("text-generation", {}),
        ("text-generation", {"inputs": 3}),
        ("text-generation", {"inputs": "a", "parameters": {"max_new_tokens": 0}}),
        ("text-generation", {"inputs": "a", "parameters": {"surprise": 1}}),
        ("zero-shot-classification", {"inputs": "a"}),
        ("question-answering", {"inputs": "a"}),
        ("fill-mask", {"inputs": "no mask"}),
        ("text-classification", []),
    ],
    ids=str,
)
def test_every_exception_of_the_toolkit_is_a_400(task: str, body: Any) -> None:
    """With only a text in it, so a 400 does not prove a bad request."""
    reply = call(TOOLKIT, "/", body, task=task)
    assert (reply.status, list(said(reply))) == (400, ["error"])
    assert isinstance(said(reply)["error"], str)


def test_the_toolkit_does_not_chat_but_for_a_quirk() -> None:
    """The default image has `/`, `/predict` and `/health` (huggingface-inference-toolkit at 833b5a2): chat is a 404."""
    body = {"model": "dummy", "messages": user("x")}
    assert call(TOOLKIT, CHAT, body).status == 404
    assert call(TOOLKIT, "/predict", {"inputs": "x"}).status == 200
    assert call(TOOLKIT, CHAT, body, toolkit_chats=True).status == 200
    assert call(TOOLKIT, CHAT, body, task="summarization", toolkit_chats=True).status == 404


def test_the_toolkits_pipeline_takes_the_messages_of_a_chat() -> None:
    """As `inputs`; the answer stands behind the messages, or alone where they are not to come back."""
    whole = said(call(TOOLKIT, "/", {"inputs": user("a b")}))
    assert [{"generated_text": [*user("a b"), {"role": "assistant", "content": "Echo: a b"}]}] == whole
    alone = said(call(TOOLKIT, "/", {"inputs": user("a b"), "parameters": {"return_full_text": False}}))
    assert [{"generated_text": "Echo: a b"}] == alone
    assert call(TOOLKIT, "/", {"inputs": [{"content": "no role"}]}).status == 400


def test_a_model_without_a_chat_template_does_not_chat() -> None:
    """The pipeline's own words, with the 400 that every exception is."""
    refused = call(TOOLKIT, "/", {"inputs": user("x")}, repository="gpt2")
    assert (400, True) == (refused.status, "tokenizer.chat_template is not set" in said(refused)["error"])
    assert call(TOOLKIT, "/", {"inputs": user("x")}, repository="gpt2", toolkit_chats=True).status == 200


# ------------------------------------------------------------------------------------------- transformers serve


def test_transformers_serve() -> None:
    """hfServe: a wrong model is a 400, an unknown field a 422, a bad body a plain 500; prompts have no limit."""
    image = {"hfServe": {"url": "u"}}
    body = {"model": "org/model", "messages": user("a b")}
    assert said(call(image, CHAT, body))["choices"][0]["message"]["content"] == "Echo: a b"
    wrong = call(image, CHAT, {**body, "model": "dummy"})
    assert (wrong.status, list(said(wrong))) == (400, ["detail"])
    assert call(image, CHAT, {**body, "top_k": 1}).status == 422
    for bad in (call(image, CHAT, raw=b"{"), call(image, CHAT, {"model": "org/model", "messages": 1})):
        assert (bad.status, bad.body, bad.content_type[:10]) == (500, b"Internal Server Error", "text/plain")
    long = {"messages": user("word " * 20)}
    assert call(image, CHAT, long, behaviour=Behaviour(context_length=10)).status == 200


# ------------------------------------------------------------------------------------------- custom images


@pytest.mark.parametrize(
    ("url", "path", "status"),
    [
        ("ghcr.io/huggingface/text-generation-inference:1.1.0", "/generate", 200),
        ("ghcr.io/huggingface/text-generation-inference:1.1.0", "/embed", 404),
        ("ghcr.io/huggingface/text-embeddings-inference:1.8", "/embed", 200),
        ("vllm/vllm-openai:v0.23.0", "/generate", 404),
        ("registry.example/mine:1", "/generate", 200),
        ("registry.example/mine:1", "/embed", 200),
    ],
)
def test_a_custom_image_speaks_as_it_is_called(url: str, path: str, status: int) -> None:
    """A custom container is taken for the engine that its image is named after; an unknown one speaks everything."""
    assert call({"custom": {"url": url}}, path, {"inputs": "a"}).status == status


def test_wrong_paths_and_methods() -> None:
    for image in (VLLM, SGLANG, LLAMACPP, TGI, TEI, TOOLKIT):
        assert call(image, "/nowhere", {}).status in (404, 400)
        assert call(image, "/nowhere").status in (404, 400)
    assert call(VLLM, CHAT).status == 405


# ------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("arguments", "text", "finish"),
    [
        ({"max_tokens": 99}, "Echo: a b", "stop"),
        ({"max_tokens": 3}, "Echo: a b", "stop"),
        ({"max_tokens": 2}, "Echo: a", "length"),
        ({"max_tokens": 99, "stop": [" b"]}, "Echo: a", "stop_sequence"),
        ({"max_tokens": 99, "min_tokens": 5}, "Echo: a b Echo: a", "stop"),
        ({"max_tokens": 7, "ignore_eos": True}, "Echo: a b Echo: a b Echo:", "length"),
    ],
    ids=str,
)
def test_words(arguments: dict[str, Any], text: str, finish: str) -> None:
    """How many tokens come out, and why it ended."""
    made = words.complete("a b", **arguments)
    assert (made.text, made.finish) == (text, finish)
    assert "".join(made.tokens) == text


@pytest.mark.parametrize(
    ("part", "words_of_refusal"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, None),
        ({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}, None),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, None),
        ({"type": "image_url", "image_url": {"url": "scans/1.png"}}, "must be either a HTTP, data or file URL"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}, "Invalid base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "is empty"),
        ({"type": "input_audio", "input_audio": {}}, "has no data"),
    ],
)
def test_media_in_a_chat_are_looked_at(part: dict[str, Any], words_of_refusal: str | None) -> None:
    """As an engine that has to decode them."""
    content = [{"type": "text", "text": "What is it?"}, part]
    reply = call(VLLM, CHAT, {"messages": [{"role": "user", "content": content}]})
    assert (200 if words_of_refusal is None else 400) == reply.status
    assert words_of_refusal is None or words_of_refusal in reply.body.decode()


@pytest.mark.parametrize(
    ("task", "kind", "content", "status"),
    [
        ("image-classification", "image/png", b"x", 200),
        ("automatic-speech-recognition", "audio/wav", b"x", 200),
        ("image-classification", "application/octet-stream", b"x", 400),
        ("image-classification", "audio/wav", b"x", 400),
        ("automatic-speech-recognition", "audio/wav", b"", 400),
    ],
)
def test_the_toolkit_takes_raw_bodies_of_its_types(task: str, kind: str, content: bytes, status: int) -> None:
    """By their content type, which has to be one of its list and of the task."""
    assert status == call(TOOLKIT, "/", task=task, headers={"content-type": kind}, raw=content).status


def test_sounds_are_transcribed() -> None:
    """A form with a file; without one it is refused."""
    kind = {"content-type": "multipart/form-data; boundary=b"}
    form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nsound\r\n--b--\r\n'
    route = "/v1/audio/transcriptions"
    assert json.loads(call(VLLM, route, headers=kind, raw=form).body)["text"].endswith(" 5")
    assert [422, 400] == [call(VLLM, route, headers=kind, raw=raw).status for raw in (b"\r\n--b--\r\n", form[:-4])]
    assert 400 == call(VLLM, route, {"file": "a"}).status
    assert 404 == call(LLAMACPP, route, headers=kind, raw=form).status
