"""Templates over columns: what is filled in, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, MissingColumnError
from airflow_provider_hf_endpoints.inference.requests.placeholders import (
    TemplateError,
    columns_of,
    compile_text,
    compile_value,
)

ROW: dict[str, Any] = {"text": "hello {name}", "n": 5, "flag": True, "list": [1, "ü"], "none": None, "a b.c[0]": "odd"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Summarise: {text}", "Summarise: hello {name}"),
        ("{n} {flag}", "5 true"),
        ("{list}", '[1, "ü"]'),
        ('{{"json": {n}}}', '{"json": 5}'),
        ("{{text}}", "{text}"),
        ("{a b.c[0]}", "odd"),
        ("no column", "no column"),
        ("", ""),
    ],
)
def test_a_placeholder_is_filled_with_its_column(template: str, text: str) -> None:
    """Text as it is, other values as JSON; doubled braces are literal; what a column holds is never a template."""
    assert text == compile_text(template)(ROW)


@pytest.mark.parametrize("template", ["{", "}", "{}", "a } b", "{text", "{a{b}}"])
def test_a_lone_brace_is_refused(template: str) -> None:
    """A brace that is not a placeholder is an error with its place, not a guess."""
    with pytest.raises(TemplateError, match=r"contains a single .*Write .{COLUMN}. for the value"):
        compile_text(template)


@pytest.mark.parametrize("template", ["{text.__class__}", "{text[0]}", "{text!r}", "{n:>10}", "{0}"])
def test_a_placeholder_reaches_nothing_but_columns(template: str) -> None:
    """Attributes, indexes, conversions and formats of `str.format` are names of columns that are not there."""
    with pytest.raises(MissingColumnError, match="its columns: 'text', 'n'"):
        compile_text(template)(ROW)


def test_a_null_column_is_an_error() -> None:
    """A prompt about nothing costs as much as any other."""
    with pytest.raises(BatchInputError, match="column 'none' is null"):
        compile_text("Summarise: {none}")(ROW)


def test_a_body_keeps_the_types_of_its_columns() -> None:
    """A text that is one placeholder becomes the value; everything else is as written."""
    body = compile_value({"input": "{list}", "n": "{n}", "text": "x {n}", "nested": [{"k": "{flag}"}], "fix": 1.5})
    assert body(ROW) == {"input": [1, "ü"], "n": 5, "text": "x 5", "nested": [{"k": True}], "fix": 1.5}


def test_messages_keep_lists_and_make_text_of_the_rest() -> None:
    """A message's content may be parts; a number has to be text."""
    render = compile_value([{"content": "{n}"}, {"content": "{list}"}], scalars_as_text=True)
    assert render(ROW) == [{"content": "5"}, {"content": [1, "ü"]}]


def test_columns_are_found_in_any_shape() -> None:
    """Each once, in order, literal braces not among them."""
    assert columns_of({"a": "{x} {y}", "b": ["{x}", {"c": "{{z}}{w}"}], "d": 5}) == ["x", "y", "w"]


@pytest.mark.parametrize(
    ("column", "present", "meant"),
    [("inputs", ["text"], "text"), ("inputs", ["id", "input"], "input"), ("messages", ["id", "text"], "COLUMN")],
)
def test_a_job_without_a_template_is_told_how_to_name_its_column(column: str, present: list[str], meant: str) -> None:
    """Such a job names no column itself, so the error says where the name comes from."""
    error = MissingColumnError(column, present)
    expected = f"Without a template, the column {column!r} is sent. To send another column, set prompt='{{{meant}}}'"
    assert str(error).endswith(expected)


@pytest.mark.parametrize("by", ["keep_columns names", "id_column names"])
def test_a_missing_column_that_another_argument_names_is_not_said_to_be_sent(by: str) -> None:
    """A prompt would not change it."""
    assert str(MissingColumnError("inputs", ["id", "input"], by=by)).endswith("'id', 'input'. Did you mean 'input'?")
