"""OpenAI's routes, which vLLM, SGLang, llama.cpp and many containers serve. TGI serves only the route for chats."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.dialects import shapes
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE, RERANK, TRANSCRIBE
from airflow_provider_hf_endpoints.inference.engines.parameters import for_openai
from airflow_provider_hf_endpoints.inference.errors import (
    CutAnswerError,
    MalformedAnswerError,
    UnsuitableInputsError,
    UnsupportedTaskError,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage, WireRequest

CHAT_ROUTE = "/v1/chat/completions"
COMPLETIONS_ROUTE = "/v1/completions"
EMBEDDINGS_ROUTE = "/v1/embeddings"
MODELS_ROUTE = "/v1/models"
RERANK_ROUTE = "/v1/rerank"
TRANSCRIBE_ROUTE = "/v1/audio/transcriptions"
#: What a message may contain if it has no text. Newer releases of vLLM call `reasoning_content` `reasoning`.
_IN_PLACE_OF_TEXT = ("refusal", "reasoning_content", "reasoning", "audio", "content")
#: Types of parts in a `content`: the thinking of Mistral's reasoning models, and a refusal in OpenAI's form.
_PARTS_BESIDE = ("thinking", "reasoning", "refusal")
_CALLS = ("tool_calls", "function_call")
#: The finish reasons of a text that was withheld, from OpenAI, Gemini, Bedrock, Anthropic and Qwen's gateways.
_FILTERED = frozenset(
    {"content_filter", "content_filtered", "contentfilter", "safety", "recitation", "blocklist", "prohibited_content"}
    | {"spii", "guardrail_intervened", "refusal", "sensitive"}
)
#: The finish reasons of a complete text, from OpenAI, TGI, Anthropic, llama.cpp and TensorRT-LLM. For an unknown reason
#: it is not known whether the text is complete.
WHOLE = frozenset(
    {"stop", "eos", "eos_token", "stop_sequence", "stop_token", "end_turn", "tool_calls", "tool_use", "function_call"}
    | {*_FILTERED, "end_id", "stop_words", "complete"}
)
#: The finish reasons of an incomplete text, also as one word of several (`user_cancel`). vLLM and SGLang: `abort` if a
#: request is cancelled or the engine shuts down. vLLM and gateways: `error` if the request failed.
GIVEN_UP = frozenset(
    {"abort", "aborted", "error", "cancel", "cancelled", "canceled", "timeout", "failed", "interrupted", "preempted"}
    | {"shutdown", "disconnected", "killed", "deadline", "expired"}
)
#: The same in several words. TensorRT-LLM: `not_finished`, `timed_out`. DeepSeek: its servers had no room.
_GIVEN_UP_WHOLE = frozenset({"not_finished", "timed_out", "insufficient_system_resource"})
#: The finish reasons of a truncated text, from OpenAI, Anthropic, Mistral and llama.cpp.
CUT = frozenset(
    {"length", "limit", "max_length", "max_tokens", "model_length", "max_output_tokens", "max_new_tokens"}
    | {"max_completion_tokens", "context_length", "model_context_window_exceeded", "max_token", "token_limit"}
)
_WORD = re.compile(r"[^\W_]+")
#: What to do with several texts where a request takes one.
FOR_SEVERAL_TEXTS = (
    "For several texts, make one call for each (InferenceOperator.partial(…).expand(inputs=[…])), or send all as a "
    "batch (BatchInferenceOperator)"
)
_MOST_TOKENS = 2**48  # more than any answer has; a record of the journal can store 2**63


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task.

    :raises UnsupportedTaskError: the dialect has no route for the task, or the inputs are not in its form
    """
    # `model` stands first, so that it is at the beginning of a logged body. Engines that serve one model may not need
    # it.
    head: dict[str, Any] = {} if model is None else {"model": model}
    params = for_openai(parameters, chat=task == CHAT)
    match task:
        case t if t == CHAT:
            return WireRequest(CHAT_ROUTE, {**head, "messages": as_messages(inputs), **params})
        case t if t == GENERATE:
            return WireRequest(COMPLETIONS_ROUTE, {**head, "prompt": inputs, **params})
        case t if t == EMBED:
            return WireRequest(EMBEDDINGS_ROUTE, {**head, "input": inputs, **params})
        case t if t == RERANK:
            query, documents = as_query(inputs)
            return WireRequest(RERANK_ROUTE, {**head, "query": query, "documents": documents, **params})
        case _:
            raise UnsupportedTaskError(
                f"{task!r} has no route on an OpenAI-compatible engine, which serves {CHAT}, {GENERATE}, {EMBED} and "
                f"{RERANK}. Most other tasks can be sent as a chat"
            )


