"""Results into a table: each row once in every mode, failed rows, new tables, and what is refused, and when."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.results import finished_output, read_results
from airflow_provider_hf_endpoints.operators.endpoints import ScaleToZeroInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, LoadBatchResultsOperator
from airflow_provider_hf_endpoints.tables import SqlTable
from airflow_provider_hf_endpoints.tables.loading import load_results
from tests.contract.operators_play import TEI, VLLM, connected, create, received, run
from tests.contract.tables_play import (
    EMBEDDED,
    Database,
    batch,
    database,
    finished,
    line_of,
    results,
    tickets,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture(params=EMBEDDED)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    return database(request.param, tmp_path, monkeypatch)


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    return database("sqlite", tmp_path, monkeypatch)


def table(name: str = "answers", **changes: Any) -> SqlTable:
    return SqlTable(**{"conn_id": "warehouse", "table": name, **changes})


def load(folder: Path, target: SqlTable) -> dict[str, Any]:
    result: dict[str, Any] = run(LoadBatchResultsOperator(task_id="load", results=str(folder), output_table=target))
    return result


GOOD = [(i, f"s{i}", i / 2) for i in range(40) if i % 10 != 3]


@pytest.mark.parametrize("mode", ["upsert", "replace", "append"])
def test_each_row_once(warehouse: Database, tmp_path: Path, mode: str) -> None:
    """Also when the load is repeated. Failed rows are in the table of errors, with their errors."""
    target = table(mode=mode, create_table=True, errors_table="failures", rows_per_load=7)
    for _ in range(2):
        counts = load(finished(tmp_path / "out"), target)
        assert (40, 36, 4) == (counts["rows"], counts["loaded"], counts["failed"])
        assert GOOD == warehouse.rows("select id, summary, score from answers order by id")
        errors = warehouse.rows("select id, error from failures order by id")
        assert [3, 13, 23, 33] == [each for each, _ in errors]
        assert "too long" == json.loads(errors[0][1])["message"]


def test_an_upsert_keeps_other_rows_and_updates_its_own(warehouse: Database, tmp_path: Path) -> None:
    """A row that has succeeded since is no longer in the table of errors."""
    target = table(create_table=True, errors_table="failures")
    load(finished(tmp_path / "first"), target)
    warehouse.run("insert into answers values (1000, 'of somebody else', 1.0)")
    load(finished(tmp_path / "second", lines=[line_of(3, {"summary": "new", "score": 9}), line_of(4)]), target)
    assert [(3, "new")] == warehouse.rows("select id, summary from answers where id = 3")
    assert [("s4",), ("of somebody else",)] == warehouse.rows(
        "select summary from answers where id in (4, 1000) order by id"
    )
    assert [(4,), (13,), (23,), (33,)] == warehouse.rows("select id from failures order by id")


def test_a_replaced_table_has_these_rows_alone_and_stays_the_same_table(warehouse: Database, tmp_path: Path) -> None:
    """Other columns, indexes and views of the table stay; no staging table is left."""
    warehouse.run(
        "create table answers (id bigint primary key, summary text, note varchar(10) default 'none')",
        "create view short as select id from answers",
        "insert into answers values (1000, 'old', 'x')",
    )
    load(finished(tmp_path / "out"), table(mode="replace", columns={"summary": "output.summary"}))
    assert [(i, text, "none") for i, text, _ in GOOD] == warehouse.rows("select * from answers order by id")
    assert 36 == warehouse.rows("select count(*) from short")[0][0]
    names = "select name from sqlite_master" if warehouse.kind == "sqlite" else "select table_name from duckdb_tables()"
    assert not [name for (name,) in warehouse.rows(names) if "_hf_" in name]


def test_an_append_adds_to_what_is_there(warehouse: Database, tmp_path: Path) -> None:
    """Two batches, each once, however often they are loaded."""
    target = table(mode="append", create_table=True, columns={"summary": "output.summary"}, load_id_column="batch")
    for name in ("first", "second", "first", "second"):
        load(finished(tmp_path / name, 40 if name == "first" else 20), target)
    assert [(18,), (36,)] == sorted(
        (n,) for n, _ in warehouse.rows("select count(*), batch from answers group by batch")
    )


def test_failed_rows_are_logged_where_no_table_takes_them(
    sqlite: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With their number and the file of their errors."""
    load(finished(tmp_path / "out"), table(create_table=True))
    assert f"4 of 40 rows failed and are not in table answers. Their errors: {tmp_path}/out/errors.jsonl" in caplog.text


