"""The rows of a query, in groups, with little memory: a cursor on the server where the driver has one."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.snapshot import Opened
from airflow_provider_hf_endpoints.tables.connecting import connected, dialect_of, hook_of, in_words
from airflow_provider_hf_endpoints.tables.sql_rows import WORDS, SqlRows
from airflow_provider_hf_endpoints.tables.values import PLAIN, NotJsonError, to_json

_DOING = f"reading {WORDS}"


@contextlib.contextmanager
def opened(rows: SqlRows) -> Iterator[Opened]:
    """Run the query.

    :raises BatchInputError: the connection does not lead to a database, or the query gives no rows with columns
    :raises DatabaseFailedError: the database refuses the query, or failed
    """
    hook = hook_of(rows.conn_id, "input_rows")
    with connected(hook, _DOING) as connection, contextlib.closing(_cursor(hook, connection)) as cursor:
        cursor.execute(rows.sql.strip().rstrip(";"))
        group = cursor.fetchmany(rows.rows_per_fetch) if cursor.description or _is_named(cursor) else []
        if not cursor.description:
            raise BatchInputError(f"{WORDS} is not a query: it gives no rows. Give one SELECT as sql")
        columns = [str(each[0]) for each in cursor.description]
        yield columns, _groups(hook, cursor, group, columns, rows.rows_per_fetch)


def _is_named(cursor: Any) -> bool:
    """Whether the cursor is on the server. That of psycopg 2 knows its columns after the first rows alone."""
    return bool(getattr(cursor, "name", None))


def _cursor(hook: Any, connection: Any) -> Any:
    """A cursor that does not fetch all rows at once. Other drivers have no other cursor, or fetch in parts anyway."""
    match dialect_of(hook):
        case "postgresql" | "postgres" | "redshift":
            with contextlib.suppress(TypeError):  # a driver without cursors on the server
                return connection.cursor(name=f"hf_{uuid.uuid4().hex[:12]}")
        case "mysql":
            with contextlib.suppress(ImportError):
                from MySQLdb.cursors import SSCursor  # type: ignore[import-untyped]

                return connection.cursor(SSCursor)
    return connection.cursor()


def _groups(
    hook: Any, cursor: Any, group: list[Any], columns: list[str], at_a_time: int
) -> Iterator[list[tuple[Any, ...]]]:
    number = 0
    while group:
        yield [_row(each, columns, number + place) for place, each in enumerate(group, 1)]
        number += len(group)
        with in_words(hook, _DOING):
            group = cursor.fetchmany(at_a_time)


def _row(values: Any, columns: list[str], number: int) -> tuple[Any, ...]:
    """
    :param number: of the row, from 1
    :raises BatchInputError: a value has no form in JSON
    """
    if isinstance(values, dict):  # a connection of PostgreSQL may be set to such rows
        values = [values[name] for name in columns]
    if all(type(value) in PLAIN for value in values):
        return tuple(values)
    return tuple(
        value if type(value) in PLAIN else _as_json(value, columns[place], number) for place, value in enumerate(values)
    )


def _as_json(value: Any, column: str, number: int) -> Any:
    try:
        return to_json(value)
    except NotJsonError as error:
        raise BatchInputError(
            f"{WORDS}: column {column!r} has a value of type {error} in row {number}, which JSON does not support. "
            "Leave the column out of the query, or convert it to text there (bytes as base64 or hex, a duration in "
            "seconds)"
        ) from None
