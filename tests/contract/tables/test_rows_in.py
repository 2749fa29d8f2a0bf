"""A query as the input of a batch: its snapshot, what every try and shard reads, and what is refused, and when."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import jinja2
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.input_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.stores.paths import as_upath
from airflow_provider_hf_endpoints.operators.endpoints import ScaleToZeroInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import (
    BatchInferenceOperator,
    MergeBatchShardsOperator,
    PlanBatchShardsOperator,
)
from airflow_provider_hf_endpoints.tables import SqlRows
from airflow_provider_hf_endpoints.tables.connecting import DatabaseFailedError
from airflow_provider_hf_endpoints.tables.values import NotJsonError, to_json
from tests.contract.operators_play import FAST, VLLM, connected, create, new_context, received, run, state
from tests.contract.tables_play import EMBEDDED, Database, attempt, batch, database, query, results, tickets


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture(params=EMBEDDED)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with forty tickets."""
    made = database(request.param, tmp_path, monkeypatch)
    tickets(made)
    return made


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The same in SQLite, for what is the same in all."""
    made = database("sqlite", tmp_path, monkeypatch)
    tickets(made)
    return made


def sent(emulator: Emulator) -> int:
    return len([line for line in received(emulator) if line.startswith("POST /endpoints/")])


def snapshot_in(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out" / "_snapshot" / "snapshot.json").read_text())
    return found


def test_every_row_of_the_query(emulator: Emulator, warehouse: Database, tmp_path: Path) -> None:
    """One line per row in the order of the query, with its key as the id."""
    run(create(custom_image=VLLM))
    result = run(
        batch(tmp_path, input_rows=query("select text, id + 100 as number from tickets order by id", "number"))
    )
    assert (40, 40, 0) == (result["rows"], result["succeeded"], result["failed"])
    assert [100 + i for i in range(40)] == [line["id"] for line in results(tmp_path)]
    assert all(f"row {i}" in line["output"] for i, line in enumerate(results(tmp_path)))


def test_a_retry_reads_the_snapshot_and_not_the_query(emulator: Emulator, warehouse: Database, tmp_path: Path) -> None:
    """The table changes between two tries: the rows are those of the first, also after the batch has ended."""
    run(create(custom_image=VLLM))
    with pytest.raises(AirflowFailException, match="max_error_rate"):
        run(batch(tmp_path, prompt="Say {text}", max_error_rate=0.0, parameters={"max_tokens": -1},
                  job_options={"max_error_rate_after": 1}))  # fmt: skip
    shutil.rmtree(tmp_path / "out" / "_journal")
    (tmp_path / "out" / "manifest.json").unlink(missing_ok=True)
    for path in (tmp_path / "out").glob("*.jsonl"):
        path.unlink()
    warehouse.run("delete from tickets where id > 5", "update tickets set text = 'changed'")
    assert 40 == run(batch(tmp_path))["rows"]
    assert not any("changed" in line["output"] for line in results(tmp_path))
    before = sent(emulator)
    assert 40 == run(batch(tmp_path))["rows"]
    assert before == sent(emulator)


def test_a_snapshot_that_was_not_finished_is_taken_anew(emulator: Emulator, sqlite: Database, tmp_path: Path) -> None:
    """Parts without a document, as a killed task leaves them, are never read, and are removed."""
    left = tmp_path / "out" / "_snapshot" / "0123456789ab"
    left.mkdir(parents=True)
    (left / "part-00000.jsonl").write_text('{"id": 999, "text": "of a killed task"}\n')
    run(create(custom_image=VLLM))
    assert 40 == run(batch(tmp_path))["rows"]
    assert not left.exists()


def test_with_overwrite_each_attempt_reads_the_query_once(emulator: Emulator, sqlite: Database, tmp_path: Path) -> None:
    """A retry has the rows of its first try; a clear and another run of the DAG have those of now."""
    run(create(custom_image=VLLM))

    def rows(run_id: str, max_tries: int) -> int:
        count: int = run(batch(tmp_path, on_existing="overwrite"), attempt(new_context(), run_id, max_tries))["rows"]
        sqlite.run("delete from tickets where id = (select max(id) from tickets)")
        return count

    assert [40, 40, 38, 37] == [rows("run-1", 2), rows("run-1", 2), rows("run-1", 4), rows("run-2", 4)]


def test_another_query_does_not_change_what_is_there(emulator: Emulator, sqlite: Database, tmp_path: Path) -> None:
    """A changed query is refused if rows of the first were sent, and read if none was."""
    run(create(custom_image=VLLM))
    with pytest.raises(AirflowFailException, match="no column 'txt'"):
        run(batch(tmp_path, prompt="{txt}"))
    short = query("select id, text from tickets where id < 7 order by id")
    assert 7 == run(batch(tmp_path, input_rows=short))["rows"]
    with pytest.raises(AirflowFailException, match=r"rows of another query: sql was .*id < 7.* and is now"):
        run(batch(tmp_path))


def test_parts(emulator: Emulator, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large query is written as many parts, of which none may be lost or changed later."""
    monkeypatch.setattr("airflow_provider_hf_endpoints.inference.snapshot.PART_BYTES", 100)
    run(create(custom_image=VLLM))
    assert 40 == run(batch(tmp_path, input_rows=query(rows_per_fetch=3)))["rows"]
    assert list(range(40)) == [line["id"] for line in results(tmp_path)]
    known = snapshot_in(tmp_path)
    assert len(known["parts"]) > 5
    assert (40, ["id", "text"]) == (known["rows"], known["columns"])
    (tmp_path / "out" / "_snapshot" / known["id"] / "part-00002.jsonl").unlink()
    with pytest.raises(AirflowFailException, match=r"part-00002\.jsonl is missing"):
        run(batch(tmp_path))


