"""What each engine's answer means: output, finish reason, usage, truncation; and which answers are not valid."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.engines import (
    Dialect,
    dialect_from_info,
    model_from_models,
    read_result,
)
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import CUT, WHOLE, is_given_up
from airflow_provider_hf_endpoints.inference.engines.routes import AS_IT_IS
from airflow_provider_hf_endpoints.inference.errors import CutAnswerError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import Usage, WireResponse


def ok(answer: Any) -> WireResponse:
    return WireResponse(200, {}, json.dumps(answer).encode())


def chat(content: Any = "yes", reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "message": {"content": content, **message}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "model": "m",
    }


@pytest.mark.parametrize("dialect", [Dialect.OPENAI, Dialect.TGI, Dialect.TOOLKIT])
def test_a_chat_answer_is_read_alike_everywhere(dialect: Dialect) -> None:
    """Text, reason, tokens and model come from OpenAI's shape on every engine that serves chat."""
    result = read_result(dialect, "chat-completion", ok(chat()))
    assert (result.output, result.finish_reason, result.truncated, result.model) == ("yes", "stop", False, "m")
    assert Usage(3, 2) == result.usage


@pytest.mark.parametrize(
    "generated", ["yes", [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]]
)
def test_a_chat_with_a_pipeline_gives_the_text_of_the_assistant(generated: Any) -> None:
    """By itself, or at the end of the messages if the pipeline returns all of them; the end has no known reason."""
    result = read_result(Dialect.TOOLKIT, "chat-completion", ok([{"generated_text": generated}]), "/")
    assert ("yes", None, None) == (result.output, result.finish_reason, result.truncated)


@pytest.mark.parametrize("generated", [None, [], [{"role": "user", "content": "hi"}], [{"role": "assistant"}], 3])
def test_a_chat_without_an_answer_is_none(generated: Any) -> None:
    """The caller's message is not taken for the answer."""
    with pytest.raises(MalformedAnswerError, match="no generated_text"):
        read_result(Dialect.TOOLKIT, "chat-completion", ok([{"generated_text": generated}]), "/")


@given(st.integers(1, 200))
def test_an_answer_that_ends_too_early_is_cut_wherever_that_is(missing: int) -> None:
    """In a word, a number, an escape or a name."""
    body = json.dumps({**chat("a\ud83d\ude00 \u00e9"), "a": [True, None, -1.5e-7], "b": {}}).encode()
    with pytest.raises(CutAnswerError, match=r"truncated JSON|is empty"):
        read_result(Dialect.OPENAI, "chat", WireResponse(200, {}, body[: -(missing % len(body)) or None][:-1]))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"choices": [{"message": {"content": "a\x00b"}}]}', "control character"),
        (b'{"created": ' + b"9" * 5000 + b', "choices": []}', "digits"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"choices": [1, 2, oops], "more": "' + b"x" * 50 + b'"}', "Expecting value"),
        (b'{"choices": []}{"choices": []}', "Extra data"),
        *((b'{"choices": []}' + tail, "Extra data") for tail in (b"x", b"}", b"{}", b"\n[]", b" words of a proxy")),
    ],
)
def test_an_answer_that_is_whole_and_no_json_does_not_pass_for_cut(body: bytes, words: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(MalformedAnswerError, match=words) as caught:
        read_result(Dialect.OPENAI, "chat", WireResponse(200, {}, body))
    assert type(caught.value) is MalformedAnswerError


def test_a_text_that_stops_at_the_limit_is_truncated() -> None:
    """`finish_reason: length` is reported."""
    assert read_result(Dialect.OPENAI, "chat", ok(chat(reason="length"))).truncated


@pytest.mark.parametrize(
    "reason", ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"]
)
def test_a_limit_of_tokens_has_several_names(reason: str) -> None:
    """Gateways pass on the reason of the engine behind them; a text that is null for this reason is empty, and not an
    error.
    """
    result = read_result(Dialect.OPENAI, "chat", ok(chat(reason=reason)))
    assert (True, reason) == (result.truncated, result.finish_reason)
    assert read_result(Dialect.OPENAI, "chat", ok(chat(None, reason))).output == ""


@pytest.mark.parametrize("reason", ["STOP", "End_Turn"])
def test_an_end_may_be_written_in_capitals(reason: str) -> None:
    """It is as good an end."""
    assert read_result(Dialect.OPENAI, "chat", ok(chat(reason=reason))).truncated is False
    with pytest.raises(CutAnswerError):
        read_result(Dialect.OPENAI, "chat", ok(chat(reason="ABORT")))


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("content", "output", "beside"),
    [
        ([{"type": "text", "text": "a"}, {"text": "b"}], "ab", None),
        ([THINKING, {"type": "text", "text": "a"}], "a", [THINKING]),
        ([THINKING], "", [THINKING]),
        ([{"type": "refusal", "refusal": "no"}], "", [{"type": "refusal", "refusal": "no"}]),
        (
            [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "a"}],
            "a",
            [{"type": "reasoning", "text": "hm"}],
        ),
    ],
)
def test_what_stands_beside_the_text_in_a_list_of_parts_is_kept(content: Any, output: str, beside: Any) -> None:
    """A part with a model's thoughts costs no further tries, and the thoughts stay out of the text."""
    result = read_result(Dialect.OPENAI, "chat", ok(chat(content)))
    assert (output, beside) == (result.output, None if result.extra is None else result.extra["content"])


