"""Every shape of error body, and which typed error it is."""

from __future__ import annotations

import json
import pickle
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.engines import error_from
from airflow_provider_hf_endpoints.inference.wire import WireResponse

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failed(status: int, body: Any, **headers: str) -> errors.InferenceError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from(WireResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw), "/route", NOW)


CASES = [
    # The proxy
    (401, {"error": "Unauthorized"}, errors.AuthenticationError, "Unauthorized"),
    (403, {"error": "missing permissions: inference.endpoints.infer.write"}, errors.PermissionDeniedError, "missing"),
    (
        400,
        {
            "error": "Bad Request: The endpoint is paused, ask a maintainer to restart it",
            "code": "BAD_REQUEST",
        },
        errors.EndpointPausedError,
        "ask a maintainer",
    ),
    (400, {"error": "Bad Request: Invalid state", "code": "BAD_REQUEST"}, errors.EndpointPausedError, "Invalid state"),
    (400, {"error": "Bad Request: Invalid state"}, errors.EndpointPausedError, "Invalid state"),
    (
        400,
        {
            "error": "Bad Request: Your endpoint is in error, check its status on endpoints.huggingface.co",
            "code": "BAD_REQUEST",
        },
        errors.EndpointFailedError,
        "in error",
    ),
    # One report has a 400 at zero, without its words: what the proxy alone writes is never a row's fault.
    (400, {"error": "Bad Request: asleep", "code": "BAD_REQUEST"}, errors.StartingError, "asleep"),
    # What engines write that looks alike is the row's.
    (400, {"error": "invalid state of the conversation"}, errors.BadRequestError, "invalid state"),
    (400, {"error": {"message": "Bad Request: x", "code": "BAD_REQUEST"}}, errors.BadRequestError, "x"),
    (400, {"error": "Bad Request: x", "error_type": "validation"}, errors.BadRequestError, "x"),
    (400, {"object": "error", "message": "Bad Request: x", "code": "BAD_REQUEST"}, errors.BadRequestError, "x"),
    (503, {"error": "503 Service Unavailable", "code": "SERVICE_UNAVAILABLE"}, errors.StartingError, "Unavailable"),
    (502, b"<html><body>Bad  Gateway</body></html>", errors.StartingError, "Bad Gateway"),
    (504, b"", errors.StartingError, ""),
    # What is not about the request, though its class says so
    (402, {"error": "Payment Required"}, errors.PaymentRequiredError, "Payment"),
    *((status, b"", errors.RefusedOnTheWayError, "") for status in (406, 407, 411, 414, 415, 417, 426, 428, 431, 511)),
    # What a gateway says of the server behind it
    *((status, b"error code: 52x", errors.StartingError, "") for status in (521, 522, 523, 530)),
    *((status, b"", errors.InferenceTimeoutError, "") for status in (524, 598)),
    *((status, b"", errors.RefusedOnTheWayError, "") for status in (525, 526)),
    *((status, b"", errors.ServerError, "") for status in (409, 421, 423, 444, 449, 460)),
    *((status, b"", errors.AuthenticationError, "") for status in (440, 498)),
    (420, b"", errors.OverloadedError, ""),
    (404, b"Not Found", errors.NotFoundError, "Not Found"),
    (410, b"", errors.NotFoundError, ""),
    # vLLM: nested, and a bare string for a bad key
    (
        404,
        {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}},
        errors.ModelNotFoundError,
        "does not exist",
    ),
    (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        },
        errors.PromptTooLongError,
        "4096",
    ),
    (400, {"error": {"message": "bad temperature", "type": "BadRequestError"}}, errors.BadRequestError, "temperature"),
    (500, {"error": {"message": "EngineCore died"}}, errors.ServerError, "EngineCore"),
    # SGLang: flat
    (
        400,
        {"object": "error", "message": "The input (9 tokens) is longer than the model's context length", "code": 400},
        errors.PromptTooLongError,
        "9 tokens",
    ),
    # llama.cpp: code is a number
    (
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        errors.StartingError,
        "Loading model",
    ),
    (
        400,
        {"error": {"code": 400, "message": "request (9) exceeds", "type": "exceed_context_size_error"}},
        errors.PromptTooLongError,
        "exceed_context_size_error",
    ),
    (
        500,
        {"error": {"code": 500, "message": "input is too large to process. increase the physical batch size"}},
        errors.PromptTooLongError,
        "too large",
    ),
    # TGI: error and error_type
    (429, {"error": "Model is overloaded", "error_type": "overloaded"}, errors.OverloadedError, "overloaded"),
    (424, {"error": "Request failed during generation", "error_type": "generation"}, errors.ServerError, "generation"),
    (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048.",
            "error_type": "validation",
        },
        errors.PromptTooLongError,
        "2048",
    ),
    (
        422,
        {"error": "`temperature` must be strictly positive", "error_type": "validation"},
        errors.BadRequestError,
        "t",
    ),
    # TEI
    (413, {"error": "batch size 33 > maximum allowed batch size 32"}, errors.PayloadTooLargeError, "batch size"),
    (
        413,
        {"error": "Input validation error: `inputs` must have less than 512 tokens. Given: 600"},
        errors.PromptTooLongError,
        "512",
    ),
    (429, {"message": "Model is overloaded", "code": 429, "type": "overloaded"}, errors.OverloadedError, "overloaded"),
    # the toolkit: everything is a 400
    (400, {"error": "'inputs' must be given"}, errors.BadRequestError, "inputs"),
    (400, {"error": "CUDA out of memory. Tried to allocate 2 GiB"}, errors.ServerError, "CUDA"),
    (400, {"error": ["Error in `inputs`: field required"]}, errors.BadRequestError, "field required"),
    # transformers serve: FastAPI's detail, and text
    (400, {"detail": "model not loadable"}, errors.BadRequestError, "loadable"),
    (
        422,
        {"detail": [{"loc": ["body", "foo"], "msg": "Extra inputs are not permitted"}]},
        errors.BadRequestError,
        "body.foo: Extra",
    ),
    (500, b"Internal Server Error", errors.ServerError, "Internal"),
    (408, b"", errors.InferenceTimeoutError, ""),
    (405, {"detail": "Method Not Allowed"}, errors.UnsupportedTaskError, "Method"),
    (
        400,  # a pipeline of transformers
        {"error": "Cannot use chat template functions because tokenizer.chat_template is not set and no template …"},
        errors.UnsupportedTaskError,
        "chat_template",
    ),
    (
        400,  # vLLM
        {"message": "As of transformers v4.44, default chat template is no longer allowed, so you must provide a …"},
        errors.UnsupportedTaskError,
        "chat template",
    ),
    (422, {"error": "Template error: template not found"}, errors.UnsupportedTaskError, "template"),  # TGI
    (302, b"", errors.MalformedAnswerError, ""),
    (418, {"unknown": {"shape": 1}}, errors.BadRequestError, "shape"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), CASES)
