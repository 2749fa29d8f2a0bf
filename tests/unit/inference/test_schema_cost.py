"""Checks of answers that would take forever: they are recognised before, run in another process, and ended there."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.requests import structured
from airflow_provider_hf_endpoints.inference.requests.pattern_cost import steps_of
from airflow_provider_hf_endpoints.inference.requests.schema_cost import MOST_STEPS, parts_of
from airflow_provider_hf_endpoints.inference.requests.schema_process import CheckTooLongError, SchemaProcess
from airflow_provider_hf_endpoints.inference.requests.structured import (
    InvalidOutputError,
    SchemaCheck,
    UncheckedOutputError,
    as_json_schema,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage
from tests.contract.inference_server import chat_reply, serving

SECONDS = 0.05  # of the processor, for a check that would take for ever


def doubling(depth: int) -> dict[str, Any]:
    """A schema without recursion that asks twice of the same value at each level."""
    parts: dict[str, Any] = {
        f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(depth)
    }
    return {"$defs": {**parts, f"a{depth}": {"type": "string"}}, "$ref": "#/$defs/a0"}


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


TWICE = {"anyOf": [{"properties": {"a": {"$ref": "#/$defs/t"}}, "required": [name]} for name in "bc"]}
ITSELF = {"anyOf": [{"properties": {"a": {"$dynamicRef": "#t"}}, "required": [name]} for name in "bc"]}
#: Schemas and values: each check would take minutes at least.
ENDLESS: dict[str, tuple[dict[str, Any], Any]] = {
    "nested": ({"pattern": "(a+)+$"}, "a" * 50 + "b"),
    "beside each other": ({"pattern": "^(.*a){25}$"}, "a" * 60 + "b"),
    "alternatives": ({"properties": {"x": {"pattern": "^(a|a)*$"}}}, {"x": "a" * 60 + "b"}),
    "may be left out": ({"pattern": "a?" * 40 + "a" * 40}, "a" * 40),
    "the square": ({"pattern": "a+$"}, "a" * 400_000 + "b"),
    "inside not": ({"items": {"not": {"pattern": "(x+x+)+y"}}}, ["x" * 60]),
    "names": ({"patternProperties": {"(a+)+$": {}}}, {"a" * 50 + "b": 1}),
    "other names": ({"patternProperties": {"(a+)+$": {}}, "additionalProperties": False}, {"a" * 50 + "b": 1}),
    "names of names": ({"propertyNames": {"pattern": "(a+)+$"}}, {"a" * 50 + "b": 1}),
    "all different": ({"uniqueItems": True}, [{"a": n} for n in range(20_000)]),
    "levels": (doubling(40), 1),
    "recursion": ({"$defs": {"t": TWICE}, "$ref": "#/$defs/t"}, deep(60)),
    "dynamic": ({"$defs": {"t": {"$dynamicAnchor": "t", **ITSELF}}, "$ref": "#/$defs/t"}, deep(60)),
    "words": ({"items": {"enum": [f"word {n}" for n in range(20_000)]}}, ["word 19999"] * 20_000),
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check ends after hardly any time."""
    monkeypatch.setattr(SchemaProcess.__init__, "__defaults__", (SECONDS,))


def answer(value: Any) -> InferenceResult:
    return InferenceResult(json.dumps(value), "stop", Usage(3, 5))


@pytest.mark.parametrize("name", ENDLESS)
def test_a_check_without_end_is_ended(name: str, soon: None) -> None:
    """The row gets an error that names the cause and is not sent again; the next answer is checked as usual."""
    schema, value = ENDLESS[name]
    check = SchemaCheck(as_json_schema(schema))
    try:
        with pytest.raises(UncheckedOutputError, match=r"stopped: more than .*Simplify the schema") as caught:
            check(answer(value))
        assert (False, "caller", Usage(3, 5)) == (caught.value.retryable, caught.value.fault, caught.value.usage)
        if "pattern" in schema:
            assert 7 == check(answer(7)).output
    finally:
        check.close()


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"pattern": {"type": "string"}, "uniqueItems": {"const": True}}},
        {"pattern": r"^\d{4}-\d{2}-\d{2}$"},
        {"patternProperties": {"^x-": {"type": "string"}}, "uniqueItems": False},
        {"$defs": {"a": {"enum": ["x", "y"]}}, "items": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}},
        {"format": "email", "enum": ["(a+)+$"]},
    ],
)
def test_what_most_schemas_ask_is_checked_at_hand(schema: dict[str, Any]) -> None:
    """No process is started for a schema whose check takes as long as its text warrants."""
    assert MOST_STEPS / 100_000 > (parts_of(as_json_schema(schema)) or MOST_STEPS)