@pytest.mark.parametrize(
    "content", [[], [{}], [1], [{"type": "image_url"}], [{"type": "text"}], [{"text": None}, THINKING]]
)
def test_parts_that_nobody_knows_are_no_text(content: Any) -> None:
    """And no empty success."""
    with pytest.raises(MalformedAnswerError, match="not a text"):
        read_result(Dialect.OPENAI, "chat", ok(chat(content)))


def test_a_filtered_text_is_marked() -> None:
    """`content_filter` is not an ordinary end."""
    assert read_result(Dialect.OPENAI, "chat", ok(chat("", "content_filter"))).filtered


def test_a_reasoning_model_that_ran_out_of_tokens_gives_an_empty_truncated_text() -> None:
    """Null content with `length` is truncation, not nonsense."""
    result = read_result(Dialect.OPENAI, "chat", ok(chat(None, "length", reasoning_content="hm")))
    assert (result.output, result.truncated) == ("", True)


def test_tool_calls_are_the_output_of_a_message_that_says_nothing() -> None:
    """A call of a tool is not lost for want of content."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    result = read_result(Dialect.OPENAI, "chat", ok(chat(None, "tool_calls", tool_calls=calls)))
    assert {"tool_calls": calls} == result.output


def test_several_choices_are_all_given_in_order() -> None:
    """With n=2 both texts come back, and one that was cut marks the result."""
    answer = {
        "choices": [
            {"index": 1, "text": "b", "finish_reason": "length"},
            {"index": 0, "text": "a", "finish_reason": "stop"},
        ]
    }
    result = read_result(Dialect.OPENAI, "text-generation", ok(answer))
    assert (result.output, result.truncated, result.usage) == (["a", "b"], True, None)


def test_embeddings_come_in_the_order_of_their_inputs() -> None:
    """The `index` of each item decides, not its place in the answer."""
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    assert read_result(Dialect.OPENAI, "embeddings", ok({"data": data})).output == [[1.0], [2.0]]


@pytest.mark.parametrize(("reason", "truncated"), [("length", True), ("eos_token", False), ("stop_sequence", False)])
def test_tgi_tells_why_it_stopped(reason: str, truncated: bool) -> None:
    """TGI's three reasons, from `details`."""
    answer = {"generated_text": "x", "details": {"finish_reason": reason, "generated_tokens": 7}}
    result = read_result(Dialect.TGI, "text-generation", ok(answer))
    assert ("x", reason, truncated, Usage(None, 7)) == (
        result.output,
        result.finish_reason,
        result.truncated,
        result.usage,
    )