def as_messages(inputs: Any) -> list[Any]:
    """Messages from a list of them, a dict that contains them, or a text, which becomes one message of the
    user."""
    match inputs:
        case str():
            return [{"role": "user", "content": inputs}]
        case {"messages": list(messages)}:
            return messages
        case {"role": _, "content": _}:
            return [inputs]
        case list() if inputs and all(isinstance(m, Mapping) for m in inputs):
            return list(inputs)
        case list() if any(isinstance(each, str) for each in inputs):
            raise UnsuitableInputsError(
                f"a list of {len(inputs)} with texts in it, but a chat takes one text, or a list of messages "
                f"{{'role': …, 'content': …}}. {FOR_SEVERAL_TEXTS}"
            )
        case _:
            raise UnsuitableInputsError(
                f"a chat needs a text, or a list of messages {{'role': …, 'content': …}}, not {type(inputs).__name__}"
            )


def as_query(inputs: Any) -> tuple[str, list[Any]]:
    """Query and documents of a reranking, by the names of TEI, of Cohere or of sentence-transformers."""
    if isinstance(inputs, Mapping):
        query = inputs.get("query", inputs.get("source_sentence"))
        for name in ("texts", "documents", "sentences", "passages"):
            if isinstance(inputs.get(name), list) and query is not None:
                return query, inputs[name]
    raise UnsuitableInputsError("reranking needs {'query': …, 'texts': […]}")


def ask_schema(task: str, schema: dict[str, Any], engine: str | None) -> dict[str, Any]:
    """The parameters that make the engine follow a JSON schema.

    OpenAI defines no `response_format` for `/v1/completions`. vLLM accepts it there too, llama.cpp has `json_schema`,
    and SGLang has `json_schema` as a text.

    :param engine: which engine it is, lower case, where known
    :raises UnsupportedTaskError: the task gives no text
    """
    if task == GENERATE and engine == "llamacpp":
        return {"json_schema": schema}
    if task == GENERATE and engine == "sglang":
        return {"json_schema": json.dumps(schema)}
    return ask_schema_of_chat(CHAT if task == GENERATE else task, schema, engine)


def ask_schema_of_chat(task: str, schema: dict[str, Any], engine: str | None) -> dict[str, Any]:
    """The same for engines that follow a schema only in chats: all engines know OpenAI's `response_format` there.

    :raises UnsupportedTaskError: the task is not a chat
    """
    del engine
    if task != CHAT:
        raise UnsupportedTaskError(
            f"response_schema applies only to texts: {task!r} returns none, or its engine does not support schemas"
        )
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    }


def read(task: str, answer: Any) -> InferenceResult:
    """The result in a 200's body.

    :param answer: the decoded JSON
    :raises MalformedAnswerError: the body lacks what the task needs
    """
    if not isinstance(answer, dict):
        raise MalformedAnswerError(f"expected an object, not {type(answer).__name__}")
    if task in (CHAT, GENERATE):
        return _read_choices(task, answer)
    if task == EMBED:
        return _read_embeddings(answer)
    if task == TRANSCRIBE:
        return InferenceResult(shapes.transcript(answer), usage=read_usage(answer), raw=answer)
    output = answer.get("results", answer.get("data"))
    if output is None:
        raise MalformedAnswerError("the response has neither `results` nor `data`")
    return InferenceResult(output, usage=read_usage(answer), model=text_or_none(answer.get("model")), raw=answer)


