"""Answers that have to fit a JSON schema: asked for in the engine's own dialect, and checked when they come.

An engine that does not know the setting ignores it silently, so the check is not left to the engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from airflow_provider_hf_endpoints.inference.engines import Dialect, canonical_task
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, GENERATE
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


class InvalidOutputError(MalformedAnswerError):
    """The engine answered, and the text does not fit the schema that was asked for."""

    what = "The text does not fit the response_schema"
    todo = "Raise max_tokens if it was cut; not every engine and model keeps to a schema."


def as_json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema that is meant: one itself, or that of a pydantic model.

    :raises ValueError: it is neither
    """
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_json_schema()
    if not isinstance(schema, Mapping):
        raise ValueError(f"response_schema is a JSON schema or a pydantic model, not {type(schema).__name__}")
    # Here, for it is a sixth of what a process takes to start that sends a batch, and most batches need none of it.
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    found = dict(schema)
    try:
        validator_for(found).check_schema(found)
    except SchemaError as error:
        raise ValueError(f"response_schema is no JSON schema: {error.message}") from None
    return found


def parameters_for(dialect: Dialect, task: str, schema: dict[str, Any], engine: str | None = None) -> dict[str, Any]:
    """What to send so that the engine keeps to the schema.

    For chats all engines know OpenAI's `response_format`. On `/v1/completions`, which OpenAI gave none, vLLM takes it
    too, llama.cpp its own `json_schema` and SGLang the same as a text.

    :param engine: which engine it is, lower case, where known
    :raises UnsupportedTaskError: the engine cannot be asked to
    """
    name = canonical_task(task)
    if dialect is Dialect.TGI and name == CHAT:
        return {"response_format": {"type": "json_object", "value": schema}}
    if dialect is Dialect.TGI and name == GENERATE:
        return {"grammar": {"type": "json", "value": schema}}
    if name == GENERATE and engine == "llamacpp":
        return {"json_schema": schema}
    if name == GENERATE and engine == "sglang":
        return {"json_schema": json.dumps(schema)}
    if name == CHAT or (dialect is Dialect.OPENAI and name == GENERATE):
        wanted = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": wanted}}
    raise UnsupportedTaskError(f"response_schema is for texts; {name!r} gives none, or its engine takes no schema")


def checker(schema: dict[str, Any]) -> Callable[[InferenceResult], InferenceResult]:
    """A function from an answer to the same with its text parsed; it raises `InvalidOutputError` for one that does
    not fit."""
    from jsonschema.validators import validator_for

    validator = validator_for(schema)(schema)

    def check(result: InferenceResult) -> InferenceResult:
        try:
            value = json.loads(result.output)
        except (TypeError, ValueError) as error:
            cut = ", cut at its token limit" if result.truncated else ""
            words = f"no JSON{cut}: {str(result.output)[:200]!r}"
            raise InvalidOutputError(words, usage=result.usage) from error
        problem = next(iter(validator.iter_errors(value)), None)
        if problem is not None:
            raise InvalidOutputError(f"{problem.json_path}: {problem.message}"[:500], usage=result.usage)
        return replace(result, output=value)

    return check