def test_the_words_of_a_check_are_the_same_in_both_places() -> None:
    """The words about the error are the same, whether the schema has a pattern or not; so are numbers, depth and half
    characters.
    """
    plain: dict[str, Any] = {"properties": {"a": {"type": "string"}, "n": {"multipleOf": 0.1}}, "items": {"items": {}}}
    at_hand = SchemaCheck(as_json_schema(plain))
    elsewhere = SchemaCheck(as_json_schema({**plain, "uniqueItems": True}))
    texts = ['{"a": 1}', '{"a": "x"}', '{"a": "\\ud800"}', '{"n": 1e400}', '{"n": 1' + "0" * 400 + "}", "[[1]]"]
    try:
        for text in [*texts, "[" * 900 + "]" * 900]:
            assert said(at_hand, text) == said(elsewhere, text), text
    finally:
        elsewhere.close()


def said(check: SchemaCheck, text: str) -> Any:
    try:
        return check(InferenceResult(text)).output
    except InvalidOutputError as error:
        return str(error)


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [
        (r"^\d{4}-\d{2}-\d{2}$", 1),
        ("^[A-Z]{2,3}$", 2),
        ("^[^]a]+$", 1),
        ("^(foo|bar|baz)-[0-9]+$", 3),
        ("#[0-9a-f]{6}", 1),
        ("", 1),
        *((each, None) for each in ("a+$", "^a+b+", "(a+)+", "^(a|b)*$", "^a|b+", r"(.)\1", "(?=a)b", "^(a?){30}")),
        ("a?" * 30, None),
        ("^x{0,2000}", None),
    ],
)
def test_a_pattern_is_harmless_only_where_that_is_sure(pattern: str, steps: int | None) -> None:
    """One repetition without end, behind `^`, and few ways otherwise."""
    assert steps == steps_of(pattern)


def test_a_process_that_was_ended_is_replaced() -> None:
    """By any process that ends others; the answer is checked nevertheless."""
    process = SchemaProcess({"type": "string"})
    try:
        assert None is process.problem("x")
        assert process._process is not None
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        assert "$: 1 is not of type 'string'" == process.problem(1)
    finally:
        process.close()


def test_a_process_ends_with_the_one_that_began_it() -> None:
    """It reads the end of its input, whatever ended the other."""
    process = SchemaProcess({})
    assert None is process.problem(1)
    child = process._process
    assert child is not None
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    assert 0 == child.wait(60)
    child.stdout.close()


def test_a_check_without_end_is_ended_in_any_thread() -> None:
    """A batch that is started within an event loop runs in a separate thread, which no signal reaches."""
    caught: list[Exception] = []

    def check() -> None:
        process = SchemaProcess({"pattern": "(a+)+$"}, SECONDS)
        try:
            process.problem("a" * 50 + "b")
        except CheckTooLongError as error:
            caught.append(error)
        finally:
            process.close()

    thread = threading.Thread(target=check)
    thread.start()
    thread.join(60)
    assert [CheckTooLongError] == [type(error) for error in caught]


def test_where_no_process_can_be_started_the_answer_is_checked_at_hand(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says what may happen."""
    monkeypatch.setattr(sys, "executable", None)
    check = SchemaCheck({"pattern": "b+$"})
    with caplog.at_level(logging.WARNING):
        assert ["b", "b"] == check(InferenceResult(['"b"', '"b"'])).output
        with pytest.raises(InvalidOutputError):
            check(InferenceResult('"a"'))
    assert 1 == caplog.text.count("No process can be started that checks answers")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SchemaProcess]]:
    """Every process of the test's batches."""
    found: list[SchemaProcess] = []

    class Noted(SchemaProcess):
        def __init__(self, schema: Any) -> None:
            super().__init__(schema, SECONDS)
            found.append(self)

    monkeypatch.setattr(structured, "SchemaProcess", Noted)
    yield found
    for each in found:
        each.close()


def test_one_answer_without_end_is_one_error_of_a_batch(tmp_path: Path, processes: list[SchemaProcess]) -> None:
    """The other rows are answered, the row is sent once, its tokens count as discarded, and no process stays."""
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(5)))
    slow = '"' + "a" * 50 + 'b"'
    with serving(lambda request: chat_reply(slow if "t3" in str(request.body) else '"aa"')) as server:
        job = BatchJob(
            url=server.url,
            task="chat-completion",
            input_path=tmp_path / "in.jsonl",
            output_path=tmp_path / "out.jsonl",
            prompt="{text}",
            engine="vLLM",
            model="m",
            response_schema={"pattern": "(a+)+$"},
        )
        report = run_batch(job)
        assert 5 == len(server.posts)
    assert (4, {"unchecked_output": 1}) == (report.succeeded, report.errors)
    assert 0 < report.discarded_tokens
    assert [None] == [each._process for each in processes]