def test_tgi_and_the_toolkit_may_answer_with_a_list() -> None:
    """`POST /` gives a list of one object."""
    assert read_result(Dialect.TGI, "text-generation", ok([{"generated_text": "x"}])).output == "x"
    assert read_result(Dialect.TOOLKIT, "text-generation", ok([{"generated_text": "x"}])).output == "x"


@pytest.mark.parametrize(
    ("task", "answer", "output"),
    [
        ("summarization", [{"summary_text": "s"}], "s"),
        ("translation_en_to_fr", [{"translation_text": "t"}], "t"),
        ("text-generation", [[{"generated_text": "a"}], [{"generated_text": "b"}]], ["a", "b"]),
        ("text-classification", [{"label": "A", "score": 0.5}], [{"label": "A", "score": 0.5}]),
        ("question-answering", {"answer": "a", "score": 1.0}, {"answer": "a", "score": 1.0}),
        ("feature-extraction", [0.5, 1.5], [[0.5, 1.5]]),
        ("sentence-embeddings", {"embeddings": [[1.0]]}, [[1.0]]),
    ],
)
def test_toolkit_pipelines_give_their_text_or_their_own_json(task: str, answer: Any, output: Any) -> None:
    """A text pipeline gives its text; any other what it answered."""
    assert output == read_result(Dialect.TOOLKIT, task, ok(answer)).output


def test_tei_gives_vectors_and_scores() -> None:
    """TEI's own routes answer with bare lists."""
    assert read_result(Dialect.TEI, "embeddings", ok([[1.0, 2.0]])).output == [[1.0, 2.0]]
    assert read_result(Dialect.TEI, "rerank", ok([{"index": 0, "score": 1.0}])).output == [{"index": 0, "score": 1.0}]


@pytest.mark.parametrize(
    ("dialect", "task", "answer"),
    [
        (Dialect.OPENAI, "chat", {}),
        (Dialect.OPENAI, "chat", []),
        (Dialect.OPENAI, "chat", {"choices": []}),
        (Dialect.OPENAI, "chat", {"choices": [{"message": {}}]}),
        (Dialect.OPENAI, "chat", {"choices": ["x"]}),
        (Dialect.OPENAI, "text-generation", {"choices": [{}]}),
        (Dialect.OPENAI, "embeddings", {"data": []}),
        (Dialect.OPENAI, "embeddings", {"data": [{}]}),
        (Dialect.OPENAI, "chat", {"error": {"message": "engine died"}}),
        (Dialect.TGI, "text-generation", {}),
        (Dialect.TGI, "text-generation", []),
        (Dialect.TEI, "embeddings", []),
        (Dialect.TEI, "embeddings", [1.0]),
        (Dialect.TEI, "embeddings", {"x": 1}),
        (Dialect.TOOLKIT, "text-generation", [{}]),
        (Dialect.TOOLKIT, "fill-mask", []),
        (Dialect.TOOLKIT, "embeddings", {}),
    ],
)
def test_a_200_without_an_answer_in_it_is_an_error(dialect: Dialect, task: str, answer: Any) -> None:
    """Nothing is made up from an answer that lacks what the task needs."""
    with pytest.raises(MalformedAnswerError):
        read_result(dialect, task, ok(answer))


@pytest.mark.parametrize("cut", range(len(json.dumps(chat()))))
def test_an_answer_cut_anywhere_is_no_answer(cut: int) -> None:
    """A body that stops at any byte is a cut answer."""
    body = json.dumps(chat()).encode()[:cut]
    with pytest.raises(CutAnswerError):
        read_result(Dialect.OPENAI, "chat", WireResponse(200, {}, body))


def test_a_page_instead_of_json_is_named() -> None:
    """The error quotes the beginning of what came."""
    with pytest.raises(MalformedAnswerError, match="not JSON: '<html>"):
        read_result(Dialect.OPENAI, "chat", WireResponse(200, {}, b"<html>hello</html>"))