def test_failed_rows_without_an_id_are_logged_where_a_table_takes_the_others(
    sqlite: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line_of(0, "good"), line_of(1), {**line_of(2), "id": None}]
    folder = finished(tmp_path / "out", lines=lines, schema=None)
    load(folder, table(create_table=True, errors_table="failures"))
    assert [(1,)] == sqlite.rows("select id from failures")
    assert "1 of 3 rows failed without an id" in caplog.text


def test_columns_and_types(warehouse: Database, tmp_path: Path) -> None:
    """What of a line goes into which column, and the types of a new table."""
    warehouse_types = {"summary": "varchar(20)"}
    columns = {"summary": "output.summary", "tokens": "usage.completion_tokens", "place": "index", "raw": "output"}
    load(
        finished(tmp_path / "out"),
        table(key="ticket", columns=columns, create_table=True, types=warehouse_types),
    )
    assert [(7, "s7", 7, 7, '{"summary":"s7","score":3.5}')] == warehouse.rows(
        "select ticket, summary, tokens, place, raw from answers where ticket = 7"
    )


def test_a_batch_loads_at_its_end(emulator: Emulator, warehouse: Database, tmp_path: Path) -> None:
    """From a table into a table; a retry sends nothing, and changes nothing."""
    tickets(warehouse)
    run(create(custom_image=VLLM))
    operator = batch(tmp_path, output_table=table(columns={"summary": "output"}, create_table=True))
    assert 40 == run(operator)["succeeded"]
    there = warehouse.rows("select id, summary from answers order by id")
    assert there == [(line["id"], line["output"]) for line in results(tmp_path)]
    sent = len(received(emulator))
    run(operator)
    assert there == warehouse.rows("select id, summary from answers order by id")
    assert not [line for line in received(emulator)[sent:] if line.startswith("POST /endpoints/")]


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_vectors(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str) -> None:
    """Embeddings are arrays in DuckDB, of one length, also out of Parquet."""
    warehouse = database("duckdb", tmp_path, monkeypatch)
    tickets(warehouse, 5)
    run(create(custom_image=TEI))
    run(
        batch(
            tmp_path,
            task="feature-extraction",
            prompt="{text}",
            parameters=None,
            job_options={"output_format": output_format},
            output_table=table("vectors", columns={"vector": "output"}, create_table=True),
        )
    )
    expected = [row["output"] for row in read_results(tmp_path / "out")]
    found = [list(vector) for _, vector in warehouse.rows("select id, vector from vectors order by id")]
    assert [len(each) for each in expected] == [len(each) for each in found]
    kind = warehouse.rows("select data_type from duckdb_columns() where column_name = 'vector'")
    assert [(f"FLOAT[{len(expected[0])}]",)] == kind