def _read_choices(task: str, answer: dict[str, Any]) -> InferenceResult:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise MalformedAnswerError(f"the response has no choices: {str(answer)[:200]}")
    usage = read_usage(answer)
    alone = len(choices) == 1
    try:
        contents = [_content(task, choices[0])] if alone else [_content(task, each) for each in _in_order(choices)]
    except MalformedAnswerError as error:
        raise type(error)(error.words, usage=usage) from error
    output: Any
    beside: Any
    if alone:
        output, beside, reason = contents[0]
        truncated, filtered = is_cut(reason), is_filtered(reason)
    else:
        output, beside, reasons = (list(each) for each in zip(*contents, strict=True))
        beside = beside if any(beside) else None
        reason, truncated, filtered = reason_of(reasons), is_truncated(reasons), any(map(is_filtered, reasons))
    return InferenceResult(
        output,
        reason,
        usage,
        truncated=truncated,
        filtered=filtered,
        model=text_or_none(answer.get("model")),
        extra=beside,
        raw=answer,
    )


def _in_order(choices: list[Any]) -> list[Any]:
    """Choices by their index, or in the given order if their indexes are not unique."""
    places = [choice.get("index") if isinstance(choice, dict) else None for choice in choices]
    if sorted(place for place in places if type(place) is int) != list(range(len(choices))):
        return choices
    return [choices[places.index(place)] for place in range(len(choices))]


def is_cut(reason: str | None) -> bool | None:
    """Whether a text stops at a token limit, by its finish reason; None if the reason does not say."""
    if reason in WHOLE:
        return False  # the usual case
    word = None if reason is None else _word_of(reason)
    return True if word in CUT else False if word in WHOLE else None


def is_truncated(reasons: Sequence[str | None]) -> bool | None:
    """Whether any of the texts stops at a token limit; None if the finish reasons do not say."""
    cut = [is_cut(reason) for reason in reasons]
    return True if True in cut else None if None in cut else False


def is_filtered(reason: str | None) -> bool:
    """Whether a text was withheld."""
    return reason is not None and reason != "stop" and _word_of(reason) in _FILTERED


def reason_of(reasons: Sequence[str | None]) -> str | None:
    """One finish reason for several texts: that of a truncated text, if there is one."""
    return next((reason for reason in reasons if is_cut(reason)), reasons[0])


def refuse_given_up(reason: str | None) -> None:
    """Refuse a text that the engine did not finish.

    :raises CutAnswerError: the engine gave up in the middle of the text
    """
    if reason is not None and is_given_up(reason):
        raise CutAnswerError(f"the engine cancelled the request (finish_reason: {reason})")


@functools.lru_cache(maxsize=64)  # a batch has a few
def is_given_up(reason: str) -> bool:
    """Whether a finish reason says that the engine gave up in the middle of the text."""
    word = _word_of(reason)
    if word in WHOLE or word in CUT:
        return False
    return word in _GIVEN_UP_WHOLE or not GIVEN_UP.isdisjoint(word.split("_"))


@functools.lru_cache(maxsize=64)
def _word_of(reason: str) -> str:
    """A finish reason in the form of the tables: some gateways use capitals, hyphens or blanks."""
    return "_".join(_WORD.findall(reason.lower()))


def text_or_none(value: Any) -> str | None:
    """A name that the engine gives; None for anything else."""
    return value if isinstance(value, str) else None


