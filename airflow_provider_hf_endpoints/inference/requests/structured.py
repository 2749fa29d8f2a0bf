"""Answers that have to fit a JSON schema: which schema is meant, and the check of an answer when it comes.

How an engine is asked to keep to a schema is a trait of its dialect. An engine that does not know the setting ignores
it silently, so the check is not left to the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.references import check_references
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

#: Many chat templates put the beginning of the thoughts into the prompt, so that the answer has their end alone.
_END_OF_THOUGHTS = re.compile(r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]", re.IGNORECASE)
_FENCE = "```"
_LANGUAGE = re.compile(r"\w+\s")


class InvalidOutputError(MalformedAnswerError):
    """The engine answered, and the text does not fit the schema that was asked for."""

    what = "The text does not match response_schema"
    todo = "If the text was truncated, raise max_tokens. Not every engine and model follows a schema."


class SettledOutputError(InvalidOutputError):
    """The same at temperature 0, where the same request gives the same text."""

    retryable = False
    todo = (
        "At temperature 0, a retry gives the same text. If the text was truncated, raise max_tokens; otherwise raise "
        "the temperature."
    )

    @property
    def kind(self) -> str:
        """That of the error at any temperature."""
        return "invalid_output"


def is_settled(parameters: Mapping[str, Any]) -> bool:
    """Whether the same request gives the same text."""
    return parameters.get("temperature") == 0 or parameters.get("do_sample") is False


def as_json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema that is meant: one itself, or that of a pydantic model.

    :raises ValueError: it is neither
    """
    # pydantic and jsonschema are imported where there is a schema: that takes long, and most batches have none.
    if isinstance(schema, type):
        from pydantic import BaseModel
        from pydantic.errors import PydanticUserError

        if issubclass(schema, BaseModel):
            try:
                schema = schema.model_json_schema()
            except PydanticUserError as error:
                raise ValueError(
                    f"response_schema {schema.__name__} cannot be converted to a JSON schema: {error.message}"
                ) from None
    if not isinstance(schema, Mapping):
        raise ValueError(f"response_schema must be a JSON schema or a pydantic model, not {type(schema).__name__}")
    try:
        # As the engine will read it: there is no tuple in it, and every name is a text.
        found: dict[str, Any] = fastjson.decode(fastjson.encode(dict(schema)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"response_schema cannot be written as JSON ({error})") from None
    try:
        _check_schema(found)
    except RecursionError:
        raise ValueError("response_schema is nested too deeply") from None
    return found


def _check_schema(schema: dict[str, Any]) -> None:
    """
    :raises ValueError: it is not a schema that an answer can be checked with
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(schema.get("$schema", ""), str):
        raise ValueError(f"response_schema is not a valid JSON schema: $schema is {schema['$schema']!r}, not a text")
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"response_schema is not a valid JSON schema: {error.message}") from None
    check_references(schema)


def value_in(text: str) -> Any:
    """The JSON value in an answer, without what models put around it: their thoughts, and a fence of Markdown.

    :raises ValueError: there is none; NaN and infinity, which JSON cannot say, are not valid
    """
    problem = ValueError("nothing")
    for candidate in _candidates(text.strip().removeprefix("\ufeff")):
        try:
            return json.loads(candidate, parse_constant=_number, parse_float=_number)
        except ValueError as error:
            problem = error
    raise problem


def _candidates(text: str) -> Iterator[str]:
    """What may be the JSON in an answer, the likeliest first. A text that is JSON is taken as it stands."""
    yield text
    ends = [found.end() for found in _END_OF_THOUGHTS.finditer(text)]
    # The first end is the thoughts', unless they speak of thoughts; JSON, too, may hold such a sign in a text.
    behind = dict.fromkeys(text[end:].strip() for end in (*ends[:1], *ends[-1:]))
    yield from behind
    for part in behind or (text,):
        pieces = part.split(_FENCE)
        if len(pieces) in (3, 4):  # one pair of fences, and perhaps one that is not closed
            language = _LANGUAGE.match(pieces[1])
            yield pieces[1][language.end() if language else 0 :].strip()


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text}, which is not a JSON number")
    return value


def checker(schema: dict[str, Any], *, settled: bool = False) -> Callable[[InferenceResult], InferenceResult]:
    """A function from an answer to the same with its text parsed; it raises `InvalidOutputError` for one that does
    not fit.

    :param settled: see `is_settled`
    """
    from jsonschema.validators import validator_for

    invalid = SettledOutputError if settled else InvalidOutputError

    validator = validator_for(schema)(schema)

    def value_of(text: Any, result: InferenceResult) -> Any:
        try:
            value = value_in(text)
        except (AttributeError, ValueError, RecursionError) as error:  # a message without text has none to strip
            cut = ", truncated at its token limit" if result.truncated else ""
            words = f"no JSON{cut}: {str(text)[:200]!r}"
            raise invalid(words, usage=result.usage) from error
        try:
            problem = next(iter(validator.iter_errors(value)), None)
        except (RecursionError, ArithmeticError) as error:
            words = "nested too deeply" if isinstance(error, RecursionError) else f"a number too large ({error})"
            raise invalid(f"{words} to be checked", usage=result.usage) from None
        if problem is not None:
            raise invalid(f"{problem.json_path}: {problem.message}"[:500], usage=result.usage)
        return value

    def check(result: InferenceResult) -> InferenceResult:
        several = isinstance(result.output, list)  # of `n` texts each has to fit
        values = [value_of(text, result) for text in (result.output if several else [result.output])]
        return replace(result, output=values if several else values[0])

    return check
