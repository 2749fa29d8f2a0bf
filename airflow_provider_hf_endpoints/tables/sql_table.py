"""A table as the output of a batch: what a DAG says of it. Reads and writes nothing; see `loading.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from airflow_provider_hf_endpoints.tables.texts import require_text

Mode = Literal["upsert", "append", "replace"]
#: What a column of a table may be filled with: a field of a result, or a part of one, as in `output.summary`.
SOURCES = (
    *("id", "index", "output", "finish_reason", "usage", "error", "truncated", "attempts", "columns", "extra"),
    "response",
)
_WITH_PARTS = ("output", "usage", "error", "columns", "extra", "response")


@dataclass(frozen=True, kw_only=True)
class SqlTable:
    """A table that receives the results of a batch, one row for each row that succeeded.

    :param conn_id: the connection of the database; its hook must be a `DbApiHook`. (templated)
    :param table: the table, or `schema.table`. (templated)
    :param key: the column that receives the `id` of the row. With `upsert` it must be unique in the table.
    :param columns: columns of the table, each with what it receives: `{"summary": "output.summary", "tokens":
        "usage.completion_tokens"}`. Default: a column for each property of `response_schema`; without a schema,
        `output` alone.
    :param mode: `upsert` (default) inserts new keys and updates those that are there; `append` inserts all rows once;
        `replace` makes these rows the whole content of the table
    :param errors_table: a table that receives the key and the error of each row that failed; None counts such rows and
        logs a warning. (templated)
    :param create_table: create the tables that are missing; default False
    :param types: the SQL types of columns of a table that is created, where the default is not wanted
    :param load_id_column: with `append`, the column that receives the id of the load
    :param rows_per_load: rows that are written to the database at a time
    """

    conn_id: str
    table: str
    key: str = "id"
    columns: Mapping[str, str] | None = None
    mode: Mode = "upsert"
    errors_table: str | None = None
    create_table: bool = False
    types: Mapping[str, str] | None = None
    load_id_column: str = "load_id"
    rows_per_load: int = 2000

    def __post_init__(self) -> None:
        for name in ("conn_id", "table", "key", "load_id_column"):
            require_text("SqlTable", name, getattr(self, name))
        if self.errors_table is not None:
            require_text("SqlTable", "errors_table", self.errors_table)
            if self.errors_table == self.table:
                raise ValueError(f"SqlTable: errors_table={self.table!r} is the table itself. Name another table.")
        if self.mode not in get_args(Mode):
            raise ValueError(f"SqlTable: mode={self.mode!r} is not valid. Use one of {', '.join(get_args(Mode))}.")
        if isinstance(self.rows_per_load, bool) or not isinstance(self.rows_per_load, int) or self.rows_per_load < 1:
            raise ValueError(
                f"SqlTable: rows_per_load={self.rows_per_load!r} is not valid. Give a whole number of at least 1."
            )
        for name in ("columns", "types"):
            self._check_mapping(name, getattr(self, name))
        if self.columns is not None:
            self._check_columns(self.columns)
        if self.types and not self.create_table:
            raise ValueError("SqlTable: types are for a new table. Set create_table=True, or leave types out.")

    def rendered(self, render: Callable[[str], str]) -> SqlTable:
        """The same after Jinja."""
        errors = None if self.errors_table is None else render(self.errors_table)
        return replace(self, conn_id=render(self.conn_id), table=render(self.table), errors_table=errors)

    def sources(self, response_schema: Any) -> dict[str, str]:
        """The columns besides the key, each with what it receives.

        :param response_schema: the JSON schema of the batch, None if it has none
        :raises ValueError: a property of the schema has the name of the column for the load's id
        """
        if self.columns is not None:
            return dict(self.columns)
        properties = response_schema.get("properties") if isinstance(response_schema, Mapping) else None
        if not properties:
            return {"output": "output"}
        found = {str(name): f"output.{name}" for name in properties if name != self.key}
        for column in found:
            self._refuse_load_id(column)
        return found

    def _check_mapping(self, name: str, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
            raise ValueError(
                f"SqlTable: {name} is not valid. Give a mapping of texts, for example "
                f"{ {'columns': {'summary': 'output'}, 'types': {'summary': 'varchar(200)'}}[name] }."
            )

    def _check_columns(self, columns: Mapping[str, str]) -> None:
        if not columns:
            raise ValueError("SqlTable: columns is empty. Name at least one column, or leave columns out.")
        for column, source in columns.items():
            field, _, part = source.partition(".")
            if field not in SOURCES or ("." in source and (not part or field not in _WITH_PARTS)):
                raise ValueError(
                    f"SqlTable: columns[{column!r}]={source!r} is not valid. Give a field of a result "
                    f"({', '.join(SOURCES)}), or a part of {', '.join(_WITH_PARTS)}: 'output.NAME'."
                )
            if column == self.key:
                raise ValueError(f"SqlTable: columns has the key {column!r}, which receives the id. Leave it out.")
            self._refuse_load_id(column)

    def _refuse_load_id(self, column: str) -> None:
        """Two values for one column: a repeated load would not find its id, and would add its rows again."""
        if self.mode == "append" and column == self.load_id_column:
            raise ValueError(
                f"SqlTable: columns has {column!r}, which receives the id of the load. Leave it out, or set "
                "load_id_column."
            )
