"""Names of datasets as OpenLineage has them, by the path that a batch was given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.lineage.moved import dataset_at, moved
from airflow_provider_hf_endpoints.lineage.operator import ReportsLineage
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.tables.sql_rows import SqlRows

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("path", "namespace", "name", "uri"),
    [
        ("/data/in.jsonl", "file", "/data/in.jsonl", "file:///data/in.jsonl"),
        ("file:///data/in.jsonl", "file", "/data/in.jsonl", "file:///data/in.jsonl"),
        (Path("/data/in.jsonl"), "file", "/data/in.jsonl", "file:///data/in.jsonl"),
        ("s3://conn@bucket/a/b.jsonl", "s3://bucket", "a/b.jsonl", "s3://bucket/a/b.jsonl"),
        ("gs://bucket/a/*.jsonl", "gs://bucket", "a/*.jsonl", "gs://bucket/a/*.jsonl"),
        ("abfs://box@account/a.csv", "abfs://box@account", "a.csv", "abfs://box@account/a.csv"),
    ],
)
def test_a_path(path: Any, namespace: str, name: str, uri: str) -> None:
    """The connection of Airflow is not part of a name; a container of Azure is."""
    found = dataset_at(path)
    assert (namespace, name, uri) == (found.namespace, found.name, found.uri)


def test_a_relative_path_is_that_of_the_worker() -> None:
    """OpenLineage's names are absolute."""
    assert os.path.abspath("in.jsonl") == dataset_at("in.jsonl").name


def test_errors_are_an_output_only_if_there_are_any() -> None:
    """Each with its rows. A size that cannot be read is not told."""
    report = {"results_path": "/missing/r.jsonl", "errors_path": "/missing/e.jsonl", "rows": 5, "failed": 0}
    assert [("/missing/r.jsonl", 5, None)] == [
        (each.name, each.rows, each.size) for each in moved("/in", None, report).outputs
    ]
    assert [5, 2] == [each.rows for each in moved("/in", None, {**report, "failed": 2}).outputs]


def test_a_failure_of_the_collector_fails_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """The rows are paid for."""
    operator: Any = ReportsLineage()
    operator.input_path = object()
    operator.reported = {}
    operator.collect_lineage()
    assert "Could not report the lineage" in caplog.text


def test_a_query_is_not_a_file(tmp_path: Path) -> None:
    """A batch that reads the rows of a query names no input file."""
    rows = SqlRows(conn_id="warehouse", sql="select id, text from tickets", key="id")
    batch = BatchInferenceOperator(
        task_id="b",
        endpoint="e",
        task="chat-completion",
        prompt="{text}",
        input_rows=rows,
        output_path=str(tmp_path / "out"),
    )
    assert moved(batch.paths_read(), None, None).inputs == ()
