"""A case's rows as the bytes of an input file, in each format that a batch reads."""

from __future__ import annotations

import csv
import decimal
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_hf_endpoints.inference.inputs.unpack import packing as packer_of
from tests.hostile.cases import BAD_LINES, ODD_IDS, Case, Row

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


def input_of(case: Case, rows: Sequence[tuple[int, Row]]) -> bytes:
    """A whole file of some rows, each with its number."""
    kind, _, packing = case.input_format.partition(".")
    data = _WRITERS[kind](case, rows)
    if not packing:
        return data
    match case.wrap:
        case "in parts":
            middle = len(data) // 2
            return _packed(data[:middle], packing) + _packed(b"", packing) + _packed(data[middle:], packing)
        case "zeros behind":
            return _packed(data, packing) + bytes(700)
        case "twice":
            return _packed(_packed(data, packing), packing)
        case "junk behind":
            return _packed(data, packing) + b"junk"
        case "cut":
            return _packed(data, packing)[:-3]
        case _:
            return _packed(data, packing)


def _packed(data: bytes, packing: str) -> bytes:
    file = io.BytesIO()
    with packer_of(f".{packing}", file) as packer:
        packer.write(data)
    return file.getvalue()


def line_of(case: Case, row: Row, number: int) -> bytes:
    """The row as a line of JSON; a row that is one carries its number in `n`."""
    if row.bad is not None:
        return BAD_LINES[row.bad]
    content = {"n": number, "extra": row.extra} | ({} if row.missing else {"q": row.question})
    return json.dumps(content | ({"id": id_of(row, number)} if case.ids else {})).encode()


def id_of(row: Row, number: int) -> Any:
    """The id of a row, where rows have ids."""
    return f"row-{number}" if row.odd_id is None else ODD_IDS[row.odd_id]


def _jsonl(case: Case, rows: Sequence[tuple[int, Row]]) -> bytes:
    return b"".join(line_of(case, row, number) + b"\n" for number, row in rows)


def _openai(case: Case, rows: Sequence[tuple[int, Row]]) -> bytes:
    lines = []
    for number, row in rows:
        if row.bad is not None:
            lines.append(BAD_LINES[row.bad])
            continue
        text = f"{number}|{row.question}"
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "max_tokens": 5}
        if case.route == "/v1/score":
            body = {"text_1": text, "text_2": ["a", "b"]}
        if case.route == "/v1/rerank":
            body = {"query": text, "documents": ["a", "b"]}
        if row.extra != "e":
            body["user"] = row.extra
        line = {"custom_id": f"row-{number}", "method": "POST", "url": case.route, "body": body}
        if row.missing:
            del line["body"]
        lines.append(json.dumps(line).encode())
    return b"".join(line + b"\n" for line in lines)


def _csv(case: Case, rows: Sequence[tuple[int, Row]]) -> bytes:
    """A row that is none has more values than the table has columns, one without `q` fewer."""
    table = case.table
    text = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if table.quotes_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator=table.line_end, quoting=quoting)
    ids = ["id"] if case.ids else []
    writer.writerow(["n", *ids, "extra", "q"])
    for number, row in rows:
        own = [cell(id_of(row, number))] if case.ids else []
        values = [str(number), *own, cell(row.extra), cell(row.question)]
        writer.writerow([*values, "and", "more"] if row.bad is not None else values[:-1] if row.missing else values)
    return text.getvalue().encode(table.codec, "replace")


def cell(value: Any) -> str:
    """A value as a table has it."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _parquet(case: Case, rows: Sequence[tuple[int, Row]]) -> bytes:
    """`extra` has any type; a row that is none, or has no `q`, has null there."""
    count, table = len(rows), case.table
    kind, values = COLUMNS[table.column % len(COLUMNS)]
    extra = [None if row.bad is not None else values[number % len(values)] for number, row in rows]
    column = pa.array(extra, kind) if table.column != FAR_COLUMN else pa.concat_arrays([FAR] * count)
    questions = [None if row.missing or row.bad is not None else cell(row.question) for _, row in rows]
    columns = {"n": pa.array([number for number, _ in rows]), "extra": column, "q": pa.array(questions, pa.string())}
    if case.ids:
        columns["id"] = pa.array([utf8(id_of(row, number)) for number, row in rows], pa.string())
    names = [*columns, *(["q"] if table.doubled else [])]
    made = pa.Table.from_arrays([*columns.values(), *([columns["q"]] if table.doubled else [])], names=names)
    sink = io.BytesIO()
    pq.write_table(made, sink, row_group_size=table.group)
    return sink.getvalue()


def utf8(value: Any) -> str | None:
    """An id as a column of texts has it."""
    return None if value is None else cell(value).encode("utf-8", "replace").decode()


FAR_COLUMN = len(COLUMNS)
_WRITERS: dict[str, Callable[[Case, Sequence[tuple[int, Row]]], bytes]] = {
    "jsonl": _jsonl,
    "openai": _openai,
    "csv": _csv,
    "tsv": _csv,
    "parquet": _parquet,
}
