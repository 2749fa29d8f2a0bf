"""What the tests of tables have in common: databases that Airflow knows by a connection, and a batch on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.tables import SqlRows
from tests.contract.operators_play import FAST, HANG

#: Databases that need no server.
EMBEDDED = ("sqlite", "duckdb")


@dataclass(frozen=True)
class Database:
    """A database behind the connection `warehouse`."""

    kind: str
    conn_id: str = "warehouse"

    def run(self, *statements: str) -> None:
        """Execute and commit."""
        with closing(self._connection()) as connection:
            for each in statements:
                connection.cursor().execute(each)
            connection.commit()

    def fill(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows."""
        hook = self._hook()
        with closing(self._connection()) as connection:
            for row in rows:
                marks = ", ".join([hook.placeholder] * len(row))
                connection.cursor().execute(f"insert into {table} values ({marks})", list(row))
            connection.commit()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with closing(self._connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]

    def _connection(self) -> Any:
        return self._hook().get_conn()

    def _hook(self) -> Any:
        return BaseHook.get_connection(self.conn_id).get_hook()  # type: ignore[no-untyped-call]


def database(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A new database in a file."""
    connection = {"conn_type": kind, "host": str(folder / f"warehouse.{kind}")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    return Database(kind)


def tickets(database: Database, count: int = 40) -> None:
    """A table with a text in each row."""
    database.run("create table tickets (id integer primary key, text varchar(100))")
    database.fill("tickets", [(number, f"row {number}") for number in range(count)])


def query(sql: str = "select id, text from tickets order by id", key: str = "id", **changes: Any) -> SqlRows:
    return SqlRows(conn_id="warehouse", sql=sql, key=key, **changes)


def batch(tmp_path: Path, **changes: Any) -> BatchInferenceOperator:
    """A batch on the rows of a query."""
    given: dict[str, Any] = {
        "task_id": "batch",
        "endpoint": "demo",
        "task": "chat-completion",
        "input_rows": query(),
        "output_path": str(tmp_path / "out"),
        "prompt": "Say {text}",
        "parameters": {"max_tokens": 16},
        "startup_timeout": HANG,
        **FAST,
    }
    return BatchInferenceOperator(**{**given, **changes})


def results(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / "results-00000.jsonl").read_text().splitlines()]


def attempt(context: Any, run_id: str = "run-1", max_tries: int = 2) -> Any:
    """The context of a task's run: a clear raises `max_tries`."""
    for name, value in {"dag_id": "nightly", "run_id": run_id, "max_tries": max_tries}.items():
        setattr(context["ti"], name, value)
    return context


SCHEMA = {"type": "object", "properties": {"summary": {"type": "string"}, "score": {"type": "number"}}}


def line_of(number: int, output: Any = None) -> dict[str, Any]:
    """A line of results; without an output, that of a row that failed."""
    error = {"type": "bad_request", "message": "too long", "status": 400, "fault": "caller", "retryable": False}
    failed = output is None
    return {
        "id": number,
        "index": number,
        "output": output,
        "finish_reason": None if failed else "stop",
        "usage": None if failed else {"prompt_tokens": 1, "completion_tokens": number},
        "error": error if failed else None,
        "truncated": False,
        "attempts": 1,
    }


def finished(folder: Path, count: int = 40, lines: list[dict[str, Any]] | None = None, schema: Any = SCHEMA) -> Path:
    """The output of a batch that has ended, in which every tenth row failed."""
    folder.mkdir(exist_ok=True)
    if lines is None:
        answers = [None if i % 10 == 3 else {"summary": f"s{i}", "score": i / 2} for i in range(count)]
        lines = [line_of(i, answer) for i, answer in enumerate(answers)]
    failed = [line for line in lines if line["error"]]
    for name, some in (("results-00000", lines), ("errors", failed)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in some))
    report = {"rows": len(lines), "succeeded": len(lines) - len(failed), "failed": len(failed)}
    manifest = {"identity": {"response_schema": schema}, "report": report, "sizes": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
