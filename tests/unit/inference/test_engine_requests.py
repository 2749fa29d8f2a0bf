"""What each engine is asked: route, body and parameter names, for every task it serves."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines import Dialect, build_request, canonical_task, dialect_of
from airflow_provider_hf_endpoints.inference.engines.dialects import names_of
from airflow_provider_hf_endpoints.inference.errors import UnsuitableInputsError, UnsupportedTaskError

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("engine", "dialect"),
    [
        ("vLLM", Dialect.OPENAI),
        ("vLLMNeuron", Dialect.OPENAI),
        ("vLLMOmni", Dialect.OPENAI),
        ("sGLang", Dialect.OPENAI),
        ("llamacpp", Dialect.OPENAI),
        ("tgi", Dialect.TGI),
        ("tgiNeuron", Dialect.TGI),
        ("tei", Dialect.TEI),
        ("huggingface", Dialect.TOOLKIT),
        ("huggingfaceNeuron", Dialect.TOOLKIT),
        ("hfServe", None),
        ("custom", None),
        (None, None),
    ],
)
def test_every_image_key_has_its_dialect(engine: str | None, dialect: Dialect | None) -> None:
    """Each key of `model.image` maps to one dialect; containers that speak their own are discovered."""
    assert dialect == dialect_of(engine)


def test_a_dialect_cannot_take_another_ones_engines_over() -> None:
    """A name, compared in lower case, belongs to one dialect: an image's key, or the dialect's own."""
    with pytest.raises(ValueError, match="'tgi' belongs to two dialects"):
        names_of({Dialect.OPENAI: ["TGI"], Dialect.TGI: []})
    with pytest.raises(ValueError, match="the images that are asked and openai"):
        names_of({Dialect.OPENAI: ["Custom"]}, to_be_asked=["custom"])


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    """A misspelt engine is an error that lists the engines."""
    with pytest.raises(ValueError, match=r"unknown engine 'vlmm'\. Use one of vLLM.*, custom, transformers-serve"):
        dialect_of("vlmm")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("embeddings", "feature-extraction"),
        ("sentence-embeddings", "feature-extraction"),
        ("chat_completion", "chat-completion"),
        ("conversational", "chat-completion"),
        ("text-ranking", "rerank"),
        ("sentence-ranking", "rerank"),
        ("fill-mask", "fill-mask"),
    ],
)
def test_a_task_goes_by_several_names(name: str, task: str) -> None:
    """The names of the hub, of OpenAI and of Python spelling mean one task."""
    assert task == canonical_task(name)


@pytest.mark.parametrize(
    ("dialect", "task", "inputs", "parameters", "route", "body"),
    [
        (
            Dialect.OPENAI,
            "chat-completion",
            "hi",
            {"max_new_tokens": 4, "stop_sequences": ["."]},
            "/v1/chat/completions",
            {"model": "m", "messages": MESSAGES, "max_tokens": 4, "stop": ["."]},
        ),
        (
            Dialect.OPENAI,
            "text-generation",
            "hi",
            {"max_tokens": 4, "do_sample": False, "details": True},
            "/v1/completions",
            {"model": "m", "prompt": "hi", "max_tokens": 4, "temperature": 0},
        ),
        (Dialect.OPENAI, "embeddings", ["a", "b"], {}, "/v1/embeddings", {"model": "m", "input": ["a", "b"]}),
        (
            Dialect.OPENAI,
            "rerank",
            {"query": "q", "texts": ["a"]},
            {},
            "/v1/rerank",
            {"model": "m", "query": "q", "documents": ["a"]},
        ),
        (
            Dialect.TGI,
            "chat-completion",
            MESSAGES,
            {"max_tokens": 4},
            "/v1/chat/completions",
            {"model": "m", "messages": MESSAGES, "max_tokens": 4},
        ),
        (
            Dialect.TGI,
            "text-generation",
            "hi",
            {"max_tokens": 4, "stop_sequences": ".", "temperature": 0},
            "/generate",
            {
                "inputs": "hi",
                "parameters": {"max_new_tokens": 4, "stop": ["."], "do_sample": False, "details": True},
            },
        ),
        (Dialect.TEI, "feature-extraction", "hi", {}, "/embed", {"inputs": "hi", "truncate": False}),
        (Dialect.TEI, "feature-extraction", "hi", {"truncate": True}, "/embed", {"inputs": "hi", "truncate": True}),
        (Dialect.TEI, "text-classification", "hi", {}, "/predict", {"inputs": "hi", "truncate": False}),
        (
            Dialect.TEI,
            "sentence-ranking",
            {"query": "q", "documents": ["a"]},
            {},
            "/rerank",
            {"query": "q", "texts": ["a"], "truncate": False},
        ),
        (
            Dialect.TEI,
            "sentence-similarity",
            {"source_sentence": "q", "sentences": ["a"]},
            {},
            "/similarity",
            {"inputs": {"source_sentence": "q", "sentences": ["a"]}, "parameters": {"truncate": False}},
        ),
        (
            Dialect.TOOLKIT,
            "text-generation",
            "hi",
            {"max_tokens": 4, "stop": ["."]},
            "/",
            {
                "inputs": "hi",
                "parameters": {"max_new_tokens": 4, "return_full_text": False},
            },
        ),
        (
            Dialect.TOOLKIT,
            "chat-completion",
            "hi",
            {"max_tokens": 4},
            "/",
            {"inputs": MESSAGES, "parameters": {"max_new_tokens": 4, "return_full_text": False}},
        ),
        (
            Dialect.TOOLKIT,
            "fill-mask",
            "a [MASK]",
            {"top_k": 2},
            "/",
            {"inputs": "a [MASK]", "parameters": {"top_k": 2}},
        ),
        (
            Dialect.TOOLKIT,
            "zero-shot-classification",
            "text",
            {"candidate_labels": ["a", "b"]},
            "/",
            {"inputs": "text", "parameters": {"candidate_labels": ["a", "b"]}},
        ),
        (
            Dialect.TOOLKIT,
            "question-answering",
            {"question": "q", "context": "c"},
            {},
            "/",
            {"inputs": {"question": "q", "context": "c"}},
        ),
        (Dialect.TOOLKIT, "summarization", "text", {}, "/", {"inputs": "text"}),
        (Dialect.TOOLKIT, "translation", "text", {}, "/", {"inputs": "text"}),
        (Dialect.TOOLKIT, "token-classification", "text", {}, "/", {"inputs": "text"}),
    ],
)
def test_a_task_becomes_the_engines_own_request(
    dialect: Dialect, task: str, inputs: Any, parameters: dict[str, Any], route: str, body: dict[str, Any]
) -> None:
    """Route, body and parameter names are the dialect's, whichever names the caller used."""
    request = build_request(dialect, task, inputs, parameters, "m")
    assert (route, body) == (request.route, request.json)


