"""What a request asks for and its engine does not do, so that this provider does it when it reads the answer.

Stops at which some engines do not end a text, and the token limit if an engine does not report that a text
reached it. The number of texts is checked in `requests/choices.py`. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.inference.wire import Asked, InferenceResult

_LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens")
_NUMBERS = ("n", "num_return_sequences")


def stops_of(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The stops of a text, by either name, without empty ones."""
    stop = parameters.get("stop", parameters.get("stop_sequences"))
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list | tuple) else []
    return tuple(each for each in stops if isinstance(each, str) and each)


def asked_of(parameters: Mapping[str, Any], inputs: Any, *, cuts: bool, as_it_came: bool = False) -> Asked | None:
    """What to do for a request for texts; None for nothing.

    :param inputs: a list of texts asks for one text each
    :param cuts: whether this provider cuts the engine's texts at their stops
    :param as_it_came: see `Asked`
    """
    limit = _count(parameters, _LIMITS)
    number = _count(parameters, _NUMBERS)
    if number is None:
        number = 1 if all(parameters.get(name) is None for name in _NUMBERS) else 0
    prompts = len(inputs) if isinstance(inputs, list) and inputs and isinstance(inputs[0], str | list) else 1
    stops = stops_of(parameters) if cuts else ()
    asked = Asked(stops, limit, number * prompts, as_it_came and bool(stops))
    return None if asked == Asked() else asked


def _count(parameters: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of these that is a number above 0."""
    for name in names:
        value = parameters.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def see_to(result: InferenceResult, asked: Asked) -> InferenceResult:
    """The answer, in the requested form."""
    if asked.cut_at:
        texts = result.output if isinstance(result.output, list) else [result.output]
        result = _cut(result, texts, asked.cut_at)
        if asked.as_it_came:
            result = replace(result, raw=_cut_answer(result.raw, asked.cut_at))
    if result.truncated is None and asked.most_tokens is not None and asked.texts == 1:
        made = None if result.usage is None else result.usage.completion_tokens
        if made is not None and made >= asked.most_tokens:
            return replace(result, truncated=True)
    return result


def _cut(result: InferenceResult, texts: list[Any], stops: tuple[str, ...]) -> InferenceResult:
    cut = [_until(text, stops) if isinstance(text, str) else text for text in texts]
    ended = [before != after for before, after in zip(texts, cut, strict=True)]
    if not any(ended):
        return result
    output = cut if isinstance(result.output, list) else cut[0]
    if not all(ended):
        return replace(result, output=output)
    # The engine stopped at something after the stop.
    reason = result.finish_reason if result.finish_reason not in (None, "length") else "stop"
    return replace(result, output=output, finish_reason=reason, truncated=False)


def _until(text: str, stops: tuple[str, ...]) -> str:
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def _cut_answer(answer: Any, stops: tuple[str, ...]) -> Any:
    """The whole answer of one of OpenAI's routes, with its texts cut."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("choices"), list):
        return answer
    return {**answer, "choices": [_cut_choice(choice, stops) for choice in answer["choices"]]}


def _cut_choice(choice: Any, stops: tuple[str, ...]) -> Any:
    match choice:
        case {"text": str(text)} if (cut := _until(text, stops)) != text:
            return {**choice, "text": cut, "finish_reason": "stop"}
        case {"message": {"content": str(text)} as message} if (cut := _until(text, stops)) != text:
            return {**choice, "message": {**message, "content": cut}, "finish_reason": "stop"}
        case _:
            return choice
