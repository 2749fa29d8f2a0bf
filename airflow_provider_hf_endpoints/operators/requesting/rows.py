"""The input of a batch: files, or the rows of a query, which a batch reads from their snapshot next to the output. And
the table that its results go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from airflow_provider_hf_endpoints._airflow import ResolveMixin
from airflow_provider_hf_endpoints.inference.requests.structured import as_json_schema
from airflow_provider_hf_endpoints.inference.results import finished_output
from airflow_provider_hf_endpoints.inference.snapshot import Origin, find_snapshot, take_snapshot
from airflow_provider_hf_endpoints.tables.sql_rows import WORDS, SqlRows
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable

# Settings that say how a file is read, with the value that stands for none.
_OF_FILES = {"id_column": None, "input_format": "auto", "encoding": None, "delimiter": None}


def check_one_input(input_path: Any, input_rows: SqlRows | None, given: Mapping[str, Any]) -> None:
    """
    :param given: other settings
    :raises ValueError: there is no input, or more than one, or a setting does not fit
    """
    if input_path is None and input_rows is None:
        raise ValueError("The batch has no input. Give input_path (files), or input_rows (a query, as SqlRows).")
    if input_rows is None or isinstance(input_rows, ResolveMixin):
        return
    if not isinstance(input_rows, SqlRows):
        raise ValueError(f"input_rows is a {type(input_rows).__name__}. Give SqlRows(conn_id=…, sql=…, key=…).")
    if input_path is not None:
        raise ValueError("input_path and input_rows are both given. Give only one of them.")
    for name, unset in _OF_FILES.items():
        if given.get(name, unset) != unset:
            instead = f": key={input_rows.key!r} of input_rows names the rows" if name == "id_column" else ""
            raise ValueError(f"{name}={given[name]!r} is for files, but input_rows is a query{instead}. Leave it out.")


def snapshot_of(
    rows: SqlRows,
    output: Any,
    *,
    on_existing: Literal["resume", "overwrite", "fail"],
    attempt: str,
    go_on: Callable[[], None] = lambda: None,
) -> Any:
    """The folder with the rows of a query, which is read now unless an earlier task has.

    :param attempt: see `take_snapshot`
    """
    from airflow_provider_hf_endpoints.tables.reading import opened  # imports Airflow's hooks

    return take_snapshot(
        output, _origin(rows), partial(opened, rows), on_existing=on_existing, attempt=attempt, go_on=go_on
    )


def snapshot_taken(rows: SqlRows, output: Any) -> Any:
    """The folder with the rows that an earlier task, or an earlier step of this task, has read."""
    return find_snapshot(output, _origin(rows))


def _origin(rows: SqlRows) -> Origin:
    return Origin(rows.where(), rows.key, WORDS)


def check_table_of(table: Any, shard: Any) -> None:
    """
    :raises ValueError: it is not a table, or a shard is given: each shard has only some of the rows
    """
    if table is None or isinstance(table, ResolveMixin):
        return
    if not isinstance(table, SqlTable):
        raise ValueError(f"output_table is a {type(table).__name__}. Give SqlTable(conn_id=…, table=…).")
    if shard is not None:
        raise ValueError(
            "output_table is not allowed for a shard, which has only some of the rows. Leave it out, and put a "
            "LoadBatchResultsOperator after the merge."
        )


def check_output(table: SqlTable, shard: Any, response_schema: Any) -> None:
    """The same after rendering, and whether the database has a table that takes the results."""
    from airflow_provider_hf_endpoints.tables.target import check_table  # imports Airflow's hooks

    check_table_of(table, shard)
    check_table(table, None if response_schema is None else as_json_schema(response_schema))


def load(table: SqlTable, output: Any, go_on: Callable[[], None]) -> None:
    """Write the results of a finished batch into the table."""
    from airflow_provider_hf_endpoints.tables.loading import load_results

    load_results(table, finished_output(output), go_on=go_on)
