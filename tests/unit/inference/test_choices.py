"""A row that asks for several answers is done with that many, no fewer and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines.asking.asked import asked_of
from airflow_provider_hf_endpoints.inference.errors import FewerChoicesError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.choices import require_choices
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def check(route: str, request: dict[str, Any], choices: int) -> None:
    output = "text" if choices == 1 else ["text"] * choices
    body = json.dumps(request, separators=(",", ":")).encode()
    asked = asked_of(request, request.get("prompt"), cuts=False)
    require_choices(InferenceResult(output), RowRequest(route, body, "text-generation", asked))


@pytest.mark.parametrize(
    ("route", "request_body", "wanted"),
    [
        (CHAT, {"messages": []}, 1),
        (CHAT, {"messages": [], "n": None}, 1),
        (CHAT, {"messages": [], "n": 3}, 3),
        (CHAT, {"messages": [{"content": 'say "n":2'}]}, 1),
        (CHAT, {"messages": [], "response_format": {"schema": {"properties": {"n": {}}}}}, 1),
        (COMPLETIONS, {"prompt": "a", "n": 2}, 2),
        (COMPLETIONS, {"prompt": ["a", "b", "c"]}, 3),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 2}, 4),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 1),
        (COMPLETIONS, {"prompt": [[1, 2], [3]]}, 2),
    ],
)
def test_as_many_as_were_asked_for(route: str, request_body: dict[str, Any], wanted: int) -> None:
    """By `n`, and by the prompts in one request."""
    for choices in range(1, 6):
        if choices == wanted:
            check(route, request_body, choices)
        else:
            with pytest.raises(MalformedAnswerError, match=f"{choices} choices, .* asks for {wanted}"):
                check(route, request_body, choices)


def test_a_number_that_is_none_is_not_counted() -> None:
    """The engine refuses it, or takes it for what it likes."""
    for number in ("3", 2.0, 0, -1, True):
        check(CHAT, {"messages": [], "n": number}, 1)
        check(CHAT, {"messages": [], "n": number}, 3)


def test_fewer_than_were_asked_for_are_fewer_every_time() -> None:
    """An engine that ignores `n` is not paid for five tries; more than asked for are a mistake of the moment."""
    with pytest.raises(FewerChoicesError, match="ignore `n`") as caught:
        check(CHAT, {"messages": [], "n": 3}, 1)
    assert (False, "malformed_answer") == (caught.value.retryable, caught.value.kind)
    with pytest.raises(MalformedAnswerError) as more:
        check(CHAT, {"messages": []}, 2)
    assert more.value.retryable


def test_a_pipeline_that_is_asked_for_several_texts_gives_them() -> None:
    """On the toolkit's own route as well."""
    request = RowRequest("/", b"{}", "text-generation", asked_of({"num_return_sequences": 3}, "hi", cuts=True))
    with pytest.raises(FewerChoicesError):
        require_choices(InferenceResult("one"), request)
    require_choices(InferenceResult(["one"] * 3), request)


def test_other_routes_answer_as_they_like() -> None:
    """A list is the answer to one row there."""
    check("/v1/embeddings", {"input": "a"}, 3)
    check("/predict", {"inputs": "a", "n": 7}, 2)
