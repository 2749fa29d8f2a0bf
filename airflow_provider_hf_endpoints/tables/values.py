"""How a value of a database becomes JSON, by the same rule as a value of Parquet.

Text, numbers, booleans and null stay what they are. Dates and times become ISO 8601, decimals become text, so that no
digit is lost. Lists and mappings (arrays, JSON columns) keep their form. Bytes and durations have no obvious form.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

#: Types whose values are JSON already.
PLAIN = frozenset({str, int, float, bool, type(None)})


class NotJsonError(Exception):
    """A value whose type has no form in JSON; its text is the name of the type."""


def to_json(value: Any) -> Any:
    """
    :raises NotJsonError: there is no form
    """
    if type(value) in PLAIN:
        return value
    match value:
        case Decimal():
            return f"{value:f}"  # str writes 0.00000001 as 1E-8
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case UUID():
            return str(value)
        case Enum():
            return to_json(value.value)
        case bool() | int() | float() | str():
            return value
        case list() | tuple() | set():
            return [to_json(each) for each in value]
        case Mapping():
            return {str(name): to_json(each) for name, each in value.items()}
    if hasattr(value, "tolist") and not isinstance(
        value, memoryview
    ):  # a vector of NumPy, as pgvector's adapter gives it
        return to_json(value.tolist())
    raise NotJsonError(type(value).__name__)
