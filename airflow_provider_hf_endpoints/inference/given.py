"""What a user gives and what becomes JSON: parameters, templates, schemas, inputs of one call. Taken as JSON has it, or
refused by name.

A writer of JSON takes more than JSON has, and each writer does something else with it: a set becomes a list in any
order, bytes become base64, a date becomes a text. The user does not see what was sent. So a value is converted only if
there is one way: tuples, mappings of any kind, whole numbers as names, and subclasses of numbers and texts (NumPy's, an
enum of texts).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any
from uuid import UUID


def plain(name: str, value: Any) -> Any:
    """A value in the types of JSON.

    :param name: of the argument
    :raises ValueError: with the place of what JSON has no form of, and what to give in its place
    """
    try:
        return _plain(name, value)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None


def _plain(where: str, value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case Integral():
            return int(value)
        case Real() if not isinstance(value, Decimal):
            if not isfinite(value):
                raise ValueError(f"{where} contains NaN or infinity, which JSON does not support: {value!r}")
            return float(value)
        case Mapping():
            return _object(where, value)
        case list() | tuple():
            return [_plain(f"{where}[{n}]", each) for n, each in enumerate(value)]
        case _:
            shown = repr(value)
            shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
            raise ValueError(
                f"{where} cannot be written as JSON: it is {_called(value)}, {shown}. Give {_instead(value)}"
            )


def _object(where: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        if isinstance(key, str):
            name = str.__str__(key)
        elif isinstance(key, Integral) and not isinstance(key, bool):
            name = str(int(key))
        else:
            raise ValueError(f"{where} cannot be written as JSON: the name {key!r} is not a text. Give a text")
        if name in found:
            raise ValueError(
                f"{where} cannot be written as JSON: it has the name {name!r} twice, as number and as text"
            )
        found[name] = _plain(f"{where}[{key!r}]", each)
    return found


def _called(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _instead(value: Any) -> str:
    """What to give in place of a value."""
    match value:
        case Set() | range():
            return "a list"
        case bytes() | bytearray() | memoryview():
            return "a text, such as base64.b64encode(...).decode()"
        case date() | time():
            return "a text, such as its isoformat()"
        case timedelta():
            return "a number of seconds, such as its total_seconds()"
        case Decimal():
            return "a float or a text"
        case PurePath() | UUID():
            return "a text, such as str(...)"
        case Enum():
            return "its value"
        case _ if isinstance(value, type) or callable(value):
            return "a value"
        case _ if hasattr(value, "model_dump"):
            return "a mapping, such as its model_dump()"
        case _ if hasattr(value, "tolist"):  # an array, or one of its values
            return "a list or a number, such as its tolist()"
        case _ if dataclasses.is_dataclass(value):
            return "a mapping, such as dataclasses.asdict(...)"
        case _ if hasattr(value, "__iter__"):
            return "a list"
        case _:
            return "a text, a number, a list or a mapping"
