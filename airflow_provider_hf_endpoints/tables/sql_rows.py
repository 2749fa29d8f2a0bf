"""The rows of a query as the input of a batch: what a DAG says of them. Reads nothing; see `reading.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_hf_endpoints.tables.texts import require_text

WORDS = "the query of input_rows"  # what errors call it


@dataclass(frozen=True, kw_only=True)
class SqlRows:
    """The rows of a query, each with its columns.

    The query is read once: the batch writes the rows next to its output, where every try and every shard reads them.

    :param conn_id: the connection of the database; its hook must be a `DbApiHook`. (templated)
    :param sql: one query, or a file that ends in `.sql`, found as Airflow finds templates. (templated)
    :param key: the column with a unique text or whole number in each row; the `id` of the row in the output
    :param rows_per_fetch: rows that are fetched from the database at a time
    """

    conn_id: str
    sql: str
    key: str
    rows_per_fetch: int = 2000

    def __post_init__(self) -> None:
        for name in ("conn_id", "sql", "key"):
            require_text(type(self).__name__, name, getattr(self, name))
        number = self.rows_per_fetch
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"SqlRows: rows_per_fetch={number!r} is not valid. Give a whole number of at least 1.")

    def rendered(self, render: Callable[[str], str]) -> SqlRows:
        """The same after Jinja."""
        return replace(self, conn_id=render(self.conn_id), sql=render(self.sql))

    def where(self) -> dict[str, str]:
        """What makes it another query."""
        return {"conn_id": self.conn_id, "sql": self.sql}
