"""What an engine does not see to is seen to when its answer is read: stops, and limits of tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines import (
    Dialect,
    asked_in_body,
    build_request,
    read_result,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage, WireResponse


def answered(
    dialect: Dialect, task: str, parameters: dict[str, Any], answer: Any, inputs: Any = "hi"
) -> InferenceResult:
    request = build_request(dialect, task, inputs, parameters)
    response = WireResponse(200, {}, json.dumps(answer).encode())
    return read_result(dialect, task, response, request.route, asked=request.asked)


def completion(*texts: str, reason: str | None = "stop", tokens: int | None = None) -> dict[str, Any]:
    choices = [{"index": n, "text": text, "finish_reason": reason} for n, text in enumerate(texts)]
    return {"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": tokens}}


def generated(*texts: str) -> list[dict[str, str]]:
    return [{"generated_text": text} for text in texts]


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("end", "a token of it: e n d, then "),
        (["nothing"], "a token of it: e n d, then end and more"),
        (["more", "end"], "a token of it: e n d, then "),
        (["more", "end", "token"], "a "),
        ([], "a token of it: e n d, then end and more"),
        ("", "a token of it: e n d, then end and more"),
        (None, "a token of it: e n d, then end and more"),
    ],
)
@pytest.mark.parametrize("name", ["stop", "stop_sequences"])
def test_the_toolkits_text_ends_at_the_whole_stop(name: str, stop: Any, text: str) -> None:
    """Not at a part of it, nor at one of several only, and none of it goes to the pipeline."""
    parameters = {name: stop, "max_tokens": 64}
    request = build_request(Dialect.TOOLKIT, "text-generation", "hi", parameters)
    assert set(request.json["parameters"]) == {"max_new_tokens", "return_full_text"}
    result = answered(
        Dialect.TOOLKIT, "text-generation", parameters, generated("a token of it: e n d, then end and more")
    )
    assert text == result.output
    # A text that the stop ended is whole; why another one ended nobody says.
    assert (result.truncated, result.finish_reason) == ((False, "stop") if "more" not in text else (None, None))


def test_a_stop_that_the_engine_leaves_in_the_text_is_taken_off() -> None:
    """TGI's texts end with it; in those of transformers serve more may follow."""
    tgi = {"generated_text": "one\n\nQ:", "details": {"finish_reason": "stop_sequence", "generated_tokens": 4}}
    assert answered(Dialect.TGI, "text-generation", {"stop": "Q:"}, tgi).output == "one\n\n"
    chat = {"choices": [{"index": 0, "message": {"content": "oneQ: x"}, "finish_reason": "stop"}]}
    result = answered(Dialect.SERVE, "chat-completion", {"stop": ["Q:"]}, chat)
    assert (result.output, result.finish_reason, result.truncated) == ("one", "stop", False)


def test_a_text_that_was_cut_at_its_stop_is_not_truncated() -> None:
    """Though the engine went on behind the stop until it had used up its tokens."""
    tgi = {"generated_text": "one STOP two", "details": {"finish_reason": "length", "generated_tokens": 9}}
    result = answered(Dialect.TGI, "text-generation", {"stop": ["STOP"], "max_tokens": 9}, tgi)
    assert (result.output, result.finish_reason, result.truncated) == ("one ", "stop", False)


def test_engines_that_end_at_a_stop_are_left_alone() -> None:
    """vLLM gives a stop back where it was asked to (`include_stop_str_in_output`)."""
    parameters = {"stop": "b", "include_stop_str_in_output": True}
    assert answered(Dialect.OPENAI, "text-generation", parameters, completion("ab")).output == "ab"


def test_each_of_several_texts_is_cut() -> None:
    """`n` becomes the pipeline's own name, with sampling on, without which the pipeline refuses it."""
    parameters = {"n": 3, "stop": "."}
    request = build_request(Dialect.TOOLKIT, "text-generation", "hi", parameters)
    assert request.json["parameters"] == {"num_return_sequences": 3, "do_sample": True, "return_full_text": False}
    result = answered(Dialect.TOOLKIT, "text-generation", parameters, generated("a. b", "c", "."))
    assert (result.output, result.truncated) == (["a", "c", ""], None)


def test_several_texts_of_several_prompts_are_one_list() -> None:
    """A row with a list of prompts has `n` texts for each; the pipeline answers with a list for each prompt."""
    nested = [generated("a", "b"), generated("c", "d")]
    result = answered(Dialect.TOOLKIT, "text-generation", {"n": 2}, nested, ["x", "y"])
    assert result.output == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("reason", "tokens", "truncated"),
    [(None, 8, True), (None, 7, None), (None, None, None), ("stop", 8, False), ("length", 8, True)],
)
@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens", "max_completion_tokens"])
def test_a_text_that_has_all_the_tokens_asked_for_is_truncated(
    name: str, reason: str | None, tokens: int | None, truncated: bool | None
) -> None:
    """Where the engine says why a text ends that counts; where it says nothing and counts tokens, the count tells."""
    answer = completion("x", reason=reason, tokens=tokens)
    assert truncated is answered(Dialect.OPENAI, "text-generation", {name: 8}, answer).truncated


@pytest.mark.parametrize("task", ["text-generation", "chat-completion", "summarization"])
@pytest.mark.parametrize(
    ("details", "truncated"),
    [
        ({"generated_tokens": 8}, True),
        ({"generated_tokens": 7}, None),
        ({"generated_tokens": 8, "finish_reason": "eos_token"}, False),
        ({"finish_reason": "length"}, True),
        ({"generated_tokens": "8"}, None),
        ({"generated_tokens": -1, "finish_reason": 3}, None),
        ("8", None),
        (None, None),
    ],
)
def test_a_handler_of_the_toolkit_that_tells_details_is_heard(task: str, details: Any, truncated: bool | None) -> None:
    """The pipelines tell nothing; a handler may give what TGI gives, and the number of tokens decides as everywhere."""
    field = "summary_text" if task == "summarization" else "generated_text"
    answer = [{field: "x"} if details is None else {field: "x", "details": details}]
    assert truncated is answered(Dialect.TOOLKIT, task, {"max_tokens": 8}, answer).truncated


def test_details_of_several_texts_are_put_together() -> None:
    """One that reached the limit makes the row truncated, and their tokens are one sum."""
    texts = [
        {"generated_text": text, "details": {"finish_reason": reason, "generated_tokens": 4}}
        for text, reason in (("a", "eos_token"), ("b", "length"))
    ]
    result = answered(Dialect.TOOLKIT, "text-generation", {"n": 2}, texts)
    assert (["a", "b"], "length", True) == (result.output, result.finish_reason, result.truncated)
    assert Usage(None, 8) == result.usage


def test_an_answer_that_is_handed_on_whole_is_cut_as_well() -> None:
    """In OpenAI's own form of output the text stands in the answer itself."""
    body = {"messages": [], "stop": ["Q:"]}
    asked = asked_in_body(Dialect.SERVE, "chat-completion", body, as_it_came=True)
    answer = {"id": "1", "choices": [{"index": 0, "message": {"content": "aQ:b"}, "finish_reason": "length"}]}
    response = WireResponse(200, {}, json.dumps(answer).encode())
    result = read_result(Dialect.SERVE, "chat-completion", response, "/v1/chat/completions", asked=asked)
    expected = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    assert result.raw == {"id": "1", "choices": [expected]}
