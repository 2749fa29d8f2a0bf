"""A connection id -> the hook of a database. Refuses every other connection, with what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_hf_endpoints._packages import missing_package
from airflow_provider_hf_endpoints._redact import has_secret, redact
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError

_OF_DRIVERS = ("DatabaseError", "InterfaceError")  # of PEP 249: the bases of the errors of every driver
_SQLITE_PASSES = ("locked", "busy", "unable to open", "disk I/O")
_TEMPORARY = ("OperationalError", "InterfaceError")


class DatabaseFailedError(Exception):
    """The database failed, or cannot be reached. The task can be tried again.

    :param temporary: whether the database was away, and may be back in a moment
    """

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary


def hook_of(conn_id: str, who: str) -> Any:
    """The hook of a connection.

    :param who: the argument with the connection, for errors
    :raises BatchInputError: the connection does not lead to a database
    """
    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError as error:
        raise BatchInputError(missing_package(f"{who} with conn_id={conn_id!r}", "SQL")) from error
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise BatchInputError(
            f"{who}: there is no connection {conn_id!r}. Create it in Airflow, or correct conn_id"
        ) from error
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever the import of a hook raises
        raise BatchInputError(
            f"{who}: Airflow has no hook for connection {conn_id!r} of type {connection.conn_type!r} "
            f"({type(error).__name__}: {redact(str(error))}). Install the provider package of this database, or "
            "correct the type of the connection"
        ) from error
    if not isinstance(hook, DbApiHook):
        raise BatchInputError(
            f"{who}: connection {conn_id!r} of type {connection.conn_type!r} has the hook {type(hook).__name__}, which "
            "is not a DbApiHook, so it runs no SQL. Name the connection of a database"
        )
    return hook


def dialect_of(hook: Any) -> str:
    """The name of the database as SQLAlchemy has it: `postgresql`, `sqlite`, `duckdb`, …"""
    named = str(getattr(hook, "dialect_name", "default"))
    return str(getattr(hook, "conn_type", "")) if named == "default" else named


@contextlib.contextmanager
def connected(hook: Any, doing: str) -> Iterator[Any]:
    """A connection of the hook, which is closed at the end. What is not committed is rolled back.

    :param doing: for the error, as in "reading the query of input_rows"
    :raises DatabaseFailedError: for every error of the database's driver
    """
    try:
        with in_words(hook, doing):
            connection = hook.get_conn()
    except DatabaseFailedError:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may quote the whole address, with its password
        raise _failed(hook, doing, error) from None
    try:
        with in_words(hook, doing):
            yield connection
    finally:
        with contextlib.suppress(Exception):
            connection.close()


@contextlib.contextmanager
def in_words(hook: Any, doing: str) -> Iterator[None]:
    """Errors of a driver, with what was done, and without the secrets of the connection."""
    try:
        yield
    except Exception as error:
        if not is_of_driver(error):
            raise
        raise _failed(hook, doing, error) from None


def _failed(hook: Any, doing: str, error: Exception) -> DatabaseFailedError:
    return DatabaseFailedError(
        f"{doing} failed on connection {hook.get_conn_id()!r}: {type(error).__name__}: {shown(hook, error)}. "
        "Correct what the database says, or wait until it runs again, and try again; nothing is done twice",
        temporary=is_temporary(error),
    )


def shown(hook: Any, error: BaseException) -> str:
    """The words of an error on one line, without the secrets of the connection."""
    return redact(" ".join(str(error).split()), _secrets(getattr(hook, "connection", None)))


def _secrets(connection: Any) -> list[str]:
    """The password, and what the extra has under the name of a secret or looks like one."""
    found = [getattr(connection, "password", None)]
    waiting = [("", getattr(connection, "extra_dejson", None))]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend((str(key), each) for key, each in value.items())
        elif isinstance(value, list):
            waiting.extend((name, each) for each in value)
        elif isinstance(value, str) and has_secret(f"{name}={value}"):
            found.append(value)
    return [each for each in found if isinstance(each, str) and each]


def roll_back(connection: Any) -> None:
    """End a transaction, if there is one. The connection may be lost."""
    with contextlib.suppress(Exception):
        connection.rollback()


def is_of_driver(error: BaseException) -> bool:
    """Whether a driver of a database has raised it."""
    return any(each.__name__ in _OF_DRIVERS for each in type(error).__mro__)


def is_temporary(error: BaseException) -> bool:
    """Whether the database was away, and may be back in a moment.

    SQLite raises the same error for wrong SQL and for a file that another process locks.
    """
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in _SQLITE_PASSES)
    return any(each.__name__ in _TEMPORARY for each in type(error).__mro__)