def test_models_and_info_tell_the_engine() -> None:
    """`/v1/models` names the model; `/info` tells TEI from TGI."""
    assert model_from_models({"data": [{"id": "org/model"}]}) == "org/model"
    assert model_from_models({"data": []}) is None
    assert dialect_from_info({"model_id": "m", "model_type": {"embedding": {}}}) is Dialect.TEI
    assert dialect_from_info({"model_id": "m", "max_input_tokens": 1}) is Dialect.TGI
    assert dialect_from_info({"other": 1}) is None


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    ("route", "task", "answer", "output"),
    [
        ("/v1/chat/completions", "chat-completion", chat(), "yes"),
        ("/v1/completions", "text-generation", {"choices": [{"text": "yes", "finish_reason": "stop"}]}, "yes"),
        ("/v1/embeddings", "feature-extraction", {"data": [{"index": 0, "embedding": [0.5]}]}, [[0.5]]),
        ("/v1/embeddings/?x=1", "feature-extraction", {"data": [{"index": 0, "embedding": [0.5]}]}, [[0.5]]),
    ],
)
def test_an_answer_on_openais_route_is_read_as_openais(
    dialect: Dialect, route: str, task: str, answer: Any, output: Any
) -> None:
    """Whichever engine serves it: TEI and the toolkit embed there, TGI completes."""
    assert output == read_result(dialect, task, ok(answer), route).output


@pytest.mark.parametrize("answer", [[1, 2], [], {"tokens": [1]}, "a text", 5, False, {"generated_text": "x"}])
def test_the_answer_of_any_other_route_is_its_json(answer: Any) -> None:
    """Lists, objects and values alike, on every dialect."""
    for dialect in Dialect:
        result = read_result(dialect, AS_IT_IS, ok(answer), "/tokenize")
        assert (answer, answer, None) == (result.output, result.raw, result.truncated)


def test_why_a_text_ends_is_unknown_where_nobody_says() -> None:
    """An unknown value does not count as False."""
    assert read_result(Dialect.TOOLKIT, "text-generation", ok([{"generated_text": "x"}])).truncated is None
    assert read_result(Dialect.TGI, "text-generation", ok({"generated_text": "x"})).truncated is None
    assert read_result(Dialect.OPENAI, "chat", ok(chat(reason=None))).truncated is None
    odd = {"generated_text": "x", "details": {"finish_reason": {"a": 1}, "generated_tokens": 10**30}}
    result = read_result(Dialect.TGI, "text-generation", ok(odd))
    assert (None, None) == (result.finish_reason, result.usage and result.usage.completion_tokens)


@pytest.mark.parametrize(
    "reason",
    [
        *("abort", "Aborted", "error", "cancelled", "timeout", "failed", "not_finished", "timed_out", "USER_CANCEL"),
        *("ERROR_TOXIC", "engine-error", "insufficient_system_resource", "preempted", "shutdown", "Timed Out"),
    ],
)
@pytest.mark.parametrize("task", ["chat", "text-generation"])
def test_a_text_that_the_engine_gave_up_is_no_answer(task: str, reason: str) -> None:
    """Half a sentence that looks like a whole one; its cost is reported."""
    choice = {"index": 0, "message": {"content": "half a"}, "text": "half a", "finish_reason": reason}
    answer = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    with pytest.raises(CutAnswerError, match=reason) as error:
        read_result(Dialect.OPENAI, task, ok(answer))
    assert Usage(3, 2) == error.value.usage
    details = {"generated_text": "half a", "details": {"finish_reason": reason}}
    with pytest.raises(CutAnswerError, match=reason):
        read_result(Dialect.TGI, "text-generation", ok(details))


@pytest.mark.parametrize(
    ("reason", "truncated"),
    [("eos", False), ("EOS_TOKEN", False), ("tool_use", False), ("limit", True), ("MAX_LENGTH", True)],
)
def test_engines_other_words_for_an_end_are_understood(reason: str, truncated: bool) -> None:
    """Of whole texts and of cut ones, in any case."""
    assert truncated is read_result(Dialect.OPENAI, "chat", ok(chat(reason=reason))).truncated