@pytest.mark.parametrize(
    ("made", "changes", "words"),
    [
        (None, {}, "table 'answers' cannot be read .* or set create_table=True"),
        (
            "id bigint primary key, sumary text",
            {},
            "no column 'summary'; its columns: 'id', 'sumary'. Did you mean 'sumary'",
        ),
        ("id bigint, summary text", {}, "With mode='upsert', 'id' needs a unique index"),
        ("ticket bigint primary key, summary text", {}, "no column 'id'"),
        ("id bigint, summary text", {"mode": "append"}, "no column 'load_id', without which a load that is repeated"),
        ("id bigint primary key, summary text", {"errors_table": "failures"}, "table 'failures' cannot be read"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_table_that_does_not_fit_is_refused_before_the_endpoint_is_woken(
    emulator: Emulator, sqlite: Database, tmp_path: Path, made: str | None, changes: dict[str, Any], words: str
) -> None:
    """Not one request, and no snapshot."""
    tickets(sqlite)
    if made is not None:
        sqlite.run(f"create table answers ({made})")
    run(create(custom_image=VLLM))
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    before = received(emulator)
    with pytest.raises(AirflowFailException, match=words):
        run(batch(tmp_path, output_table=table(columns={"summary": "output"}, **changes)))
    assert before == received(emulator)
    assert not (tmp_path / "out").exists()


def test_a_table_that_may_only_be_read(sqlite: Database, tmp_path: Path) -> None:
    """A missing privilege is an error that names what to grant."""
    sqlite.run("create table answers (id bigint primary key, summary text, score real)")
    sqlite.run("create view v as select * from answers")
    with pytest.raises(AirflowFailException, match=r"table 'v' does not take the results .* Grant INSERT"):
        load(finished(tmp_path / "out"), table("v"))


def test_an_output_that_has_no_such_part(sqlite: Database, tmp_path: Path) -> None:
    """A text has no parts: the error names the row and the column."""
    target = table(columns={"summary": "output.summary"}, create_table=True, types={"summary": "text"})
    with pytest.raises(AirflowFailException, match="does not fit the row with id 0: its output is a str"):
        load(finished(tmp_path / "out", lines=[line_of(0, "plain text")], schema=None), target)


def test_results_that_are_not_there(sqlite: Database, tmp_path: Path) -> None:
    """An output that is not finished, one that was changed since, and a mapping without a path."""
    with pytest.raises(AirflowFailException, match="contains no finished output"):
        load(tmp_path / "nothing", table(create_table=True))
    finished(tmp_path / "out")
    (tmp_path / "out" / "results-00000.jsonl").unlink()
    with pytest.raises(AirflowFailException, match=r"results .* are missing"):
        load(tmp_path / "out", table(create_table=True))
    operator = LoadBatchResultsOperator(task_id="load", results={"rows": 1}, output_table=table())
    with pytest.raises(AirflowFailException, match="mapping without output_path"):
        run(operator)
    operator = LoadBatchResultsOperator(
        task_id="load", results={"output_path": str(finished(tmp_path / "out"))}, output_table=table(create_table=True)
    )
    assert 36 == run(operator)["loaded"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "merge"}, "mode='merge' is not valid. Use one of upsert, append, replace"),
        ({"key": " "}, "key=' ' is empty"),
        ({"columns": {}}, "columns is empty"),
        ({"columns": {"a": "outputs"}}, r"columns\['a'\]='outputs' is not valid"),
        ({"columns": {"a": "index.b"}}, r"columns\['a'\]='index.b' is not valid"),
        ({"columns": {"id": "output"}}, "columns has the key 'id'"),
        ({"columns": ["a"]}, "columns is not valid. Give a mapping"),
        ({"columns": {"load_id": "output"}, "mode": "append"}, "receives the id of the load"),
        ({"errors_table": "answers"}, "errors_table='answers' is the table itself"),
        ({"rows_per_load": 0}, "rows_per_load=0 is not valid"),
        ({"types": {"a": "text"}}, "types are for a new table"),
    ],
    ids=str,
)
def test_a_table_is_checked_when_it_is_made(given: dict[str, Any], words: str) -> None:
    """Before any task runs."""
    with pytest.raises(ValueError, match=words):
        table(**given)


def test_what_is_refused_when_the_dag_is_parsed(tmp_path: Path) -> None:
    """A shard has only some of the rows; and a text is not a table."""
    shard = {"number": 0, "of": 2, "plan": "0" * 16, "began": 1}
    with pytest.raises(ValueError, match="output_table is not allowed for a shard"):
        batch(tmp_path, output_table=table(), shard=shard)
    with pytest.raises(ValueError, match="Give SqlTable"):
        batch(tmp_path, output_table="answers")
    with pytest.raises(ValueError, match="output_table is a str"):
        LoadBatchResultsOperator(task_id="load", results=str(tmp_path), output_table="answers")  # type: ignore[arg-type]


