"""What a Parquet column is as JSON: one rule for every Arrow type, decided by a file's schema before any row.

Numbers, truth values, text and null are what they are; lists, structs and maps with text keys are arrays and objects of
such. Dates and times become ISO 8601 (to the microsecond, with their offset where they have one), decimals text, so
that no digit is lost. Bytes, durations and types of one's own have no form that everybody would expect, so a column of
them is refused, if the batch needs it at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import types

#: From a value as Python has it to one that JSON has; None where they are the same.
Convert = Callable[[Any], Any] | None


class NoJsonError(Exception):
    """A type that has no form in JSON."""


def converter(kind: Any) -> Convert:
    """How values of an Arrow type become JSON.

    :raises NoJsonError: they do not
    """
    if types.is_dictionary(kind):
        return converter(kind.value_type)
    if any(is_plain(kind) for is_plain in _PLAIN):
        return None
    if types.is_temporal(kind) and not types.is_duration(kind) and not types.is_interval(kind):
        return _unless_null(lambda value: value.isoformat())
    if types.is_decimal(kind):
        return _unless_null(str)
    if types.is_map(kind):
        return _map(kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        each = converter(kind.value_type)
        return None if each is None else _unless_null(lambda values: [each(value) for value in values])
    if types.is_struct(kind):
        fields = {kind.field(n).name: converter(kind.field(n).type) for n in range(kind.num_fields)}
        changed = {name: change for name, change in fields.items() if change is not None}
        if not changed:
            return None
        return _unless_null(lambda row: {**row, **{name: change(row[name]) for name, change in changed.items()}})
    raise NoJsonError(str(kind))


_PLAIN = (
    types.is_boolean,
    types.is_integer,
    types.is_floating,
    types.is_string,
    types.is_large_string,
    types.is_null,
)


def _map(kind: Any) -> Convert:
    if not (types.is_string(kind.key_type) or types.is_large_string(kind.key_type)):
        raise NoJsonError(str(kind))
    item = converter(kind.item_type)
    return _unless_null(lambda pairs: {key: value if item is None else item(value) for key, value in pairs})


def _unless_null(change: Callable[[Any], Any]) -> Convert:
    return lambda value: None if value is None else change(value)


def to_microseconds(kind: Any) -> Any:
    """The type with its times in microseconds, the finest that Python has; the type itself where it has no finer."""
    if types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if types.is_list(kind):
        return pa.list_(to_microseconds(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(to_microseconds(kind.value_type))
    if types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([field.with_type(to_microseconds(field.type)) for field in fields])
    return kind
