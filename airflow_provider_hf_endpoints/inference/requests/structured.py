"""Answers that must match a JSON schema: the form of the schema, and the check of an answer.

How to request a schema is a trait of the engine's dialect. An engine that does not know the setting ignores
it silently, so this provider checks every answer.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.inference.requests.references import check_references
from airflow_provider_hf_endpoints.inference.requests.schema_cost import MOST_STEPS, parts_of
from airflow_provider_hf_endpoints.inference.requests.schema_process import (
    CHECK_SECONDS,
    CheckTooLongError,
    SchemaProcess,
    first_problem,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

log = logging.getLogger(__name__)

#: Many chat templates put the beginning of the thoughts into the prompt, so that the answer has their end alone.
#: From DeepSeek, Qwen and others; Mistral; Seed-OSS; Kimi; gpt-oss, if the engine does not parse its channels.
_END_OF_THOUGHTS = re.compile(
    r"</(?:seed:)?(?:think|thinking|thought|reasoning)>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_FENCE = "```"
_LANGUAGE = re.compile(r"\w+\s")
LEAST_TEMPERATURE = 1e-5  # below it, vLLM takes the likeliest token


class InvalidOutputError(MalformedAnswerError):
    """The engine answered, and the text does not match the requested schema."""

    what = "The text does not match response_schema"
    todo = "If the text was truncated, raise max_tokens. Not every engine and model follows a schema."


class SettledOutputError(InvalidOutputError):
    """The same of a request that always gives the same text, see `is_settled`."""

    retryable = False
    todo = (
        "Without sampling (temperature 0, do_sample false or top_k 1), a retry gives the same text. If the text was "
        "truncated, raise max_tokens; otherwise raise the temperature."
    )

    @property
    def kind(self) -> str:
        """The same kind as at any temperature."""
        return "invalid_output"


class UncheckedOutputError(InvalidOutputError):
    """The engine answered, and it is not known whether the text fits: the check took longer than it may."""

    retryable = False
    fault = "caller"
    what = "The check of the text against response_schema was stopped"
    todo = (
        "Simplify the schema. A pattern in which repetitions are nested or follow each other, such as (a+)+ or .*.*, "
        "can take a time that multiplies with each character."
    )


def settled(error: InvalidOutputError, body: bytes) -> InvalidOutputError:
    """The error of an answer to a request; the one that is not sent again if the same text would come.

    :param body: of the request as it was sent, so that the parameters of the row count too
    """
    if type(error) is not InvalidOutputError or not is_settled(fastjson.decode(body)):
        return error
    return SettledOutputError(error.words, usage=error.usage)


def is_settled(body: Mapping[str, Any]) -> bool:
    """Whether a request always gives the same text, because the engine does not sample."""
    inner = body.get("parameters")
    return any(_takes_likeliest(each) for each in (body, inner) if isinstance(each, Mapping))


def _takes_likeliest(parameters: Mapping[str, Any]) -> bool:
    temperature, tokens = parameters.get("temperature"), parameters.get("top_k")
    cold = isinstance(temperature, int | float) and temperature < LEAST_TEMPERATURE
    return cold or parameters.get("do_sample") is False or (tokens == 1 and tokens is not True)


def as_json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema: given as such, or that of a pydantic model.

    :raises ValueError: it is neither
    """
    # pydantic and jsonschema are imported only for a schema: the import is slow, and most batches have none.
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
        hint = " Parse the text first: json.loads(…)." if isinstance(schema, str) else " Give a dict or a class."
        raise ValueError(
            f"response_schema must be a JSON schema or a pydantic model, not {type(schema).__name__}.{hint}"
        )
    # As the engine will read it: there is no tuple in it, and every name is a text.
    found: dict[str, Any] = plain("response_schema", schema)
    try:
        _check_schema(found)
    except RecursionError:
        raise ValueError("response_schema is nested too deeply") from None
    return found


