"""The SQL of a load by database: names, updates, types. No database is needed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.tables.statements import Statements

pytestmark = pytest.mark.once

POSTGRESQL = Statements("postgresql", "%s", {"order", "user"})
MYSQL = Statements("mysql", "%s", {"order"})


def test_an_upsert_updates_all_but_the_key() -> None:
    """In one statement where the database has one; elsewhere a plain insert, after a delete by the keys."""
    expected = "INSERT INTO t (id, a) VALUES (%s, %s), (%s, %s) ON CONFLICT (id) DO UPDATE SET a = excluded.a"
    assert expected == POSTGRESQL.insert("t", ["id", "a"], 2, "id")
    assert "INSERT INTO t (id) VALUES (%s) ON CONFLICT (id) DO NOTHING" == POSTGRESQL.insert("t", ["id"], 1, "id")
    assert "INSERT INTO t (id, a) VALUES (%s, %s)" == MYSQL.insert("t", ["id", "a"], 1, "id")
    assert "DELETE FROM t WHERE id IN (%s, %s)" == MYSQL.delete("t", "id", 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tickets", "tickets"),
        ("dwh.tickets", "dwh.tickets"),
        ("Tickets", '"Tickets"'),
        ("dwh.order", 'dwh."order"'),
        ("two words", '"two words"'),
        ('"As.given"', '"As.given"'),
    ],
)
def test_names_have_quotes_where_they_need_them(name: str, expected: str) -> None:
    """A simple name has none: databases differ in the case of what is quoted."""
    assert expected == POSTGRESQL.name(name)
    assert "`order`" == MYSQL.name("order")


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ("a", None, "TEXT"),
        (True, None, "BOOLEAN"),
        (1, None, "BIGINT"),
        (1.5, None, "DOUBLE PRECISION"),
        ([0.5, 1.0], None, "vector(2)"),
        (["a"], None, "JSONB"),
        (None, {"type": "integer"}, "BIGINT"),
        (None, {"type": ["string", "null"]}, "TEXT"),
        (None, {"type": ["string", "integer"]}, "JSONB"),
        (None, {"enum": ["a", "b", None]}, "TEXT"),
        (None, {"anyOf": [{"type": "string"}]}, "JSONB"),
        (None, {"type": "array"}, "JSONB"),
    ],
)
def test_types(value: Any, schema: Any, expected: str) -> None:
    """By the JSON schema if there is one, else by a value."""
    assert expected == POSTGRESQL.type_of(value, schema)


def test_a_statement_has_no_more_values_than_a_database_takes() -> None:
    """SQLite takes 32,766."""
    assert 500 == POSTGRESQL.at_once(["a"])
    assert 30 == POSTGRESQL.at_once(["a"] * 1000)