@pytest.mark.parametrize(("kind", "truncated"), [("stop", False), ("length", True)])
def test_a_reason_as_an_object_is_read(kind: str, truncated: bool) -> None:
    """SGLang's own form, which some gateways hand on."""
    answer = chat()
    answer["choices"][0]["finish_reason"] = {"type": kind, "matched": 2}
    result = read_result(Dialect.OPENAI, "chat", ok(answer))
    assert (kind, truncated) == (result.finish_reason, result.truncated)
    answer["choices"][0]["finish_reason"] = {"type": "abort", "message": "out of memory"}
    with pytest.raises(CutAnswerError, match="abort"):
        read_result(Dialect.OPENAI, "chat", ok(answer))


@pytest.mark.parametrize("reason", ["content_filter", "CONTENT_FILTER"])
@pytest.mark.parametrize("content", ["", None])
def test_a_withheld_text_is_counted_as_such_in_any_case(content: Any, reason: str) -> None:
    """A text of nothing with its reason, and no answer that is sent again."""
    result = read_result(Dialect.OPENAI, "chat", ok(chat(content, reason)))
    assert ("", True, False) == (result.output, result.filtered, result.truncated)


def test_two_texts_of_tgi_for_one_are_no_answer() -> None:
    """The second would be lost."""
    with pytest.raises(MalformedAnswerError, match="2 texts"):
        read_result(Dialect.TGI, "text-generation", ok([{"generated_text": "a"}, {"generated_text": "b"}]))


def test_tokens_that_are_whole_count_though_they_are_written_as_floats() -> None:
    """JavaScript and Lua have no other numbers; half a token is not counted."""
    answer = chat() | {"usage": {"prompt_tokens": 3.0, "completion_tokens": 2.5}}
    assert Usage(3, None) == read_result(Dialect.OPENAI, "chat", ok(answer)).usage


@pytest.mark.parametrize("task", ["token-classification", "feature-extraction", AS_IT_IS])
def test_a_list_of_errors_is_no_answer(task: str) -> None:
    """A handler on the toolkit may give one error for each input, with a status of 200."""
    errors = [{"error": "out of memory", "warnings": []}]
    with pytest.raises(MalformedAnswerError, match="out of memory"):
        read_result(Dialect.TOOLKIT, task, ok(errors))
    found = [{"entity": "x", "score": 0.5, "error": "some word"}]
    assert found == read_result(Dialect.TOOLKIT, "token-classification", ok(found)).output


def test_a_choice_that_failed_is_no_answer() -> None:
    """Gateways put what their backend said beside the part of the text that came."""
    answer = chat("half a")
    answer["choices"][0]["error"] = {"code": 502, "message": "upstream is gone"}
    with pytest.raises(MalformedAnswerError, match="upstream is gone"):
        read_result(Dialect.OPENAI, "chat", ok(answer))


@given(reason=st.text(max_size=12))
def test_a_reason_that_nobody_knows_does_not_say_whether_a_text_is_whole(reason: str) -> None:
    """vLLM stops at repetitions, another engine at something else."""
    word = "_".join(re.findall(r"[^\W_]+", reason.lower()))
    assume(word not in {*CUT, *WHOLE} and not is_given_up(reason))
    assert read_result(Dialect.OPENAI, "chat", ok(chat(reason=reason))).truncated is None


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 9) | st.text(min_size=1) | st.booleans()))
def test_nothing_that_a_message_says_is_lost(beside: dict[str, Any]) -> None:
    """Each part that holds something, whatever an engine calls it, stands in `extra`."""
    assume(not {"role", "content"} & set(beside))
    result = read_result(Dialect.OPENAI, "chat", ok(chat("a text", **beside)))
    assert ("a text", {name: value for name, value in beside.items() if value} or None) == (result.output, result.extra)


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
@pytest.mark.parametrize("message", [{}, {"tool_calls": []}, {"tool_calls": None}])
def test_calls_that_were_lost_are_no_empty_text(reason: str, message: dict[str, Any]) -> None:
    """The reason says that the model called a tool. A parser on the way may have dropped the call."""
    with pytest.raises(MalformedAnswerError, match="has no call"):
        read_result(Dialect.OPENAI, "chat", ok(chat("", reason, **message)))