def test_a_failed_answer_is_one_typed_error(
    status: int, body: Any, kind: type[errors.InferenceError], words: str
) -> None:
    """Status and body together decide; the engine's own words are kept."""
    error = failed(status, body)
    assert kind is type(error)
    assert words in error.words
    assert (status, "/route") == (error.status, error.path)


@pytest.mark.parametrize(
    ("error", "retryable", "fault"),
    [
        (errors.AuthenticationError, False, "token"),
        (errors.PermissionDeniedError, False, "token"),
        (errors.EndpointPausedError, False, "endpoint"),
        (errors.EndpointFailedError, False, "endpoint"),
        (errors.NotFoundError, False, "endpoint"),
        (errors.BadRequestError, False, "caller"),
        (errors.PromptTooLongError, False, "caller"),
        (errors.OverloadedError, True, "endpoint"),
        (errors.StartingError, True, "endpoint"),
        (errors.ServerError, True, "endpoint"),
        (errors.InferenceTimeoutError, True, "network"),
        (errors.ConnectionFailedError, True, "network"),
        (errors.CutAnswerError, True, "endpoint"),
        (errors.AnswerTooLargeError, False, "endpoint"),
        (errors.CertificateError, False, "network"),
        (errors.RedirectedError, False, "endpoint"),
    ],
)
def test_an_error_says_whose_fault_it_is_and_what_to_do(
    error: type[errors.InferenceError], retryable: bool, fault: str
) -> None:
    """Whether trying again helps, whose fault it is, and a sentence on what to do next."""
    assert (retryable, fault) == (error.retryable, error.fault)
    assert error.todo
    assert error.todo in str(error("words"))


