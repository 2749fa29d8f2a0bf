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

GROUP_ROWS = 10_000
GROUP_BYTES = 16 << 20

_SURROGATE = re.compile("[\ud800-\udfff]")
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
#: As the fields of an output line, but: an `id` is text, whatever it was; a vector (a list of numbers, alone or
#: the only one in a list) stands in `embedding`, any other output that is no text as JSON in `output`; `columns` and
#: `extra` are JSON, for their types are anybody's. Half a character (a lone surrogate), which UTF-8 has no form of,
#: becomes U+FFFD.
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
    ]
)


class Rows:
    """Takes output lines and writes them as rows; memory holds one row group.

    :param writer: of a file with `SCHEMA`
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, line: bytes) -> None:
        """One line of the output, with its newline."""
        self._rows.append(_as_row(fastjson.decode(line)))
        self._bytes += len(line)
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0


@contextmanager
def rows_of(file: IO[bytes]) -> Iterator[Rows]:
    """The file is a whole one when the block ends well."""
    writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
    rows = Rows(writer)
    try:
        yield rows
        rows.flush()
    finally:
        writer.close()  # also of a file that is thrown away: the writer would write to it later


def _as_row(line: dict[str, Any]) -> dict[str, Any]:
    output, columns = line["output"], line.get("columns")
    vector = _vector(output)
    text = output is None or isinstance(output, str)
    return {
        "index": line["index"],
        "id": None if line["id"] is None else _whole(str(line["id"])),
        "output": None if vector else output if output is None else _whole(output) if text else _as_json(output),
        "embedding": vector,
        "finish_reason": line["finish_reason"] and _whole(line["finish_reason"]),
        "usage": line["usage"],
        "error": line["error"] and {**line["error"], "message": _whole(line["error"]["message"])},
        "truncated": line["truncated"],
        "attempts": line["attempts"],
        "columns": _as_json(columns),
        "extra": _as_json(line.get("extra")),
    }


def _as_json(value: Any) -> str | None:
    return None if value is None else fastjson.encode(value).decode()


def _whole(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if _SURROGATE.search(text) else text


def _vector(output: Any) -> list[float] | None:
    match output:
        case [list() as only]:
            return _vector(only)
        case [_, *_] if all(type(each) in (int, float) for each in output):
            return output  # type: ignore[no-any-return]
        case _:
            return None