def _check_schema(schema: dict[str, Any]) -> None:
    """
    :raises ValueError: it is not a valid schema
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(schema.get("$schema", ""), str):
        raise ValueError(f"response_schema is not a valid JSON schema: $schema is {schema['$schema']!r}, not a text")
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"response_schema is not a valid JSON schema: {error.message}") from None
    except ValueError as error:  # the standard library's, of an address
        raise ValueError(
            f"response_schema is not a valid JSON schema: $schema is {schema['$schema']!r} ({error}). Leave it out, or "
            "give the address of a draft"
        ) from None
    check_references(schema)


def value_in(text: str) -> Any:
    """The JSON value in an answer, without the thoughts and the Markdown fence that models put around it.

    :raises ValueError: there is none; NaN and infinity are not valid JSON
    """
    problem = ValueError("nothing")
    for candidate in _candidates(text.strip().removeprefix("\ufeff")):
        try:
            return json.loads(candidate, parse_constant=_number, parse_float=_number)
        except ValueError as error:
            problem = error
    raise problem


def _candidates(text: str) -> Iterator[str]:
    """The parts of an answer that may be the JSON, the likeliest first. A text that is JSON is used unchanged."""
    yield text
    ends = [found.end() for found in _END_OF_THOUGHTS.finditer(text)]
    # The first closing tag ends the thoughts, unless they mention the tag. A text in the JSON may also contain it.
    behind = dict.fromkeys(text[end:].strip() for end in (*ends[:1], *ends[-1:]))
    yield from behind
    for part in behind or (text,):
        pieces = part.split(_FENCE)
        if len(pieces) in (2, 3, 4):  # one pair of fences, and perhaps an unclosed one; or the end of one is missing
            language = _LANGUAGE.match(pieces[1])
            yield pieces[1][language.end() if language else 0 :].strip()
        if len(pieces) == 2 and not pieces[1].strip():  # the prompt has its beginning
            yield pieces[0].strip()


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text}, which is not a JSON number")
    return value


class SchemaCheck:
    """Takes an answer and gives the same with its text parsed; raises `InvalidOutputError` for one that does not
    fit."""

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema.validators import validator_for

        self._validator = validator_for(schema)(schema)
        self._parts = parts_of(schema)
        self._process: SchemaProcess | None = SchemaProcess(schema)

    def __call__(self, result: InferenceResult, request: object = None) -> InferenceResult:
        """The answer with its texts as values.

        :param request: not needed
        :raises InvalidOutputError: a text is not valid for the schema
        """
        several = isinstance(result.output, list)  # of `n` texts each has to fit
        values = [self._value_of(text, result) for text in (result.output if several else [result.output])]
        return replace(result, output=values if several else values[0])

    def close(self) -> None:
        """End the process that checks what may take long, where there is one."""
        if self._process is not None:
            self._process.close()

    def _value_of(self, text: Any, result: InferenceResult) -> Any:
        try:
            value = value_in(text)
        except (AttributeError, ValueError, RecursionError) as error:  # a message without text
            cut = ", truncated at its token limit" if result.truncated else ""
            words = f"no JSON{cut}: {str(text)[:200]!r}"
            raise InvalidOutputError(words, usage=result.usage) from error
        try:
            problem = self._problem(value, len(text))
        except CheckTooLongError:
            words = f"more than {CHECK_SECONDS:g} s for a text of {len(text)} characters: {text[:200]!r}"
            raise UncheckedOutputError(words, usage=result.usage) from None
        except (RecursionError, ArithmeticError) as error:
            words = "nested too deeply" if isinstance(error, RecursionError) else "a number too large"
            raise InvalidOutputError(f"{words} to be checked", usage=result.usage) from None
        if problem is not None:
            raise InvalidOutputError(problem, usage=result.usage)
        return value

    def _problem(self, value: Any, size: int) -> str | None:
        """What is wrong with a value that was a text of so many characters."""
        at_hand = self._parts is not None and self._parts * size <= MOST_STEPS
        if self._process is not None and not at_hand:
            try:
                return self._process.problem(value)
            except OSError as error:
                self._process = None
                log.warning(
                    "No process can be started that checks answers (%s), so each answer is checked in this one. The "
                    "batch stands still if the check of an answer takes long, for example by a pattern in "
                    "response_schema",
                    error,
                )
        return first_problem(self._validator, value)