def test_a_redirect_says_where_to() -> None:
    """Without its query, which may be a secret; nothing is followed, since the token goes to no other address."""
    found = error_from(WireResponse(307, {"location": "https://h.example/v1/x?sig=secret"}, b"moved"), "/v1/x")
    assert isinstance(found, errors.RedirectedError)
    assert "to https://h.example/v1/x." in str(found)
    assert "secret" not in str(found)
    assert isinstance(error_from(WireResponse(304, {}, b""), "/x"), errors.MalformedAnswerError)


def test_retry_after_is_read_in_both_forms() -> None:
    """Seconds, or a date."""
    assert failed(429, {}, retry_after="7").retry_after == 7
    assert failed(503, {}, retry_after="Thu, 01 Jan 2026 00:00:09 GMT").retry_after == 9
    assert failed(503, {}).retry_after is None


def test_a_rate_limit_is_read_as_the_hub_writes_it() -> None:
    """`RateLimit` in place of Retry-After, as the Hub's 429 has it."""
    assert failed(429, {}, ratelimit='"api";r=0;t=11').retry_after == 11


def test_no_error_carries_a_token() -> None:
    """Tokens in a server's words are taken out, be they Hugging Face's or the caller's own."""
    error = failed(401, {"error": "Bearer hf_abcdefgh is not valid, neither is s3cret"}).without("s3cret")
    assert "hf_abcdefgh" not in str(error) + repr(error)
    assert "s3cret" not in str(error)


def test_an_error_survives_pickling() -> None:
    """A task's error crosses processes with everything it says."""
    error = failed(429, {"error": "busy"}, retry_after="3")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(error), 429, 3.0, type(error)) == (str(copy), copy.status, copy.retry_after, type(copy))


def test_kinds_are_short_names() -> None:
    """The output's error column names the kind."""
    assert errors.PromptTooLongError().kind == "prompt_too_long"
    assert errors.InferenceTimeoutError().kind == "inference_timeout"


@pytest.mark.parametrize(
    "body",
    [b"<" * 300_000, b"<x" * 150_000, b"<!--" * 75_000, b'"' + b"x" * 3_000_000 + b'"', b"model" * 600_000],
    ids=["angles", "tags without end", "comments", "one text", "one word"],
)
def test_a_long_page_is_read_in_a_moment(body: bytes) -> None:
    """A body of some megabytes, hostile to every search in it, would hold up all requests of a batch."""
    began = time.process_time()
    error = failed(503, body)
    assert 2.0 > time.process_time() - began
    assert (errors.StartingError, True) == (type(error), len(error.words) <= 2000)


def test_the_end_of_a_long_error_is_read_too() -> None:
    """Some engines repeat the prompt before they say that it is too long."""
    said = failed(400, {"error": f"{'word ' * 100_000} is above the maximum context length of 4096 tokens"})
    assert errors.PromptTooLongError is type(said)


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": 5, "msg": "no"}]},
        {"detail": [{"loc": None, "msg": "no"}]},
        {"detail": [{"loc": {"a": 1}, "msg": {"b": [2]}}]},
        {"detail": [None, 5, ["x"]]},
        {"error": [[["x"]], None]},
        *(b'{"error":' * depth + b'"no"' + b"}" * depth for depth in (100, 400, 600, 900)),
        *(b'{"error":[' + b"[" * depth + b"]" * depth + b"]}" for depth in (400, 600, 900, 980)),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(503, errors.StartingError), (400, errors.BadRequestError)])
def test_no_shape_of_a_body_hides_the_status(status: int, kind: type[errors.InferenceError], body: Any) -> None:
    """Whatever stands where a text or a list is expected, and however deep: the status says whose fault it is."""
    error = failed(status, body)
    assert (kind, status) == (type(error), error.status)
