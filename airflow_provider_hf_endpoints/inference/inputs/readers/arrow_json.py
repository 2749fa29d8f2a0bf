"""How a Parquet column becomes JSON: one rule for each Arrow type, chosen by a file's schema before any row is read.

Numbers, booleans, text and null stay what they are. Lists, structs and maps with text keys become arrays and objects.
A field of a struct that is null is left out: Arrow gives every struct all fields, and a message without `tool_calls`
must not be sent with them. Dates and times become ISO 8601, with every digit and with their offset. Decimals become
text, so that no digit is lost. A map with two values for one key has no JSON form, so its row is an error. Bytes,
durations and custom types have no obvious JSON form, so a column of them is refused if the batch needs the column.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import types

#: From a Python value to a JSON value; None if they are the same.
Convert = Callable[[Any], Any] | None


class NoJsonError(Exception):
    """A type that has no form in JSON."""


def converter(kind: Any, *, binary: bool = False) -> Convert:
    """The conversion of an Arrow type's values to JSON.

    :param binary: whether bytes, also in a struct, become a data URL
    :raises NoJsonError: there is none
    """
    if types.is_dictionary(kind):
        return converter(kind.value_type, binary=binary)
    if binary and any(is_bytes(kind) for is_bytes in _BYTES):
        return _unless_null(lambda value: f"data:;base64,{b2a_base64(value, newline=False).decode()}")
    if isinstance(kind, pa.BaseExtensionType):
        return _extension(kind)
    if any(is_plain(kind) for is_plain in _PLAIN):
        return None
    if types.is_temporal(kind) and not types.is_duration(kind) and not types.is_interval(kind):
        zone = _zone(kind)
        if getattr(kind, "unit", "") == "ns":
            return _unless_null(_nanoseconds(zone, is_time=types.is_time(kind)))
        return _unless_null(lambda value: value.isoformat())
    if types.is_decimal(kind):
        return _unless_null(lambda value: f"{value:f}")  # str writes 0.00000001 as 1E-8
    if types.is_map(kind):
        return _map(kind)
    if any(is_list(kind) for is_list in _LISTS):
        each = converter(kind.value_type)
        return None if each is None else _unless_null(lambda values: [each(value) for value in values])
    if types.is_struct(kind):
        return _struct(kind, binary=binary)
    raise NoJsonError(str(kind))


_TEXT = (types.is_string, types.is_large_string, types.is_string_view)
_BYTES = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
_PLAIN = (
    types.is_boolean,
    types.is_integer,
    types.is_floating,
    types.is_null,
    *_TEXT,
)
_LISTS = (
    types.is_list,
    types.is_large_list,
    types.is_fixed_size_list,
    types.is_list_view,
    types.is_large_list_view,
)
#: Arrow's own extension types with an obvious form: a text of JSON, a UUID, a boolean in a byte.
_EXTENSIONS: dict[str, Convert] = {
    "arrow.json": None,
    "arrow.uuid": lambda value: None if value is None else str(value),
    "arrow.bool8": None,
}


def _extension(kind: Any) -> Convert:
    name = getattr(kind, "extension_name", "")
    if name not in _EXTENSIONS:
        raise NoJsonError(str(kind))
    return _EXTENSIONS[name]


def _map(kind: Any) -> Convert:
    if not any(is_text(kind.key_type) for is_text in _TEXT):
        raise NoJsonError(str(kind))
    item = converter(kind.item_type)

    def change(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = {key: value if item is None else item(value) for key, value in pairs}
        if len(found) != len(pairs):
            raise ValueError("a key of the map is duplicated")
        return found

    return _unless_null(change)


def _zone(kind: Any) -> Any:
    """The time zone of a type, None if the type has none."""
    zone = getattr(kind, "tz", None)
    if zone is None:
        return None
    try:
        return pa.lib.string_to_tzinfo(zone)
    except (KeyError, ValueError, ImportError):
        raise NoJsonError(f"{kind} (the time zone is unknown here: install tzdata, or correct its name)") from None


def _nanoseconds(zone: Any, *, is_time: bool) -> Callable[[int], str]:
    """The conversion of a count of nanoseconds, of which Python's own types have no last three digits."""

    def change(value: int) -> str:
        microseconds, rest = divmod(value, 1000)
        at: Any = _EPOCH + timedelta(microseconds=microseconds)
        at = at.time() if is_time else at.replace(tzinfo=UTC).astimezone(zone) if zone is not None else at
        if not rest:
            return str(at.isoformat())
        text = at.isoformat(timespec="microseconds")
        end = text.index(".") + 7
        return f"{text[:end]}{rest:03}{text[end:]}"

    return change


_EPOCH = datetime(1970, 1, 1)


def _struct(kind: Any, *, binary: bool) -> Convert:
    if len({kind.field(n).name for n in range(kind.num_fields)}) < kind.num_fields:
        raise NoJsonError(f"{kind} (two fields have one name)")
    fields = {kind.field(n).name: converter(kind.field(n).type, binary=binary) for n in range(kind.num_fields)}

    def change(row: dict[str, Any]) -> dict[str, Any]:
        given = ((name, fields[name], value) for name, value in row.items() if value is not None)
        return {name: value if each is None else each(value) for name, each, value in given}

    return _unless_null(change)


def _unless_null(change: Callable[[Any], Any]) -> Convert:
    return lambda value: None if value is None else change(value)


def python_type(kind: Any) -> Any:
    """The type that has the same values in Python: nanoseconds as their number, halves as floats, others unchanged."""
    if (types.is_timestamp(kind) or types.is_time64(kind)) and kind.unit == "ns":
        return pa.int64()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_dictionary(kind):
        return python_type(kind.value_type)
    if types.is_map(kind):
        return pa.map_(kind.key_type, python_type(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(python_type(kind.value_type), kind.list_size)
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(python_type(kind.value_type))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(python_type(kind.value_type))
    if types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([field.with_type(python_type(field.type)) for field in fields])
    return kind
