"""The SQL of a load, by database. Decisions only: nothing is executed here."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

#: Databases with `ON CONFLICT`. In others, rows are deleted by their keys and inserted in one transaction.
_ON_CONFLICT = ("postgresql", "postgres", "sqlite", "duckdb")
_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*")
_MOST_VALUES = 30_000  # of one statement; SQLite takes 32,766
_MOST_ROWS = 500  # of one statement


@dataclass(frozen=True)
class Statements:
    """The statements for one database.

    :param dialect: as SQLAlchemy names it
    :param mark: what stands for a value, `%s` or `?`
    :param reserved: words that cannot be names without quotes
    """

    dialect: str
    mark: str = "%s"
    reserved: Collection[str] = ()

    @property
    def upserts(self) -> bool:
        """Whether a statement can insert or update, so that the key needs a unique index."""
        return self.dialect in _ON_CONFLICT

    def name(self, name: str) -> str:
        """A name in quotes where it needs them; `schema.table` part by part. Quotes that are there stay."""
        quote = "`" if self.dialect in ("mysql", "mariadb") else '"'
        if name.startswith(quote):
            return name
        return ".".join(
            part if _SIMPLE.fullmatch(part) and part not in self.reserved else f"{quote}{part}{quote}"
            for part in name.split(".")
        )

    def at_once(self, columns: Sequence[str]) -> int:
        """Rows of one statement."""
        return max(1, min(_MOST_ROWS, _MOST_VALUES // len(columns)))

    def look(self, table: str) -> str:
        """A query that gives the columns of a table and no row."""
        return f"SELECT * FROM {self.name(table)} WHERE 1 = 0"

    def insert(self, table: str, columns: Sequence[str], rows: int, key: str | None = None) -> str:
        """
        :param key: update the rows that have the key already
        """
        marks = ", ".join([self.mark] * len(columns))
        values = ", ".join([f"({marks})"] * rows)
        return f"{self._into(table, columns)} VALUES {values}{self._update(columns, key)}"

    def insert_from(
        self, table: str, columns: Sequence[str], source: str, key: str | None = None, where: str = ""
    ) -> str:
        """Rows of another table."""
        names = ", ".join(map(self.name, columns))
        found = f"SELECT {names} FROM {self.name(source)}{f' WHERE {where}' if where else ''}"
        return f"{self._into(table, columns)} {found}{self._update(columns, key)}"

    def delete(self, table: str, key: str, rows: int) -> str:
        """The rows with one of the keys."""
        return f"DELETE FROM {self.name(table)} WHERE {self.name(key)} IN ({', '.join([self.mark] * rows)})"

    def count(self, table: str, column: str) -> str:
        """How many rows have a value."""
        return f"SELECT count(*) FROM {self.name(table)} WHERE {self.name(column)} = {self.mark}"

    def empty(self, table: str) -> str:
        """All rows of a table."""
        return f"DELETE FROM {self.name(table)}"

    def drop(self, table: str) -> str:
        """A table that may be missing."""
        return f"DROP TABLE IF EXISTS {self.name(table)}"

    def copy_of(self, new: str, table: str, columns: Sequence[str]) -> str:
        """A new table with columns of another one, and no row."""
        names = ", ".join(map(self.name, columns))
        return f"CREATE TABLE {self.name(new)} AS SELECT {names} FROM {self.name(table)} WHERE 1 = 0"

    def create(self, table: str, columns: dict[str, str], key: str | None) -> str:
        """A new table.

        :param columns: the type of each
        :param key: the primary key
        """
        parts = [f"{self.name(name)} {kind}" for name, kind in columns.items()]
        parts += [] if key is None else [f"PRIMARY KEY ({self.name(key)})"]
        return f"CREATE TABLE {self.name(table)} ({', '.join(parts)})"

    def type_of(self, value: Any, schema: Any = None, *, is_key: bool = False) -> str:
        """The type of a new column.

        :param value: an example, if there is no schema
        :param schema: the JSON schema of the values
        """
        kinds = {
            "string": "VARCHAR(255)" if is_key and self.dialect in ("mysql", "mariadb") else "TEXT",
            "integer": "BIGINT",
            "number": "DOUBLE" if self.dialect == "duckdb" else "DOUBLE PRECISION",
            "boolean": "BOOLEAN",
        }
        kind = _kind_in(schema) if schema else _kind_of(value)
        if kind == "vector":
            vectors = {"postgresql": f"vector({len(value)})", "duckdb": f"FLOAT[{len(value)}]"}
            return vectors.get(self.dialect, self._json)
        return kinds.get(kind, self._json)

    @property
    def _json(self) -> str:
        return {"postgresql": "JSONB", "duckdb": "JSON", "mysql": "JSON"}.get(self.dialect, "TEXT")

    def _into(self, table: str, columns: Sequence[str]) -> str:
        return f"INSERT INTO {self.name(table)} ({', '.join(map(self.name, columns))})"

    def _update(self, columns: Sequence[str], key: str | None) -> str:
        if key is None or not self.upserts:
            return ""
        changes = [f"{self.name(each)} = excluded.{self.name(each)}" for each in columns if each != key]
        then = f"UPDATE SET {', '.join(changes)}" if changes else "NOTHING"
        return f" ON CONFLICT ({self.name(key)}) DO {then}"


def _kind_in(schema: Any) -> str:
    """The kind of a JSON schema's values; `json` for what is not one kind."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    kinds = [each for each in kind if each != "null"] if isinstance(kind, list) else [kind]
    if kind is None and isinstance(schema, dict) and schema.get("enum"):
        kinds = list({_kind_of(each) for each in schema["enum"] if each is not None})
    return str(kinds[0]) if len(kinds) == 1 and kinds[0] is not None else "json"


def _kind_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str() | None:
            return "string"
        case [float(), *_] if all(isinstance(each, float | int) for each in value):
            return "vector"
        case _:
            return "json"
