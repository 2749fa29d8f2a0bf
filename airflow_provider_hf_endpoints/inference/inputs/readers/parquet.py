"""Rows of a Parquet file as JSON. The file is read in batches of each row group, and only the needed columns.
Needs the extra `parquet`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_hf_endpoints._packages import missing_package
from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, MissingColumnError
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import kind_of
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.unpack import open_path

try:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_hf_endpoints.inference.inputs.readers import arrow_json
except ImportError:
    pa = None

BATCH_ROWS = 256
#: Rows that are read and converted at the same time: they are in memory as Arrow, Python and JSON.
BATCH_BYTES = 8 << 20
LOOK_ROWS = 8  # rows that show the length of a value if the file's footer does not
#: Bytes that are buffered per column. Without this limit, a column of a whole row group would be buffered.
BUFFER_BYTES = 1 << 20


def read(
    file: InputFile,
    place: int,
    columns: tuple[str, ...] | None,
    counted: Callable[[InputFile, int], None] | None = None,
) -> Generator[Line, None, int]:
    """The rows of a file as JSON, by the rule of `arrow_json`; see `read.Reader`.

    :raises BatchInputError: the file is not Parquet, is incomplete, lacks a column, or a column has no form in JSON
    """
    del counted  # the format has no lines
    with _opened(file) as table:
        changes = _changes(file, table.schema_arrow, columns)
        number = 0
        for group in range(table.num_row_groups):
            for batch in _batches(table, group, list(changes)):
                for raw, problem in _encoded(batch, changes):
                    number += 1
                    yield Line(place, number, raw, file, problem)
                    place += 1
    return place


def _batches(table: Any, group: int, columns: list[str]) -> Iterator[Any]:
    """The rows of a row group, in batches of some megabytes."""
    rows = _rows_at_a_time(table, group, columns)
    for batch in table.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
        step = batch.num_rows if batch.nbytes <= BATCH_BYTES else max(1, batch.num_rows * BATCH_BYTES // batch.nbytes)
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


def _rows_at_a_time(table: Any, group: int, columns: list[str]) -> int:
    told = table.metadata.row_group(group)
    if not told.num_rows:
        return BATCH_ROWS
    chunks = [told.column(number) for number in range(told.num_columns)]
    read = set(columns)
    chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in read]
    size = sum(chunk.total_uncompressed_size for chunk in chunks)
    each = size / told.num_rows
    # A dictionary contains each value once, however many rows have it.
    if size > BATCH_BYTES // BATCH_ROWS and any(chunk.has_dictionary_page for chunk in chunks):
        look = next(table.iter_batches(LOOK_ROWS, row_groups=[group], columns=columns, use_threads=False))
        each = max(each, look.nbytes / look.num_rows)
    return max(1, min(BATCH_ROWS, int(BATCH_BYTES / each) if each else BATCH_ROWS))


def count(file: InputFile) -> int:
    """The number of rows, from the file's footer."""
    with _opened(file) as table:
        rows: int = table.metadata.num_rows
    return rows


@contextmanager
def _opened(file: InputFile) -> Iterator[Any]:
    if pa is None:
        raise BatchInputError(f"{missing_package(f'input file {file}', 'Parquet')}, or convert the file to JSONL")
    with open_path(file.path) as content:
        try:
            yield pq.ParquetFile(content, pre_buffer=False, buffer_size=BUFFER_BYTES, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a problem of the storage, not of the file
            if (kind := _kind_of(content)) is not None:
                raise BatchInputError(f"input file {file} is {kind[0]}, not PARQUET. {kind[1]}") from error
            raise BatchInputError(
                f"input file {file} is not a Parquet file, or is truncated or damaged ({error}). Replace it with the "
                "complete file, and run the same job again"
            ) from error


def _kind_of(content: Any) -> tuple[str, str] | None:
    """The kind of a file that is not Parquet, and what to do with it, by its first bytes."""
    content.seek(0)
    head = content.read(512)
    return None if head.startswith(b"PAR1") else kind_of(head)


def _changes(file: InputFile, schema: Any, columns: tuple[str, ...] | None) -> dict[str, Any]:
    """The columns to read, each with the conversion of its values to JSON."""
    found = {}
    types = dict(zip(schema.names, schema.types, strict=True))
    counts = Counter(schema.names)
    for name in counts if columns is None else columns:
        if name not in counts:
            raise MissingColumnError(name, counts, f"input file {file}", "the batch needs")
        if counts[name] > 1:
            raise BatchInputError(f"input file {file} has two columns with the name {name!r}. Rename one of them")
        try:
            found[name] = arrow_json.converter(types[name], binary=name in file.binary)
        except arrow_json.NoJsonError as error:
            raise BatchInputError(
                f"input file {file}: column {name!r} has the type {error}, which JSON does not support. Write it as "
                "text (bytes as base64, a duration in seconds), or leave the column out of the batch"
            ) from None
    return found


def _encoded(batch: Any, changes: dict[str, Any]) -> list[tuple[bytes, str]]:
    """The rows of a batch as JSON, each with the reason if it has no JSON form."""
    try:
        columns = [_values(batch, name, change) for name, change in changes.items()]
        rows = [dict(zip(changes, values, strict=True)) for values in zip(*columns, strict=True)]
        return [(fastjson.encode(row), "") for row in rows]
    except (ValueError, OverflowError, TypeError, pa.ArrowException):  # a value that Python or JSON does not support
        if batch.num_rows > 1:
            return [pair for number in range(batch.num_rows) for pair in _encoded(batch.slice(number, 1), changes)]
    return [_alone(batch, changes)]


def _values(batch: Any, name: str, change: Any) -> list[Any]:
    column = batch.column(name)
    kind = arrow_json.python_type(column.type)
    values: list[Any] = (column if kind.equals(column.type) else column.cast(kind, safe=False)).to_pylist()
    return values if change is None else [change(value) for value in values]


def _alone(batch: Any, changes: dict[str, Any]) -> tuple[bytes, str]:
    """A row without a JSON form: its other columns, and the column at fault."""
    row, problem = {}, ""
    for name, change in changes.items():
        try:
            value = _values(batch, name, change)[0]
            fastjson.encode(value)
        except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
            value, problem = None, problem or f"has a value in column {name!r} that JSON does not support ({error})"
        row[name] = value
    return fastjson.encode(row), problem