LIMITS = ["max_new_tokens", "MAX_COMPLETION_TOKENS", "model_context_window_exceeded", "max-tokens", "max_token"]


@pytest.mark.parametrize("reason", LIMITS)
def test_every_name_of_a_limit_is_a_truncated_text(reason: str) -> None:
    """Engines and gateways have many words for the same."""
    assert read_result(Dialect.OPENAI, "chat", ok(chat("half", reason))).truncated is True


@pytest.mark.parametrize("reason", ["content-filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "refusal"])
def test_every_name_of_a_filter_is_a_filtered_text(reason: str) -> None:
    """The text may be missing, or end where the filter began."""
    result = read_result(Dialect.OPENAI, "chat", ok(chat("half", reason)))
    assert (True, False) == (result.filtered, result.truncated)
    assert read_result(Dialect.OPENAI, "chat", ok(chat(None, reason))).filtered


@pytest.mark.parametrize("reason", ["killed", "DEADLINE_EXCEEDED", "request-cancelled", "Timed Out"])
def test_every_name_of_an_end_before_the_text_is_half_an_answer(reason: str) -> None:
    """The row is sent again."""
    with pytest.raises(CutAnswerError, match="cancelled the request"):
        read_result(Dialect.OPENAI, "chat", ok(chat("half", reason)))


@pytest.mark.parametrize("calls", ["f(1)", ["f"], [[]], 5, {"tool_calls": 5}])
def test_calls_of_no_known_form_are_no_success(calls: Any) -> None:
    """A parser on the way has failed."""
    message = calls if isinstance(calls, dict) else {"function_call": calls}
    with pytest.raises(MalformedAnswerError, match="calls of tools have no known form"):
        read_result(Dialect.OPENAI, "chat", ok(chat(None, "tool_calls", **message)))


def test_a_message_of_an_unknown_kind_is_no_empty_text() -> None:
    """If there is no text, only a known field may replace it."""
    with pytest.raises(MalformedAnswerError, match="has no content"):
        read_result(Dialect.OPENAI, "chat", ok(chat(None, novelty={"a": 1})))
    calls = {"name": "f", "arguments": "{}"}
    assert {"function_call": calls} == read_result(Dialect.OPENAI, "chat", ok(chat(None, function_call=calls))).output


@pytest.mark.parametrize("body", [b"\xff\xfe{\x00}\x00", json.dumps(chat("ä"), ensure_ascii=False).encode("latin-1")])
def test_an_answer_in_another_encoding_is_not_guessed(body: bytes) -> None:
    """JSON between programs is UTF-8 (RFC 8259, 8.1)."""
    with pytest.raises(MalformedAnswerError, match="not UTF-8"):
        read_result(Dialect.OPENAI, "chat", WireResponse(200, {}, body))


def test_a_byte_order_mark_before_an_answer_is_passed_over() -> None:
    """RFC 8259 allows a reader to."""
    body = b"\xef\xbb\xbf" + json.dumps(chat("yes")).encode()
    assert "yes" == read_result(Dialect.OPENAI, "chat", WireResponse(200, {}, body)).output


@pytest.mark.parametrize("task", ["token-classification", "object-detection"])
def test_a_pipeline_that_found_nothing_has_answered(task: str) -> None:
    """A text without a name in it is not a failure of the engine."""
    assert [] == read_result(Dialect.TOOLKIT, task, WireResponse(200, {}, b"[]")).output


@pytest.mark.parametrize("answer", [b"[[]]", b"[null]", b'""', b"{}", b"[[], []]", b"[{}]"])
@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "token-classification"])
def test_an_answer_that_says_nothing_is_no_success(task: str, answer: bytes) -> None:
    """However many brackets it has."""
    with pytest.raises(MalformedAnswerError):
        read_result(Dialect.TOOLKIT, task, WireResponse(200, {}, answer))
