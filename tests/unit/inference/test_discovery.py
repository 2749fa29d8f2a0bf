"""How an endpoint's dialect is found: an engine is taken for what it says or serves, and never for what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines import Dialect, discovery
from airflow_provider_hf_endpoints.inference.errors import ServerError, StartingError
from airflow_provider_hf_endpoints.inference.wire import WireResponse

CHAT = "/v1/chat/completions"
MODELS = {"object": "list", "data": [{"id": "org/model", "owned_by": "org"}]}
VLLM = {"object": "list", "data": [{"id": "org/model", "owned_by": "vllm"}]}
SERVE = {"openapi": "3.1.0", "paths": {CHAT: {}, "/load_model": {}, "/v1/models": {}}}

#: A page, a list of another kind, a redirect in place of the models.
NO_MODELS: list[Any] = ["<html>", [{"id": "m"}], {"models": []}, None, 302]

Answers = dict[str, list[Any]]


def asked(answers: Answers, engine: str | None = None, model: str | None = None) -> tuple[Any, list[str]]:
    """What is found at an engine that answers so, and what was asked. A number is a status; what is missing is 404."""
    questions, steps = [], discovery.discover(engine, model)
    try:
        request = next(steps)
        while True:
            question = request.route if request.method == "GET" else f"{request.method} {request.route}"
            questions.append(question)
            left = answers.get(question, [404])
            answer = left.pop(0) if len(left) > 1 else left[0]
            status = answer if isinstance(answer, int) else 200
            body = b"Internal Server Error" if isinstance(answer, int) else json.dumps(answer).encode()
            request = steps.send(WireResponse(status, {}, body))
    except StopIteration as end:
        return end.value, questions


@pytest.mark.parametrize(
    ("answers", "dialect", "model", "engine"),
    [
        ({"/info": [{"model_id": "m", "max_input_tokens": 1}]}, Dialect.TGI, None, None),
        ({"/info": [500, {"model_id": "m", "max_input_tokens": 1}]}, Dialect.TGI, None, None),
        ({"/info": [{"model_id": "m", "model_type": {}}]}, Dialect.TEI, None, None),
        ({"/v1/models": [VLLM]}, Dialect.OPENAI, "org/model", "vllm"),
        ({"/v1/models": [500, VLLM]}, Dialect.OPENAI, "org/model", "vllm"),
        ({"/v1/models": [MODELS]}, Dialect.OPENAI, "org/model", None),
        ({"/v1/models": [{"data": []}]}, Dialect.OPENAI, None, None),
        # A proxy of somebody's own that answers 500 to what it does not know.
        ({"/info": [500], "/v1/models": [MODELS]}, Dialect.OPENAI, "org/model", None),
        ({"/v1/models": [500], CHAT: [405]}, Dialect.OPENAI, None, None),
        ({CHAT: [405]}, Dialect.OPENAI, None, None),
        ({"/v1/embeddings": [405]}, Dialect.OPENAI, None, None),
        ({"/v1/models": [500], f"POST {CHAT}": [422]}, Dialect.OPENAI, None, None),
        *(({"/v1/models": [odd], f"POST {CHAT}": [400]}, Dialect.OPENAI, None, None) for odd in NO_MODELS),
        ({"/v1/models": ["<html>"], "/": ["Ok"]}, Dialect.TOOLKIT, None, None),
        ({route: ["hi"] for route in ("/info", "/v1/models", CHAT, f"POST {CHAT}")}, Dialect.TOOLKIT, None, None),
        ({"/v1/models": [500], CHAT: [405], "/openapi.json": [SERVE]}, Dialect.SERVE, None, None),
        ({"/v1/models": [{"data": []}], "/openapi.json": [SERVE]}, Dialect.SERVE, None, None),
        ({"/": ["Ok"]}, Dialect.TOOLKIT, None, None),
        ({}, Dialect.TOOLKIT, None, None),
        # It takes any POST, and says of any GET that it takes none.
        ({"/info": [405], "/v1/models": [405], CHAT: [405]}, Dialect.TOOLKIT, None, None),
    ],
)
def test_an_engine_is_what_it_says_or_serves(
    answers: Answers, dialect: Dialect, model: str | None, engine: str | None
) -> None:
    """One failure of one route does not make another engine of it, and each finding says what it rests on."""
    found, _ = asked(answers)
    assert (dialect, model, engine) == (found.dialect, found.model, found.engine)
    assert found.why


@pytest.mark.parametrize(
    "answers",
    [
        {"/info": [500], "/v1/models": [500]},
        {"/v1/models": [500]},
        {"/info": [500]},
        {"/v1/models": [500], CHAT: [500], f"POST {CHAT}": [500]},
    ],
)
def test_an_engine_that_fails_on_every_question_is_not_guessed(answers: Answers) -> None:
    """The error names the requests and can be retried; another engine is never assumed."""
    with pytest.raises(ServerError, match=r"/info.*name it with `engine`") as caught:
        asked(answers)
    assert caught.value.retryable


def test_a_vllm_that_does_not_tell_its_model_is_asked_again() -> None:
    """If the engine is known, a failure is a failure: requests without the model's name are not an alternative."""
    with pytest.raises(ServerError, match="could not list its models"):
        asked({"/v1/models": [500]}, engine="vLLM")
    assert asked({"/v1/models": [500, VLLM]}, engine="vLLM")[0].model == "org/model"


def test_an_endpoint_that_is_not_ready_is_no_engine() -> None:
    """The proxy's 503 ends discovery, and the caller waits."""
    with pytest.raises(StartingError):
        asked({"/info": [503]})


def test_hf_serve_is_known_by_its_image() -> None:
    """The image's key tells that it is transformers serve, once OpenAI's routes are found there."""
    several = {"data": [{"id": "org/a"}, {"id": "org/b"}]}
    assert asked({"/v1/models": [500], CHAT: [405]}, engine="hfServe")[0].dialect is Dialect.SERVE
    assert asked({"/v1/models": [MODELS]}, engine="hfServe")[0].model == "org/model"
    # Its list is of all that lies on its disk, and only one of these is served.
    assert asked({"/v1/models": [several]}, engine="hfServe")[0].model is None
    assert asked({"/v1/models": [several]}, engine="hfServe", model="org/b")[0].model == "org/b"


def test_few_questions_are_asked_of_an_engine_that_answers() -> None:
    """Two requests for a vLLM that no argument names, none if everything is known."""
    assert asked({"/v1/models": [VLLM]})[1] == ["/info", "/v1/models"]
    assert asked({}, engine="vLLM", model="m")[1] == []
    assert asked({}, engine="tgi")[1] == []


def test_why_does_not_make_another_target() -> None:
    """What was found in two ways is the same to a batch that resumes."""
    first, second = asked({CHAT: [405]})[0], asked({"/v1/models": [{"data": []}]})[0]
    assert (first, repr(first)) == (second, repr(second))
    assert first.why != second.why
