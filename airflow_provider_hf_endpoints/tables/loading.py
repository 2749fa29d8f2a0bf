"""The results of a finished batch into a table, each row once, whatever is killed and however often it is tried.

* `upsert` writes groups, each in one transaction. A group that is written again changes nothing.
* `replace` fills a staging table, and then exchanges the rows of the table in one transaction.
* `append` writes all rows in one transaction, with the id of the load. A load that finds its id does nothing.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.journal.lock import WAIT, OutputLock
from airflow_provider_hf_endpoints.inference.results import Finished
from airflow_provider_hf_endpoints.inference.stores.patience import pauses, without_failing
from airflow_provider_hf_endpoints.tables.connecting import DatabaseFailedError, connected, hook_of, roll_back
from airflow_provider_hf_endpoints.tables.fields import as_parameter, picked, schema_of
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable
from airflow_provider_hf_endpoints.tables.statements import Statements
from airflow_provider_hf_endpoints.tables.target import WHO, array_columns, require, statements_for, wanted

log = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """What a load has done.

    :param rows: rows of the batch
    :param loaded: of these, rows in the table
    :param failed: of these, rows that failed
    :param already: whether an earlier load had written all of them
    """

    rows: int = 0
    loaded: int = 0
    failed: int = 0
    already: bool = False


def load_results(
    table: SqlTable,
    found: Finished,
    *,
    go_on: Callable[[], None] = lambda: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Loaded:
    """Write the results of a batch into a table.

    :param go_on: called for each group of rows; may raise
    :param sleep: waits so many seconds for a database that is away
    :raises BatchInputError: the table does not take the results
    :raises DatabaseFailedError: the database failed, or was away for two minutes; a repeated load goes on
    :raises OutputBusyError: another task loads these results
    """
    if found.manifest["identity"].get("input_format") == "openai-batch":
        raise BatchInputError(
            f"{found.layout.results} is in the OpenAI Batch format, which has no columns. Load the results of a batch "
            "with another input_format"
        )
    hook = hook_of(table.conn_id, WHO)
    journal = found.layout.journal
    lock = OutputLock(journal.parent / f"{journal.name}-load")
    lock.acquire(WAIT)
    try:
        load = _Load(table, found, statements_for(hook), table.sources(found.response_schema), go_on)
        loaded = _patiently(hook, load, sleep)
    finally:
        without_failing(lock.release, "Giving the lock of the load back")
    _tell(table, found, loaded, load.counts["without_id"])
    return loaded


def _patiently(hook: Any, load: _Load, sleep: Callable[[float], object]) -> Loaded:
    """Again on a new connection while the database is away. Each group that was written begins the patience again."""
    waits, done = pauses(), load.done
    while True:
        try:
            with connected(hook, f"loading results into {load.table.table}") as connection:
                return load.run(hook, connection)
        except DatabaseFailedError as error:
            if load.done > done:
                waits, done = pauses(), load.done
            pause = next(waits, None) if error.temporary else None
            if pause is None:
                raise
            log.warning("%s. Trying again in %.1f s", error, pause)
            sleep(pause)


def _tell(table: SqlTable, found: Finished, loaded: Loaded, without_id: int) -> None:
    if loaded.already:
        log.info("Table %s has all rows of this batch already: nothing to do", table.table)
    else:
        log.info("Loaded %d rows into table %s (%s)", loaded.loaded, table.table, table.mode)
    if loaded.failed and table.errors_table is None:
        log.warning(
            "%d of %d rows failed and are not in table %s. Their errors: %s. Set errors_table to load them, too",
            loaded.failed,
            loaded.rows,
            table.table,
            found.layout.errors,
        )
    elif without_id:
        log.warning(
            "%d of %d rows failed without an id, because their lines could not be read. A table with a key has no "
            "place for them: they are not in table %s. Their errors: %s. Correct these lines of the input",
            without_id,
            loaded.rows,
            table.errors_table,
            found.layout.errors,
        )


@dataclass
class _Load:
    """One load.

    :param counts: of the rows so far
    :param written: the same of the groups that an upsert has written for certain
    :param arrays: columns of the table that are arrays of the database
    """

    table: SqlTable
    found: Finished
    sql: Statements
    sources: dict[str, str]
    go_on: Callable[[], None]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("rows", "loaded", "failed", "without_id"), 0))
    written: dict[str, int] = field(default_factory=dict)
    arrays: set[str] = field(default_factory=set)

    @property
    def done(self) -> int:
        """Rows of the batch that an upsert has written for certain."""
        return self.written.get("rows", 0)

    @property
    def columns(self) -> list[str]:
        return wanted(self.table, self.sources)[self.table.table]

    @property
    def errors_columns(self) -> list[str]:
        return [self.table.key, "error", *self._load_id_column]

    @property
    def _load_id_column(self) -> list[str]:
        return [self.table.load_id_column] if self.table.mode == "append" else []

    def run(self, hook: Any, connection: Any) -> Loaded:
        """All that is left to do, on a new connection."""
        if hook.supports_autocommit:
            hook.set_autocommit(connection, False)
        for name, columns in wanted(self.table, self.sources).items():
            if not require(hook, connection, self.sql, self.table, name, columns):
                self._create(connection, name)
        self.arrays = array_columns(connection, self.sql, self.table.table)
        roll_back(connection)
        match self.table.mode:
            case "upsert":
                self._upsert(connection)
            case "replace":
                self._replace(connection)
            case "append":
                return self._append(connection)
        return Loaded(self.counts["rows"], self.counts["loaded"], self.counts["failed"])

    # --- the three modes

    def _upsert(self, connection: Any) -> None:
        table, errors = self.table, self.table.errors_table
        has_errors = errors is not None and self._number(connection, f"SELECT count(*) FROM {self.sql.name(errors)}")
        self._begin_again(self.written)
        for good, bad in self._groups(self.done):
            with self._transaction(connection) as cursor:
                self._write(cursor, table.table, self.columns, good, table.key)
                if errors is not None:
                    self._write(cursor, errors, self.errors_columns, bad, table.key)
                    if has_errors:
                        self._delete(cursor, errors, [row[0] for row in good])
            self.written = dict(self.counts)

    def _replace(self, connection: Any) -> None:
        self._begin_again()
        pairs = {self.table.table: self.columns}
        pairs |= {} if self.table.errors_table is None else {self.table.errors_table: self.errors_columns}
        staging = {name: f"{name}_hf_{self.found.digest}" for name in pairs}
        with self._transaction(connection) as cursor:
            for name, columns in pairs.items():
                cursor.execute(self.sql.drop(staging[name]))
                cursor.execute(self.sql.copy_of(staging[name], name, columns))
        for group in self._groups():
            with self._transaction(connection) as cursor:
                for rows, (name, columns) in zip(group, pairs.items(), strict=False):
                    self._write(cursor, staging[name], columns, rows)
        with self._transaction(connection) as cursor:
            for name, columns in pairs.items():
                cursor.execute(self.sql.empty(name))
                cursor.execute(self.sql.insert_from(name, columns, staging[name]))
        with self._transaction(connection) as cursor:
            for name in pairs:
                cursor.execute(self.sql.drop(staging[name]))

    def _append(self, connection: Any) -> Loaded:
        self._begin_again()
        table, errors, load_id = self.table, self.table.errors_table, self.found.digest
        names = [table.table, *([] if errors is None else [errors])]
        with self._transaction(connection) as cursor:
            for name in names:
                cursor.execute(self.sql.count(name, table.load_id_column), [load_id])
                if cursor.fetchone()[0]:
                    report = self.found.manifest["report"]
                    return Loaded(report["rows"], report["succeeded"], report["failed"], already=True)
            for good, bad in self._groups():
                self._write(cursor, table.table, self.columns, [[*row, load_id] for row in good])
                if errors is not None:
                    self._write(cursor, errors, self.errors_columns, [[*row, load_id] for row in bad])
        return Loaded(self.counts["rows"], self.counts["loaded"], self.counts["failed"])

    # --- their steps

    def _begin_again(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts = {**dict.fromkeys(self.counts, 0), **(counts or {})}

    @contextmanager
    def _transaction(self, connection: Any) -> Iterator[Any]:
        self.go_on()
        # A cursor of DuckDB is another connection, with another transaction.
        cursor = connection if self.sql.dialect == "duckdb" else connection.cursor()
        if self.sql.dialect in ("sqlite", "duckdb"):  # other drivers begin a transaction by themselves
            cursor.execute("BEGIN")
        try:
            yield cursor
        except BaseException:
            roll_back(connection)
            raise
        connection.commit()

    def _groups(self, after: int = 0) -> Iterator[tuple[list[list[Any]], list[list[Any]]]]:
        """The rows behind the first ones, in groups: those that succeeded, and those that failed."""
        rows = itertools.islice(self.found.rows(), after, None)
        while group := list(itertools.islice(rows, self.table.rows_per_load)):
            self.go_on()
            good = [self._good(row) for row in group if row.get("error") is None]
            failed = [row for row in group if row.get("error") is not None]
            # What has no id, because its line could not be read, has no place in a table with a key.
            bad = [[row["id"], as_parameter(row["error"])] for row in failed if row.get("id") is not None]
            numbers = {"rows": len(group), "loaded": len(good), "failed": len(failed)}
            for name, number in {**numbers, "without_id": len(failed) - len(bad)}.items():
                self.counts[name] += number
            yield good, bad

    def _good(self, row: Row) -> list[Any]:
        values = [
            as_parameter(picked(row, column, source), takes_lists=column in self.arrays)
            for column, source in self.sources.items()
        ]
        return [row["id"], *values]

    def _write(
        self, cursor: Any, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], key: str | None = None
    ) -> None:
        if key is not None and not self.sql.upserts:
            self._delete(cursor, name, [row[0] for row in rows])
        step = self.sql.at_once(columns)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            cursor.execute(self.sql.insert(name, columns, len(some), key), list(itertools.chain(*some)))

    def _delete(self, cursor: Any, name: str, keys: Sequence[Any]) -> None:
        step = self.sql.at_once([self.table.key])
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            cursor.execute(self.sql.delete(name, self.table.key, len(some)), list(some))

    def _number(self, connection: Any, query: str) -> int:
        cursor = connection.cursor()
        cursor.execute(query)
        number = int(cursor.fetchone()[0])
        roll_back(connection)
        return number

    def _create(self, connection: Any, name: str) -> None:
        """Create a table: types by the schema of the batch, else by its first row that succeeded."""
        rows = list(itertools.islice(self.found.rows(), 100))
        first = next((row for row in rows if row.get("error") is None), rows[0] if rows else {"id": ""})
        of_key = self.sql.type_of(first["id"], is_key=True)
        if name == self.table.table:
            types = {column: self._type_of(first, column, source) for column, source in self.sources.items()}
        else:
            types = {"error": self.sql.type_of(None, {"type": "object"})}
        types = {self.table.key: of_key, **types, **dict.fromkeys(self._load_id_column, "VARCHAR(64)")}
        types |= {column: kind for column, kind in (self.table.types or {}).items() if column in types}
        key = None if self.table.mode == "append" else self.table.key
        with self._transaction(connection) as cursor:
            cursor.execute(self.sql.create(name, types, key))
        log.info("Created table %s", name)

    def _type_of(self, first: Row, column: str, source: str) -> str:
        return self.sql.type_of(picked(first, column, source), schema_of(source, self.found.response_schema))
