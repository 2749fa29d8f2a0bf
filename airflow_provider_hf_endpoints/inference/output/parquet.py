"""Output lines as a Parquet file: one schema for every batch, written a row group at a time. Needs the extra
`parquet`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.output.spans import fields_as_json

GROUP_ROWS = 10_000
GROUP_BYTES = 16 << 20

_SURROGATE = re.compile("[\ud800-\udfff]")
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_MOST_INTEGER = 2**63 - 1
_MOST_FLOAT32 = 3.4e38
#: As the fields of an output line, with these differences. An `id` is always text. For a task that answers with
#: vectors, a single one (a list of numbers, or the only one in a list) is in `embedding`. Any other output that is not
#: text is JSON in `output`. `columns`, `extra` and `response` are JSON, because their types can be any. A lone
#: surrogate, which UTF-8 cannot encode, becomes U+FFFD.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int64()),
        ("output", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("finish_reason", pa.string()),
        ("usage", pa.struct([(name, pa.int64()) for name in _USAGE])),
        (
            "error",
            pa.struct(
                [
                    ("type", pa.string()),
                    ("message", pa.string()),
                    ("status", pa.int64()),
                    ("fault", pa.string()),
                    ("retryable", pa.bool_()),
                ]
            ),
        ),
        ("truncated", pa.bool_()),
        ("attempts", pa.int64()),
        ("columns", pa.string()),
        ("extra", pa.string()),
        ("response", pa.string()),
    ]
)


class Rows:
    """Takes output lines and writes them as rows. Memory has one row group.

    :param writer: for a file with `SCHEMA`
    :param vectors: whether the task answers with vectors; otherwise a list of numbers is not a vector
    """

    def __init__(self, writer: Any, *, vectors: bool) -> None:
        self._writer = writer
        self._vectors = vectors
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, line: bytes) -> None:
        """One line of the output, with its newline."""
        try:
            row = _as_row(fastjson.decode(line), vectors=self._vectors)
        except ValueError:
            row = _as_row(_fields_of(line), vectors=self._vectors)
        self._rows.append(row)
        self._bytes += len(line)
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows in memory."""
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0


@contextmanager
def rows_of(file: IO[bytes], *, vectors: bool) -> Iterator[Rows]:
    """A writer of rows. The file is complete if the block ends without an error.

    :param vectors: see `Rows`
    """
    writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
    rows = Rows(writer, vectors=vectors)
    try:
        yield rows
        rows.flush()
    finally:
        writer.close()  # also for a file that is thrown away: otherwise the writer would write to it later


def _fields_of(line: bytes) -> dict[str, Any]:
    """The fields of a line whose values are nested too deeply to parse: their JSON, unchanged."""
    return {
        name: _Json(raw.decode("utf-8", "replace")) if name in _ANYTHING and raw[:1] in b"[{" else fastjson.decode(raw)
        for name, raw in fields_as_json(line)
    }


_ANYTHING = ("output", "columns", "extra", "response")
_NOT_TEXT = ("status", "retryable")


class _Json(str):
    """A value in its JSON form."""


def _as_row(line: dict[str, Any], *, vectors: bool) -> dict[str, Any]:
    output, error, usage = line["output"], line["error"], line["usage"]
    vector = _vector(output) if vectors else None
    return {
        "index": line["index"],
        "id": _text(line["id"]),
        "output": None if vector else _text(output),
        "embedding": vector,
        "finish_reason": _text(line["finish_reason"]),
        "usage": usage and {name: _integer(usage.get(name)) for name in _USAGE},
        "error": error and {name: value if name in _NOT_TEXT else _text(value) for name, value in error.items()},
        "truncated": line["truncated"],
        "attempts": line["attempts"],
        "columns": _as_json(line.get("columns")),
        "extra": _as_json(line.get("extra")),
        "response": _as_json(line.get("response")),
    }


def _text(value: Any) -> str | None:
    """A text unchanged, anything else as JSON."""
    text = value if isinstance(value, str) else _as_json(value)
    if text is None or not _SURROGATE.search(text):
        return text
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _as_json(value: Any) -> str | None:
    if value is None or isinstance(value, _Json):
        return value
    return fastjson.encode(value).decode()


def _integer(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST_INTEGER
    return value if known else None


def _vector(output: Any) -> list[float] | None:
    match output:
        case [list() as only]:
            return _vector(only)
        case [_, *_] if all(type(each) in (int, float) and abs(each) <= _MOST_FLOAT32 for each in output):
            return [float(each) for each in output]
        case _:
            return None
