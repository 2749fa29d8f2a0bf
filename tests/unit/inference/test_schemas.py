"""Schemas of answers, which are refused before anything is paid, and the JSON that is found in an answer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.requests.structured import (
    InvalidOutputError,
    SchemaCheck,
    as_json_schema,
    value_in,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

VALUE = {"a": 1}
TREE = {
    "$defs": {"t": {"properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}},
    "$ref": "#/$defs/t",
}


class WithoutSchema(BaseModel):
    function: Callable[[int], int]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        {"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"not": {"allOf": [{"$ref": "#/$defs/x"}]}}}},
    ],
)
def test_a_schema_that_asks_itself_for_ever_is_refused(schema: Any) -> None:
    """Each answer would be paid, and none could be checked."""
    with pytest.raises(ValueError, match=r"response_schema has a \$ref that leads back to itself"):
        as_json_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"items": {"$ref": "other.json#/a"}},
        {"$dynamicRef": "#nowhere"},
        {"components": {"x": {"$ref": "#/components/y"}}, "$ref": "#/components/x"},
        {"$id": "http://x/y", "$defs": {"t": {"$id": "http://x/t", "$ref": "#/$defs/q"}}, "$ref": "http://x/t"},
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_wherever_it_stands(schema: Any) -> None:
    """Another document counts as nowhere: none is fetched, neither now nor with each answer."""
    with pytest.raises(ValueError, match=r"response_schema has a \$ref without a target"):
        as_json_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {"const": {"$ref": "#/nowhere"}},
        {"enum": [{"$ref": "other.json"}]},
        {"properties": {"$ref": {"type": "string"}}},
        {"$defs": {"t": {"$anchor": "foo"}}, "$ref": "#foo"},
        {"$id": "http://x/y", "$defs": {"t": {"$id": "t"}}, "$ref": "t"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"t": {"$id": "#t"}}, "$ref": "#t"},
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "definitions": {"t": {"id": "#t"}},
            "items": {"$ref": "#t"},
        },
        {"$ref": "http://json-schema.org/draft-07/schema#"},
        {"components": {"x": {"type": "object"}}, "$ref": "#/components/x"},
    ],
)
def test_a_reference_that_leads_somewhere_passes(schema: Any) -> None:
    """By the rules of the schema's own draft; a text that only looks like a reference is not one."""
    assert schema == as_json_schema(schema)


def nested(depth: int) -> dict[str, Any]:
    """A schema whose properties go so deep."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        WithoutSchema,
        {"maximum": float("nan")},
        {"const": object()},
        {"$schema": 5},
        {"$schema": "http://[draft"},
        {"$id": "http://[me"},
        {"$id": "urn:me", "properties": {"a": {"$id": "http://[a", "type": "string"}}},
        {"$schema": ["https://json-schema.org/draft/2020-12/schema"]},
        *map(nested, (200, 400, 600, 2000)),
    ],
)
def test_what_cannot_be_a_schema_is_refused_as_an_argument(schema: Any) -> None:
    """Before anything is looked at or sent."""
    with pytest.raises(ValueError, match=r"^response_schema(\[.*\])? "):
        BatchJob(
            url="http://h",
            task="chat-completion",
            input_path="i",
            output_path="o",
            prompt="{t}",
            response_schema=schema,
        )


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '\ufeff {"a": 1}\n',
        '<think>{"a": 3}</think>{"a": 1}',
        'so {"a": 3}.</think>\n\n{"a": 1}',
        '<think>x</think><think>y</think>{"a": 1}',
        '<thinking>x</thinking>```json\n{"a": 1}\n```',
        '<seed:think>x</seed:think>{"a": 1}',
        '\u25c1think\u25b7x {"a": 3}\u25c1/think\u25b7{"a": 1}',
        '<|channel|>analysis<|message|>{"a": 3}<|end|><|start|>assistant<|channel|>final<|message|>{"a": 1}',
        '[THINK]x[/THINK]{"a": 1}',
        '```json {"a": 1}```',
        '```\n{"a": 1}\n```',
        '```json\n{"a": 1}',
        '{"a": 1}\n```\n',
        'Here it is:\n```json\n{"a": 1}\n```\nAnything else?',
    ],
)
def test_what_models_put_around_json_is_left_out(text: str) -> None:
    """Thoughts, also those whose beginning is in the prompt, and a fence with words about it."""
    assert value_in(text) == VALUE


@pytest.mark.parametrize("text", ['{"a": "</think>"}', '<think>x</think>{"a": "</think>"}', '{"a": "```x```"}'])
def test_signs_within_json_are_text(text: str) -> None:
    """A value that speaks of thoughts or fences stays whole."""
    assert value_in(text)["a"] in ("</think>", "```x```")


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": [-Infinity]}', '{"a": 1e999}', '```{}``` or ```{"a": 1}```', ""])
def test_no_value_is_made_up(text: str) -> None:
    """A number that JSON does not have would be written as null, unchecked; between two fences there is no rule to
    choose.
    """
    with pytest.raises(InvalidOutputError):
        SchemaCheck({})(InferenceResult(text))


def test_an_answer_whose_check_fails_is_invalid() -> None:
    """Whatever the arithmetic of the check cannot do."""
    with pytest.raises(InvalidOutputError, match="too large"):
        SchemaCheck({"multipleOf": 0.1})(InferenceResult("1" + "0" * 400))


@pytest.mark.parametrize(
    "text",
    [
        "```json\n" + " " * 20_000 + "x",
        "```json\n{" + "\n" * 100_000 + "x",
        "</think> x" * 30_000,
        "```" * 100_000,
        "``` " * 50_000 + "x",
        "```" + "a" * 300_000,
        "[" * 200_000,
        '{"a": ' * 50_000,
        '"\\u00' * 50_000,
    ],
    ids=["blanks", "lines", "thoughts", "fences", "fences apart", "a word", "brackets", "objects", "escapes"],
)
def test_an_answer_that_loops_is_refused_in_a_moment(text: str) -> None:
    """Models repeat themselves up to the limit of tokens; looking at such an answer held up all others, for minutes, or
    took a gigabyte."""
    began = process_time()
    tracemalloc.start()
    with pytest.raises((ValueError, RecursionError)):
        value_in(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 100 << 20 > most
    assert 5.0 > process_time() - began
