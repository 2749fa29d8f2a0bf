"""What an error of a database shows, and whether it passes. The hooks are stand-ins: no database is asked."""

from __future__ import annotations

import json
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.connection import Connection

from airflow_provider_hf_endpoints.tables.connecting import DatabaseFailedError, connected, is_temporary

SECRETS = ("pa55-word", "tok-en-123456", "deep-secret-9")


def hook_that_raises(error: Exception) -> Any:
    extra = {"session_token": SECRETS[1], "more": [{"client_secret": SECRETS[2]}], "region": "eu-west-1"}
    connection = Connection(conn_id="db", conn_type="postgres", password=SECRETS[0], extra=json.dumps(extra))

    def get_conn() -> None:
        raise error

    return SimpleNamespace(connection=connection, get_conn_id=lambda: "db", get_conn=get_conn)


class OperationalError(Exception):
    """As a driver names it: PEP 249."""


class DatabaseError(OperationalError):
    pass


@pytest.mark.parametrize("kind", [DatabaseError, ValueError])
def test_no_error_shows_a_secret_of_the_connection(kind: type[Exception]) -> None:
    """A driver quotes its arguments, and a hook the whole address."""
    hook = hook_that_raises(kind(f"cannot connect to db in eu-west-1 with {', '.join(SECRETS)}"))
    with (
        pytest.raises(DatabaseFailedError, match=r"eu-west-1 with \*\*\*, \*\*\*, \*\*\*") as raised,
        connected(hook, "a"),
    ):
        pass
    assert raised.value.__suppress_context__


def test_wrong_sql_of_sqlite_does_not_pass() -> None:
    """It has the class of a locked file. Other drivers have one class for what passes."""
    with pytest.raises(sqlite3.OperationalError) as wrong:
        sqlite3.connect(":memory:").execute("select nothing from nowhere")
    assert not is_temporary(wrong.value)
    assert is_temporary(sqlite3.OperationalError("database is locked"))
    assert is_temporary(OperationalError("server closed the connection"))