@pytest.mark.parametrize(
    ("dialect", "task", "words"),
    [
        (Dialect.TEI, "text-generation", "TEI serves feature-extraction"),
        (Dialect.TGI, "feature-extraction", "TGI serves chat-completion"),
        (Dialect.OPENAI, "token-classification", "no route on an OpenAI-compatible engine"),
    ],
)
def test_a_task_without_a_route_is_refused_before_anything_is_sent(dialect: Dialect, task: str, words: str) -> None:
    """The error names what the engine serves instead."""
    with pytest.raises(UnsupportedTaskError, match=words):
        build_request(dialect, task, "hi")


def test_the_new_name_counts_when_both_are_given() -> None:
    """`max_tokens` on an OpenAI route is not overruled by a `max_new_tokens` next to it."""
    request = build_request(Dialect.OPENAI, "text-generation", "hi", {"max_tokens": 1, "max_new_tokens": 2})
    assert request.json["max_tokens"] == 1


def test_a_model_that_is_not_known_is_left_out() -> None:
    """Without a model name no `model` is sent: an engine with one model does without, a wrong name is a 404."""
    assert "model" not in build_request(Dialect.OPENAI, "chat", "hi").json


def test_tgi_gets_the_model_field_it_insists_on() -> None:
    """TGI's chat route requires the field and ignores what is in it."""
    assert build_request(Dialect.TGI, "chat", "hi").json["model"] == "tgi"


@pytest.mark.parametrize("inputs", [5, [], ["text"], None])
def test_a_chat_needs_messages(inputs: Any) -> None:
    """Something that is neither text nor messages is refused, not sent. The error blames the inputs, not the engine."""
    with pytest.raises(UnsuitableInputsError, match=r"The inputs do not have the form.* list of messages"):
        build_request(Dialect.OPENAI, "chat", inputs)


def test_several_texts_for_a_task_that_takes_one() -> None:
    """The error says how several texts are sent."""
    for dialect, task in (
        (Dialect.OPENAI, "chat"),
        (Dialect.TGI, "chat"),
        (Dialect.TOOLKIT, "chat"),
        (Dialect.SERVE, "text-generation"),
    ):
        with pytest.raises(UnsuitableInputsError, match=r"one call for each .*expand\(inputs=\[…\]\).*as a batch"):
            build_request(dialect, task, ["One", "Two"])
