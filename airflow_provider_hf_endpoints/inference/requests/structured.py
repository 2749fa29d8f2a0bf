"""Answers that have to fit a JSON schema: which schema is meant, and the check of an answer when it comes.

How an engine is asked to keep to a schema is a trait of its dialect. An engine that does not know the setting ignores
it silently, so the check is not left to the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```\w*\s*\n(.*?)\n?\s*```", re.DOTALL)


class InvalidOutputError(MalformedAnswerError):
    """The engine answered, and the text does not fit the schema that was asked for."""

    what = "The text does not fit the response_schema"
    todo = "Raise max_tokens if it was cut; not every engine and model keeps to a schema."


class SettledOutputError(InvalidOutputError):
    """The same at temperature 0, where the same request gives the same text."""

    retryable = False
    todo = "At temperature 0 asking again gives the same text. Raise max_tokens if it was cut, or the temperature."

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

        if issubclass(schema, BaseModel):
            return schema.model_json_schema()
    if not isinstance(schema, Mapping):
        raise ValueError(f"response_schema is a JSON schema or a pydantic model, not {type(schema).__name__}")
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    found = dict(schema)
    try:
        validator_for(found).check_schema(found)
    except SchemaError as error:
        raise ValueError(f"response_schema is no JSON schema: {error.message}") from None
    _check_references(found)
    return found


def _check_references(schema: dict[str, Any]) -> None:
    """Refuse a schema whose `$ref` leads nowhere: only an answer would show that, when it is paid.

    :raises ValueError: it names the reference
    """
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for reference in _references(schema):
        # What is below an `$id` of its own is looked up from there; only the answer's check can tell.
        if not reference.startswith("#"):
            continue
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(
                f"response_schema has a $ref that leads nowhere: {reference!r}. Define it below `$defs`"
            ) from None


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def bare_json(text: str) -> str:
    """An answer without what models put around JSON: their thoughts (`<think>…</think>`) and a fence of Markdown."""
    text = _THOUGHTS.sub("", text, count=1).strip()
    fenced = _FENCE.fullmatch(text)
    return text if fenced is None else fenced[1]


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
            value = json.loads(bare_json(text))
        except (TypeError, ValueError, RecursionError) as error:
            cut = ", cut at its token limit" if result.truncated else ""
            words = f"no JSON{cut}: {str(text)[:200]!r}"
            raise invalid(words, usage=result.usage) from error
        try:
            problem = next(iter(validator.iter_errors(value)), None)
        except RecursionError:
            raise invalid("nested too deeply to be checked", usage=result.usage) from None
        if problem is not None:
            raise invalid(f"{problem.json_path}: {problem.message}"[:500], usage=result.usage)
        return value

    def check(result: InferenceResult) -> InferenceResult:
        several = isinstance(result.output, list)  # of `n` texts each has to fit
        values = [value_of(text, result) for text in (result.output if several else [result.output])]
        return replace(result, output=values if several else values[0])

    return check