def test_shards_read_one_snapshot(emulator: Emulator, sqlite: Database, tmp_path: Path) -> None:
    """The planner reads the query; the shards read ranges of its snapshot, whatever happens to the table."""
    run(create(custom_image=VLLM))
    with pytest.raises(AirflowFailException, match="no complete snapshot of the query"):
        run(batch(tmp_path, shard={"number": 0, "of": 1, "plan": "0" * 16, "began": 1}))
    output = str(tmp_path / "out")
    plan = PlanBatchShardsOperator(task_id="plan", shards=4, input_rows=query(), output_path=output)
    shards = run(plan)
    sqlite.run("delete from tickets")
    assert (4, shards) == (len(shards), [{**each, "began": shards[i]["began"]} for i, each in enumerate(run(plan))])
    given = {"endpoint": "demo", "task": "chat-completion", "prompt": "{text}", "input_rows": query(), **FAST}
    with DAG("dag", schedule=None):
        mapped = BatchInferenceOperator.partial(task_id="batch", output_path=output, **given).expand(shard=shards)
    for shard in shards:
        assert run(mapped.unmap({"shard": shard}))["rows"] > 0
    assert 40 == run(MergeBatchShardsOperator(task_id="merge", output_path=output))["rows"]
    assert list(range(40)) == [line["id"] for line in results(tmp_path)]


@pytest.mark.parametrize(
    ("sql", "key", "words"),
    [
        ("select text from tickets", "id", "the query of input_rows has no column 'id' that its key names"),
        ("select nullif(id, 3) as id, text from tickets t order by t.id", "id", "row 4 of the .* column 'id' is None"),
        ("select id / 2 as id, text from tickets order by 2", "id", "appears in row 1 and in row "),
        ("select id, text, text as text from tickets", "id", "two columns with the name 'text'"),
        ("select id, text, cast('x' as blob) as photo from tickets", "id", "column 'photo' has a value of type bytes"),
        ("create table other (id integer)", "id", "is not a query"),
        ("select id, text from tickets where id < 0", "id", "empty"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_bad_rows_are_refused_before_the_endpoint_is_woken(
    emulator: Emulator, sqlite: Database, tmp_path: Path, sql: str, key: str, words: str
) -> None:
    """Not one request, and a mended query is read again."""
    run(create(custom_image=VLLM))
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    before = received(emulator)
    with pytest.raises(AirflowFailException, match=words):
        run(batch(tmp_path, input_rows=query(sql, key)))
    assert before == received(emulator)
    assert "scaledToZero" == state(emulator)
    assert not (tmp_path / "out" / "results-00000.jsonl").exists()
    assert (words == "empty") == bool(list((tmp_path / "out" / "_snapshot").glob("*")))


def test_a_repaired_table_is_read_again(emulator: Emulator, sqlite: Database, tmp_path: Path) -> None:
    """After a refusal, the same query is not taken from a snapshot."""
    run(create(custom_image=VLLM))
    sqlite.run("create table loose (id integer, text varchar(10))")
    sqlite.fill("loose", [(1, "a"), (2, "b"), (1, "c")])
    rows = query("select id, text from loose")
    with pytest.raises(AirflowFailException, match="key 1 in column 'id' appears in row 1 and in row 3 of the query"):
        run(batch(tmp_path, input_rows=rows))
    sqlite.run("delete from loose where text = 'c'")
    assert 2 == run(batch(tmp_path, input_rows=rows))["rows"]


def test_a_database_that_fails_is_tried_again(sqlite: Database, tmp_path: Path) -> None:
    """The task may be tried again, and the error names the connection."""
    with pytest.raises(DatabaseFailedError, match="connection 'warehouse': OperationalError: no such table: gone"):
        run(batch(tmp_path, input_rows=query("select * from gone")))


def test_connections_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    """No such connection, one without a hook, and one whose hook runs no SQL."""
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "sqlight"}))
    for conn_id, words in (
        ("gone", "there is no connection 'gone'"),
        ("odd", "no hook for connection 'odd' of type 'sqlight'"),
        ("hf_endpoints_default", "has the hook InferenceEndpointsHook, which is not a DbApiHook"),
    ):
        with pytest.raises(AirflowFailException, match=words):
            run(batch(tmp_path, input_rows=SqlRows(conn_id=conn_id, sql="select 1", key="id")))


