"""The one-call clients against a real server: discovery, dialects, retries, errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference import AsyncInferenceClient, InferenceClient, errors
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from tests.contract.inference_server import Reply, Request, chat_reply, echo, serving

Call = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of either client: `call(url, "run", "chat", "hi", engine="vLLM")`."""

    def sync(url: str, method: str, *args: Any, params: dict[str, Any] | None = None, **options: Any) -> Any:
        with InferenceClient(url, "hf_secret_token", **options) as client:
            return getattr(client, method)(*args, **(params or {}))

    def through_loop(url: str, method: str, *args: Any, params: dict[str, Any] | None = None, **options: Any) -> Any:
        async def main() -> Any:
            async with AsyncInferenceClient(url, "hf_secret_token", **options) as client:
                return await getattr(client, method)(*args, **(params or {}))

        return asyncio.run(main())

    return sync if request.param == "sync" else through_loop


def test_a_chat_on_an_engine_that_is_not_known(call: Call) -> None:
    """Engine and model are found out, the token is sent, the object reads as the hub's does."""
    with serving(echo) as server:
        answer = call(server.url, "chat_completion", [{"role": "user", "content": "abc"}], params={"max_tokens": 3})
    assert (
        answer.choices[0].message.content,
        answer.choices[0].finish_reason,
        answer.usage.total_tokens,
    ) == ("cba", "stop", 5)
    (post,) = server.posts
    assert (post.path, post.body["model"], post.body["max_tokens"]) == ("/v1/chat/completions", "org/model", 3)
    assert {"Bearer hf_secret_token"} == {request.headers["authorization"] for request in server.requests}


def test_the_model_is_asked_for_once(call: Call) -> None:
    """A second call asks nothing more."""
    with serving(echo) as server:
        with InferenceClient(server.url, engine="vLLM") as client:
            client.run("chat", "a")
            client.run("chat", "b")
        assert [r.path for r in server.requests] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]


def tgi(request: Request) -> Reply:
    match request.path:
        case "/info":
            return Reply(json={"model_id": "m", "max_input_tokens": 10})
        case "/generate":
            details = {"finish_reason": "eos_token", "generated_tokens": 1}
            return Reply(json={"generated_text": request.body["inputs"].upper(), "details": details})
        case _:
            return Reply(404)


def tei(request: Request) -> Reply:
    match request.path:
        case "/info":
            return Reply(json={"model_id": "m", "model_type": {"embedding": {"pooling": "cls"}}})
        case "/embed":
            inputs = request.body["inputs"]
            return Reply(json=[[1.0, 2.0] for _ in ([inputs] if isinstance(inputs, str) else inputs)])
        case _:
            return Reply(404)


def toolkit(request: Request) -> Reply:
    if request.path == "/" and request.method == "POST":
        return Reply(json=[{"generated_text": request.body["inputs"].upper()}])
    return Reply(404, {"error": "Not Found"})


@pytest.mark.parametrize(("engine", "answer"), [(None, tgi), ("tgi", tgi), (None, toolkit), ("huggingface", toolkit)])
def test_text_generation_in_the_engines_dialect(
    call: Call, engine: str | None, answer: Callable[[Request], Reply]
) -> None:
    """TGI and the toolkit are distinguished by their answers, or by name."""
    with serving(answer) as server:
        assert call(server.url, "text_generation", "abc", engine=engine, params={"max_tokens": 2}) == "ABC"


def test_a_chat_with_the_toolkit_is_shaped_as_any_other(call: Call) -> None:
    """Its pipeline takes messages and gives a text, and no more than that is known of the chat."""

    def chats(request: Request) -> Reply:
        if request.path == "/" and request.method == "POST":
            return Reply(json=[{"generated_text": request.body["inputs"][-1]["content"].upper()}])
        return Reply(404, {"error": "Not Found"})

    with serving(chats) as server:
        answer = call(server.url, "chat_completion", [{"role": "user", "content": "abc"}], engine="huggingface")
    assert ("ABC", None, None) == (answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage)


def test_embeddings_of_one_text_and_of_several(call: Call) -> None:
    """A vector for each, always a list of vectors."""
    with serving(tei) as server:
        assert call(server.url, "feature_extraction", "a") == [[1.0, 2.0]]
        assert call(server.url, "feature_extraction", ["a", "b"]) == [[1.0, 2.0]] * 2


def test_any_route_can_be_called(call: Call) -> None:
    """JSON comes parsed, nothing as None; the payload is sent as JSON."""
    with serving(lambda r: Reply(json=r.body) if r.path == "/json" else Reply(raw=b"")) as server:
        assert call(server.url, "call", "/json", {"x": 1}) == {"x": 1}
        assert call(server.url, "call", "none") is None


def test_a_cold_endpoint_is_tried_again(call: Call) -> None:
    """503 twice, then an answer: the caller sees the answer."""

    def answer(request: Request) -> Reply:
        return echo(request) if request.number >= 2 else Reply(503, {"error": "503 Service Unavailable"})

    with serving(answer) as server:
        assert call(server.url, "run", "chat", "ab", engine="tgi").output == "ba"
        assert len(server.requests) == 3


