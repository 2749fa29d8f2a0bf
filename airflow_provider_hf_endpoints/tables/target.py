"""A table that results go to: whether it is there and takes them, and what its columns are. Writes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.tables.connecting import (
    connected,
    dialect_of,
    hook_of,
    is_of_driver,
    roll_back,
    shown,
)
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable
from airflow_provider_hf_endpoints.tables.statements import Statements

WHO = "output_table"


def statements_for(hook: Any) -> Statements:
    """The SQL of the hook's database."""
    reserved: Sequence[str] = ()
    with contextlib.suppress(Exception):  # SQLAlchemy may not know the database
        reserved = hook.reserved_words
    return Statements(dialect_of(hook), hook.placeholder, frozenset(reserved))


def check_table(table: SqlTable, response_schema: Any = None) -> None:
    """Refuse a table that cannot take the results, before anything is sent.

    :param response_schema: the JSON schema of the batch
    :raises BatchInputError: with what does not fit
    :raises DatabaseFailedError: the database cannot be reached
    """
    hook = hook_of(table.conn_id, WHO)
    statements = statements_for(hook)
    with connected(hook, f"looking at table {table.table}") as connection:
        for name, columns in wanted(table, table.sources(response_schema)).items():
            require(hook, connection, statements, table, name, columns)


def wanted(table: SqlTable, sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The tables of a load, each with the columns that it fills."""
    more = [table.load_id_column] if table.mode == "append" else []
    found = {table.table: [table.key, *sources, *more]}
    if table.errors_table is not None:
        found[table.errors_table] = [table.key, "error", *more]
    return found


def require(
    hook: Any, connection: Any, statements: Statements, table: SqlTable, name: str, columns: Sequence[str]
) -> bool:
    """Whether the table is there; false if the load may create it.

    :param name: the table, or its table of errors
    :raises BatchInputError: it is missing, has other columns, or does not take rows
    """
    cursor = connection.cursor()
    try:
        cursor.execute(statements.look(name))
    except Exception as error:
        roll_back(connection)
        if not is_of_driver(error) or _is_away(error, statements):
            raise
        if table.create_table:
            return False
        raise BatchInputError(
            f"{WHO}: table {name!r} cannot be read ({shown(hook, error)}). Create it, or set create_table=True; "
            "correct its name, or grant SELECT on it"
        ) from None
    there = [str(each[0]) for each in cursor.description]
    _refuse_missing(table, name, columns, there)
    key = table.key if table.mode == "upsert" else None
    try:
        cursor.execute(statements.insert_from(name, columns, name, key, where="1 = 0"))
    except Exception as error:
        if not is_of_driver(error) or _is_away(error, statements):
            raise
        unique = f" With mode='upsert', {table.key!r} needs a unique index." if key and statements.upserts else ""
        raise BatchInputError(
            f"{WHO}: table {name!r} does not take the results ({shown(hook, error)}).{unique} Grant INSERT, and for "
            "other modes than append UPDATE or DELETE, to the user of the connection"
        ) from None
    finally:
        roll_back(connection)
    return True


def array_columns(connection: Any, statements: Statements, name: str) -> set[str]:
    """The columns that are arrays of the database; nothing for a database without them."""
    if statements.dialect not in ("postgresql", "duckdb"):
        return set()
    schema, _, only = name.replace('"', "").rpartition(".")
    mark = statements.mark
    where = f"table_name = {mark}" + (f" AND table_schema = {mark}" if schema else "")
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT column_name, data_type FROM information_schema.columns WHERE {where}",
        [only, *([schema] if schema else [])],
    )
    return {str(column) for column, kind in cursor.fetchall() if kind == "ARRAY" or str(kind).endswith("]")}


def _is_away(error: Exception, statements: Statements) -> bool:
    """Whether the database is away. SQLite has one class of errors for that and for a missing table."""
    return statements.dialect != "sqlite" and any(
        each.__name__ in ("OperationalError", "InterfaceError") for each in type(error).__mro__
    )


def _refuse_missing(table: SqlTable, name: str, columns: Sequence[str], there: Sequence[str]) -> None:
    known = {each.lower() for each in there}
    for column in columns:
        if column.strip('"`').lower() in known:
            continue
        if column == table.load_id_column and table.mode == "append":
            raise BatchInputError(
                f"{WHO}: table {name!r} has no column {column!r}, without which a load that is repeated would add its "
                "rows again. Add the column (a text), name another one as load_id_column, or use mode='upsert'"
            )
        near = get_close_matches(column, there, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BatchInputError(
            f"{WHO}: table {name!r} has no column {column!r}; its columns: {', '.join(map(repr, there))}.{hint} "
            "Correct key or columns, or add the column to the table"
        )