def test_two_tasks_do_not_take_one_snapshot(
    emulator: Emulator, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits, and then says who has it."""
    monkeypatch.setattr("airflow_provider_hf_endpoints.inference.snapshot.WAIT", 0.1)
    lock = OutputLock(as_upath(tmp_path / "out" / "_snapshot"))
    lock.acquire()
    try:
        with pytest.raises(OutputBusyError, match="_snapshot"):
            run(batch(tmp_path))
    finally:
        lock.release()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_rows": None}, r"Give input_path \(files\), or input_rows"),
        ({"input_path": "in.jsonl"}, "both given"),
        ({"input_rows": "select 1"}, "Give SqlRows"),
        ({"id_column": "id"}, "id_column='id' is for files, but input_rows is a query: key='id'"),
        ({"input_format": "csv"}, "input_format='csv' is for files"),
        ({"job_options": {"encoding": "cp1252", "input_format": "csv"}}, "is for files"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_refused_when_the_dag_is_parsed(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """One input, and no setting of files with a query."""
    with pytest.raises(ValueError, match=words):
        batch(tmp_path, **changes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sql": " "}, "SqlRows: sql=' ' is empty"),
        ({"key": ""}, "SqlRows: key='' is empty"),
        ({"conn_id": None}, "SqlRows: conn_id is a NoneType"),
        ({"rows_per_fetch": 0}, "rows_per_fetch=0 is not valid"),
    ],
    ids=str,
)
def test_a_query_is_checked_when_it_is_made(given: dict[str, Any], words: str) -> None:
    """Before any task runs."""
    with pytest.raises(ValueError, match=words):
        SqlRows(**{"conn_id": "warehouse", "sql": "select 1", "key": "id", **given})


def test_templates(tmp_path: Path) -> None:
    """Connection and text are templates, also in a file; the value, which tasks may share, does not change."""
    (tmp_path / "q.sql").write_text("select id from t where day = '{{ ds }}'\n")
    env = jinja2.Environment(loader=jinja2.FileSystemLoader(str(tmp_path)))
    shared = SqlRows(conn_id="{{ where }}", sql="q.sql", key="id")
    for operator in (
        batch(tmp_path, input_rows=shared),
        PlanBatchShardsOperator(task_id="plan", shards=2, input_rows=shared, output_path=str(tmp_path / "out")),
    ):
        context: Any = {"ds": "2026-12-01", "where": "dwh"}
        operator.render_template_fields(context, env)
        assert ("dwh", "select id from t where day = '2026-12-01'") == (
            operator.input_rows.conn_id,  # type: ignore[union-attr]
            operator.input_rows.sql.strip(),  # type: ignore[union-attr]
        )
    assert "q.sql" == shared.sql
    gone = batch(tmp_path, input_rows=SqlRows(conn_id="dwh", sql="gone.sql", key="id"))
    with pytest.raises(ValueError, match=r"sql='gone\.sql' is a file that does not exist"):
        gone.render_template_fields(cast(Any, {}), env)


def test_values() -> None:
    """As Parquet's: no digit is lost, dates are ISO 8601, arrays and JSON keep their form."""
    given = [
        Decimal("0.00000001"), date(2026, 12, 1), datetime(2026, 12, 1, 8, 30), time(8, 30), UUID(int=7),
        [1, Decimal("2.50")], {"a": (date(2026, 1, 1), None)}, True, 1.5,
    ]  # fmt: skip
    assert [
        "0.00000001", "2026-12-01", "2026-12-01T08:30:00", "08:30:00", "00000000-0000-0000-0000-000000000007",
        [1, "2.50"], {"a": ["2026-01-01", None]}, True, 1.5,
    ] == [to_json(each) for each in given]  # fmt: skip
    assert math.isnan(to_json(math.nan))
    for value in (b"x", memoryview(b"x"), timedelta(seconds=1)):
        with pytest.raises(NotJsonError, match=type(value).__name__):
            to_json(value)