def test_retry_after_is_not_undercut(call: Call) -> None:
    """A server that asks for a second gets it."""

    def answer(request: Request) -> Reply:
        return echo(request) if request.number else Reply(429, {"error": "busy"}, headers={"Retry-After": "1"})

    with serving(answer) as server:
        call(server.url, "run", "chat", "ab", engine="tgi")
        assert server.times[1] - server.times[0] >= 1.0


def test_waiting_ends_with_the_attempts(call: Call) -> None:
    """An endpoint that stays away is an error with what to do."""
    with serving(lambda r: Reply(503, {"error": "503 Service Unavailable"})) as server:
        with pytest.raises(errors.StartingError, match="raise scale_up_timeout"):
            call(server.url, "run", "chat", "ab", engine="tgi", max_attempts=2)
        assert len(server.requests) == 2


def test_scale_up_timeout_is_sent_to_the_proxy(call: Call) -> None:
    """The header is there when asked for, and not otherwise."""
    with serving(echo) as server:
        call(server.url, "run", "chat", "ab", engine="tgi", scale_up_timeout=600)
        call(server.url, "run", "chat", "ab", engine="tgi")
    assert [request.headers.get("x-scale-up-timeout") for request in server.requests] == ["600", None]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(401, {"error": "Unauthorized"}), errors.AuthenticationError),
        (Reply(403, {"error": "missing permissions: inference.endpoints.infer.write"}), errors.PermissionDeniedError),
        (Reply(400, {"error": "Bad Request: The endpoint is paused, ask …"}), errors.EndpointPausedError),
        (Reply(404, {"error": "not found"}), errors.NotFoundError),
        (Reply(400, {"error": {"message": "no"}}), errors.BadRequestError),
        (Reply(500, {"error": {"message": "no"}}), errors.ServerError),
        (Reply(200, raw=b""), errors.CutAnswerError),
        (Reply(200, raw=b'{"choices": ['), errors.CutAnswerError),
        (Reply(200, raw=b"hello"), errors.MalformedAnswerError),
        (Reply(200, {}), errors.MalformedAnswerError),
        (Reply(200, {"choices": []}, cut=80), errors.CutAnswerError),
    ],
)
def test_what_is_wrong_for_good_is_said_at_once(call: Call, reply: Reply, error: type[InferenceError]) -> None:
    """A typed error after one request, never with the token in it."""
    with serving(lambda r: reply) as server:
        with pytest.raises(error) as caught:
            call(server.url, "run", "chat", "ab", engine="tgi")
        assert len(server.requests) == 1
    assert "hf_secret_token" not in str(caught.value)


def test_no_answer_in_time_is_a_timeout_and_not_sent_twice(call: Call) -> None:
    """A second request would make the engine work twice."""
    with serving(lambda r: Reply(hang=True)) as server:
        with pytest.raises(errors.InferenceTimeoutError):
            call(server.url, "run", "chat", "ab", engine="tgi", timeout=0.2)
        assert len(server.requests) == 1


def test_nobody_there_is_a_failed_connection(call: Call) -> None:
    """A refused connection is tried again, and then said."""
    with serving() as server:
        url = server.url
    with pytest.raises(errors.ConnectionFailedError):
        call(url, "run", "chat", "ab", engine="tgi", max_attempts=2)


def test_a_token_stays_out_of_the_representation() -> None:
    """Neither repr nor an error shows it; an endpoint without URL says what to do."""
    assert "secret" not in repr(InferenceClient("http://x", "hf_secret"))
    with pytest.raises(ValueError, match="not deployed yet"):
        InferenceClient("", "hf_secret")


def test_both_clients_have_the_same_methods() -> None:
    """What one can, the other can, with the same arguments."""
    for name in ("run", "chat_completion", "text_generation", "feature_extraction", "call", "close"):
        one, other = getattr(InferenceClient, name), getattr(AsyncInferenceClient, name)
        assert inspect.signature(one).parameters.keys() == inspect.signature(other).parameters.keys()


def test_a_truncated_chat_says_so(call: Call) -> None:
    """`run` reports truncation."""
    with serving(lambda r: chat_reply("x", reason="length")) as server:
        assert call(server.url, "run", "chat", "ab", engine="tgi").truncated


@pytest.mark.parametrize(
    ("task", "inputs", "params", "answer"),
    [
        ("embedding", "a", None, {"data": [{"index": 0, "embedding": [0.5, None]}]}),
        ("embedding", "a", None, {"data": [{"index": 0, "embedding": [0.5, True]}]}),
        ("embedding", ["a", "b"], None, {"data": [{"index": 0, "embedding": [0.5]}]}),
        ("rerank", {"query": "q", "texts": ["a", "b"]}, None, {"results": [{"index": 0, "relevance_score": 1.0}]}),
        ("chat", "a", {"n": 2}, chat_reply("x").json),
    ],
)
def test_one_call_takes_no_answer_that_a_batch_would_refuse(
    call: Call, task: str, inputs: Any, params: dict[str, Any] | None, answer: Any
) -> None:
    """A number that is null or a truth, a vector or a text too few."""
    with serving(lambda _: Reply(json=answer)) as server, pytest.raises(InferenceError):
        call(server.url, "run", task, inputs, params, engine="vLLM", model="m")