def _content(task: str, choice: Any) -> tuple[Any, dict[str, Any] | None, str | None]:
    """Text of one choice, its other fields, and its finish reason. A message that only calls tools is returned whole.

    :raises CutAnswerError: the engine gave the request up in the middle of the text
    :raises MalformedAnswerError: there is neither a text nor any other known content
    """
    if not isinstance(choice, dict):
        raise MalformedAnswerError("a choice is not an object")
    reason = choice.get("finish_reason")
    if not isinstance(reason, str):
        reason = _reason(reason)
    if reason not in WHOLE:
        refuse_given_up(reason)
    if choice.get("error"):
        raise MalformedAnswerError(f"the engine failed in the middle of the answer: {str(choice['error'])[:200]}")
    extra = {"logprobs": choice["logprobs"]} if choice.get("logprobs") else {}
    if task == GENERATE:
        text = choice.get("text")
        if not isinstance(text, str):
            raise MalformedAnswerError("a choice has no text")
        return text, extra or None, reason
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedAnswerError("a choice has no message")
    text = message.get("content")
    if not isinstance(text, str):
        text, parts = _text_of(text)
        if parts:
            extra["content"] = parts
    for name, value in message.items():
        if value and name != "content" and name != "role":
            extra[name] = value
    if text is None:
        calls = {name: extra.pop(name) for name in _CALLS if name in extra}
        if calls:
            if not all(map(_are_calls, calls.values())):
                raise MalformedAnswerError(f"calls of tools have no known form: {str(calls)[:200]}")
            return calls, extra or None, reason
        # The value is null if a reasoning model used all tokens for thinking, or the engine withholds the text.
        withheld = is_cut(reason) or is_filtered(reason)
        if not withheld and not any(map(extra.get, _IN_PLACE_OF_TEXT)):
            raise MalformedAnswerError(f"a message has no content: {str(message)[:200]}")
    elif not text and reason in _CALLS and not extra:
        raise MalformedAnswerError(f"finish_reason is {reason}, but the message has no call: {str(message)[:200]}")
    return text or "", extra or None, reason


def _are_calls(value: Any) -> bool:
    """Whether a value is a call of a function, or a list of calls."""
    calls = value if isinstance(value, list) else [value]
    return all(isinstance(each, dict) for each in calls)


def _reason(value: Any) -> str | None:
    """The finish reason of a choice if it is not a string: SGLang has `{"type": "abort", "message": …}`."""
    return text_or_none(value.get("type")) if isinstance(value, dict) else None


def _text_of(content: Any) -> tuple[str | None, list[Any]]:
    """The text in a `content` that is not a string, None if there is none, and the other parts of a list.

    :raises MalformedAnswerError: a part is of an unknown type
    """
    match content:
        case None:
            return None, []
        case [*parts] if parts and all(map(_is_text, parts)):
            return "".join(part["text"] for part in parts), []
        case [*parts] if parts and all(_is_text(part) or _is_beside(part) for part in parts):
            texts = [part["text"] for part in parts if _is_text(part)]
            return "".join(texts) if texts else None, [part for part in parts if not _is_text(part)]
        case _:
            raise MalformedAnswerError(f"a content is not a text: {str(content)[:200]}")


def _is_beside(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _PARTS_BESIDE


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str) and not _is_beside(part)


def _read_embeddings(answer: dict[str, Any]) -> InferenceResult:
    data = answer.get("data")
    if not isinstance(data, list) or not data:
        raise MalformedAnswerError("the response has no embeddings")
    try:
        places = [item.get("index") for item in data]
        vectors = [item["embedding"] for item in data]
        if len(data) > 1 and places != list(range(len(data))) and places != [None] * len(data):
            # The index says which vector belongs to which input. If one is missing or double, the order is unknown.
            by_place = dict(zip(places, vectors, strict=True))
            vectors = [by_place[place] for place in range(len(data))]
    except (AttributeError, KeyError, TypeError) as error:
        raise MalformedAnswerError("items have no embedding, or missing or duplicate indexes") from error
    return InferenceResult(vectors, usage=read_usage(answer), model=text_or_none(answer.get("model")), raw=answer)


def read_usage(answer: Any) -> Usage | None:
    """Token counts of an answer, None where it has none."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    return Usage(count(usage.get("prompt_tokens")), count(usage.get("completion_tokens")))


def count(value: Any) -> int | None:
    """A number of tokens; None for any other value, which must not be added.

    Some gateways write integers as 12.0.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None  # `isinstance` would accept True