def test_a_property_with_the_name_of_the_load_id_is_refused(sqlite: Database, tmp_path: Path) -> None:
    """Its value would take the place of the load's id, so a repeated load would add all rows again."""
    schema = {"type": "object", "properties": {"load_id": {"type": "string"}, "x": {"type": "string"}}}
    folder = finished(tmp_path / "out", lines=[line_of(1, {"load_id": "q", "x": "y"})], schema=schema)
    sqlite.run("create table answers (id integer, x text, load_id text)")
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="columns has 'load_id'"):
            load(folder, table(mode="append"))
    assert not sqlite.rows("select * from answers")
    load(folder, table(mode="append", columns={"x": "output.x"}))
    assert [(1, "y")] == sqlite.rows("select id, x from answers")


def test_a_table_that_another_task_gives_is_checked_before_the_load(tmp_path: Path) -> None:
    operator = LoadBatchResultsOperator(task_id="load", results=str(finished(tmp_path / "out")), output_table=table())
    operator.output_table = "answers"  # type: ignore[assignment]
    with pytest.raises(AirflowFailException, match="output_table is a str"):
        run(operator)
    assert {"input_rows", "output_table"} <= {*BatchInferenceOperator.template_fields}


def test_a_database_that_is_away_for_a_moment(warehouse: Database, tmp_path: Path) -> None:
    """The load waits, and goes on where it was."""
    folder = finished(tmp_path / "out", 200)
    warehouse.run("create table answers (id bigint primary key, summary text, score real)")
    calls = [0]

    def go_on() -> None:
        calls[0] += 1
        if calls[0] == 9:
            raise sqlite3.OperationalError("database is locked")

    pauses: list[float] = []
    loaded = load_results(table(rows_per_load=10), finished_output(folder), go_on=go_on, sleep=pauses.append)
    assert ([0.5], 180, 20) == (pauses, loaded.loaded, loaded.failed)
    assert 180 == warehouse.rows("select count(*) from answers")[0][0]


_LOAD = """
import sys
from airflow_provider_hf_endpoints.inference.results import finished_output
from airflow_provider_hf_endpoints.tables import SqlTable
from airflow_provider_hf_endpoints.tables.loading import load_results
print("begins", flush=True)
load_results(SqlTable(conn_id="warehouse", table="answers", mode=sys.argv[2], rows_per_load=20, create_table=True,
                      errors_table="failures"), finished_output(sys.argv[1]))
print("ended", flush=True)
"""


@pytest.mark.parametrize("mode", ["upsert", "replace", "append"])
def test_a_load_that_is_killed_again_and_again(warehouse: Database, tmp_path: Path, mode: str) -> None:
    """SIGKILL at any moment: at the end, the table has each row once, with its value."""
    folder = finished(tmp_path / "out", 3000)
    chance, killed = random.Random(mode), 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", _LOAD, str(folder), mode],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert "begins" in process.stdout.readline()
        time.sleep(chance.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        killed += "ended" not in process.stdout.read()
        process.wait()
    target = table(mode=mode, create_table=True, errors_table="failures")
    assert 2700 == load_results(target, finished_output(folder)).loaded
    rows = warehouse.rows("select id, summary, score from answers order by id")
    assert rows == [(i, f"s{i}", i / 2) for i in range(3000) if i % 10 != 3]
    assert 300 == warehouse.rows("select count(*) from failures")[0][0]


@pytest.mark.parametrize("form", ["rows", "arrow"])
def test_results_for_python(tmp_path: Path, form: Any) -> None:
    """The same rows in each form, with the keys of the input as ids."""
    found = read_results(finished(tmp_path / "out"), form)
    rows = found.to_pylist() if form == "arrow" else list(found)
    assert [(i, i) for i in range(40)] == [(row["id"], row["index"]) for row in rows]
    assert {"summary": "s7", "score": 3.5} == rows[7]["output"]


def test_forms_that_are_not_there(tmp_path: Path) -> None:
    """An unknown form, and a library that is not installed."""
    with pytest.raises(ValueError, match="form='csv' is not valid"):
        read_results(finished(tmp_path / "out"), "csv")  # type: ignore[arg-type]
    try:
        import polars  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        with pytest.raises(BatchInputError, match="pip install polars"):
            read_results(tmp_path / "out", "polars")
