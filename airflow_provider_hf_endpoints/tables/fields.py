"""What of a result goes into a column, and in which form a driver takes it. Decisions only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError


def picked(row: Mapping[str, Any], column: str, source: str) -> Any:
    """The value for a column.

    :param source: `output`, or a part of it: `output.summary`
    :raises BatchInputError: the output has no parts
    """
    field, *parts = source.split(".")
    value = row.get(field)
    for part in parts:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise BatchInputError(
                f"columns[{column!r}]={source!r} does not fit the row with id {row.get('id')!r}: its {field} is a "
                f"{type(value).__name__}, which has no parts. Give {field!r}, or run the batch with a response_schema"
            )
        value = value.get(part)
    return value


def schema_of(source: str, response_schema: Any) -> Any:
    """The JSON schema of a column's values; None if the schema does not say."""
    field, *parts = source.split(".")
    known = {"index": "integer", "attempts": "integer", "truncated": "boolean", "finish_reason": "string"}
    if field in known:
        return {"type": known[field]}
    if field == "usage":
        return {"type": "integer" if parts else "object"}
    if field == "error":
        return {"type": "integer" if parts == ["status"] else "string" if parts else "object"}
    schema = response_schema if field == "output" else None
    for part in parts:
        schema = schema.get("properties", {}).get(part) if isinstance(schema, Mapping) else None
    return dict(schema) if isinstance(schema, Mapping) else None


def as_parameter(value: Any, *, takes_lists: bool = False) -> Any:
    """A value as a parameter of a statement: what has parts is JSON, unless the column is an array.

    :param takes_lists: whether the column is an array of the database
    """
    if isinstance(value, list) and takes_lists:
        return value
    return fastjson.encode(value).decode() if isinstance(value, list | dict) else value
