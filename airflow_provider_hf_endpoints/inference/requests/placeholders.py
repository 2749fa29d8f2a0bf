"""Puts a row's columns into the text of a request: `"Summarise: {text}"`.

A placeholder is only a column's name: no attribute, no index, no format. So neither a
template nor a row can reach anything but the row. `{{` and `}}` are literal braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, MissingColumnError

Row = Mapping[str, Any]
Render = Callable[[Row], Any]

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class TemplateError(BatchInputError):
    """A template that is not valid."""


def columns_of(template: Any) -> list[str]:
    """The columns in a template, in order, each once. Looks into lists and dicts."""
    match template:
        case str():
            names = [part for part in _parse(template) if isinstance(part, _Column)]
            return list(dict.fromkeys(part.name for part in names))
        case Mapping():
            return list(dict.fromkeys(name for value in template.values() for name in columns_of(value)))
        case list() | tuple():
            return list(dict.fromkeys(name for value in template for name in columns_of(value)))
        case _:
            return []


def compile_text(template: str) -> Callable[[Row], str]:
    """A function from a row to the text with every placeholder filled in.

    It raises `MissingColumnError` for a missing column and `BatchInputError` for a null,
    because a prompt with a missing part costs as much as any other.

    :raises TemplateError: a lone brace or an empty placeholder
    """
    parts = _parse(template)
    if all(isinstance(part, str) for part in parts):
        constant = "".join(part for part in parts if isinstance(part, str))
        return lambda row: constant

    def render(row: Row) -> str:
        return "".join([part if isinstance(part, str) else part.text(row) for part in parts])

    return render


def compile_value(
    template: Any,
    *,
    scalars_as_text: bool = False,
    nulls: bool = True,
    special: Callable[[Mapping[str, Any]], Render | None] = lambda part: None,
) -> Render:
    """The same for a template of any JSON shape. A text that is one placeholder becomes the column's value
    itself.

    :param scalars_as_text: whether single numbers and booleans become text; lists and objects do not
    :param nulls: whether a single column may be null
    :param special: compiles an object that is not only JSON; None for one that is
    """
    inside = partial(compile_value, scalars_as_text=scalars_as_text, nulls=nulls, special=special)
    match template:
        case str():
            parts = _parse(template)
            if len(parts) == 1 and isinstance(parts[0], _Column):
                column = parts[0]
                if scalars_as_text:
                    return column.text_or_json
                return column.value if nulls else column.given
            return compile_text(template)
        case Mapping() if (render := special(template)) is not None:
            return render
        case Mapping():
            items = [(key, inside(value)) for key, value in template.items()]
            return lambda row: {key: render(row) for key, render in items}
        case list() | tuple():
            renders = [inside(value) for value in template]
            return lambda row: [render(row) for render in renders]
        case _:
            return lambda row: template


class _Column:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def value(self, row: Row) -> Any:
        """The column's value; null if the row lacks the column, because some JSON writers omit nulls."""
        return row.get(self.name)

    def given(self, row: Row) -> Any:
        value = row.get(self.name)
        if value is None:
            if self.name not in row:
                raise MissingColumnError(self.name, row)
            raise BatchInputError(f"column {self.name!r} is null")
        return value

    def text(self, row: Row) -> str:
        value = self.given(row)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def text_or_json(self, row: Row) -> Any:
        value = self.value(row)
        return value if isinstance(value, list | dict) else self.text(row)


def _parse(template: str) -> list[str | _Column]:
    """Literal texts and columns, in order."""
    parts: list[str | _Column] = []
    literal = ""
    end = 0
    for match in _PART.finditer(template):
        literal += template[end : match.start()]
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            literal += token[0]
        elif match.group(1):
            if literal:
                parts.append(literal)
            literal = ""
            parts.append(_Column(match.group(1)))
        else:
            raise TemplateError(
                f"template {template[:80]!r} contains a single {token!r} at {match.start()}. Write '{{COLUMN}}' for "
                f"the value of a column, and '{{{{' or '}}}}' for a literal brace"
            )
    literal += template[end:]
    if literal or not parts:
        parts.append(literal)
    return parts
