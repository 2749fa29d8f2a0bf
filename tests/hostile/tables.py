"""A case's rows as the bytes of an input file, in each format that a batch reads."""

from __future__ import annotations

import csv
import decimal
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.cases import BAD_LINES, Case, Row

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
#: Types that a column of a Parquet file may have, with values for it.
COLUMNS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string(), ["a", "", "\x00", "é\u2028", "x" * 5000]),
    (pa.large_string(), ["a", '{"role": "user"}']),
    (pa.binary(), [b"", b"\xff\x00", b"text"]),
    (pa.bool_(), [True, False]),
    (pa.uint64(), [0, 2**64 - 1]),
    (pa.int64(), [-(2**63), 2**63 - 1]),
    (pa.float64(), [float("nan"), float("inf"), -0.0, 1e308, 5e-324]),
    (pa.float32(), [float("-inf"), 0.1]),
    (pa.decimal128(38, 10), [decimal.Decimal("12345678901234567890.0123456789"), decimal.Decimal(0)]),
    (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    (pa.timestamp("ns", tz="UTC"), [NOW]),
    (pa.timestamp("s"), [datetime(1, 1, 1), datetime(9999, 12, 31)]),
    (pa.time64("us"), [time(0, 0), time(23, 59, 59, 999999)]),
    (pa.duration("ms"), [timedelta(days=-1), timedelta(milliseconds=1)]),
    (pa.null(), [None]),
    (pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), [[], [{"role": "user", "content": None}]]),
    (pa.struct([("a", pa.struct([("b", pa.list_(pa.int8()))])), ("c", pa.string())]), [{"a": {"b": [1]}, "c": None}]),
    (pa.map_(pa.string(), pa.timestamp("ns")), [[("a", NOW)], []]),
    (pa.map_(pa.int32(), pa.string()), [[(1, "x"), (1, "y")]]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
    (pa.list_(pa.float32(), 2), [[1.0, float("nan")]]),
]
#: A date that no Python has.
FAR = pa.array([2**62], pa.timestamp("us"))


def input_of(case: Case) -> bytes:
    """The whole file."""
    kind = case.input_format.removesuffix(".gz")
    data = _WRITERS[kind](case)
    return gzip.compress(data) if case.input_format.endswith(".gz") else data


def line_of(row: Row, number: int) -> bytes:
    """The row as a line of JSON; a row that is one carries its number in `n`."""
    if row.bad is not None:
        return BAD_LINES[row.bad]
    content = {"n": number, "extra": row.extra} | ({} if row.missing else {"q": row.question})
    return json.dumps(content).encode()


def _jsonl(case: Case) -> bytes:
    return b"".join(line_of(row, number) + b"\n" for number, row in enumerate(case.rows))


def _openai(case: Case) -> bytes:
    lines = []
    for number, row in enumerate(case.rows):
        if row.bad is not None:
            lines.append(BAD_LINES[row.bad])
            continue
        body: dict[str, Any] = {"messages": [{"role": "user", "content": f"{number}|{row.question}"}], "max_tokens": 5}
        if row.extra != "e":
            body["user"] = row.extra
        line = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        if row.missing:
            del line["body"]
        lines.append(json.dumps(line).encode())
    return b"".join(line + b"\n" for line in lines)


def _csv(case: Case) -> bytes:
    """A row that is none has more values than the table has columns, one without `q` fewer."""
    table = case.table
    text = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if table.quotes_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator=table.line_end, quoting=quoting)
    writer.writerow(["n", "extra", "q"])
    for number, row in enumerate(case.rows):
        values = [str(number), _cell(row.extra), _cell(row.question)]
        writer.writerow([*values, "and", "more"] if row.bad is not None else values[:2] if row.missing else values)
    return text.getvalue().encode(table.codec, "replace")


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _parquet(case: Case) -> bytes:
    """`extra` has any type; a row that is none, or has no `q`, has null there."""
    count, table = len(case.rows), case.table
    kind, values = COLUMNS[table.column % len(COLUMNS)]
    extra = [None if row.bad is not None else values[number % len(values)] for number, row in enumerate(case.rows)]
    column = pa.array(extra, kind) if table.column != FAR_COLUMN else pa.concat_arrays([FAR] * count)
    questions = [None if row.missing or row.bad is not None else _cell(row.question) for row in case.rows]
    columns = {"n": pa.array(range(count)), "extra": column, "q": pa.array(questions, pa.string())}
    names = [*columns, *(["q"] if table.doubled else [])]
    made = pa.Table.from_arrays([*columns.values(), *([columns["q"]] if table.doubled else [])], names=names)
    sink = io.BytesIO()
    pq.write_table(made, sink, row_group_size=table.group)
    return sink.getvalue()


FAR_COLUMN = len(COLUMNS)
_WRITERS: dict[str, Callable[[Case], bytes]] = {
    "jsonl": _jsonl,
    "openai": _openai,
    "csv": _csv,
    "parquet": _parquet,
}
