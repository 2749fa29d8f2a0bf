"""The dead letter of a failed row: its output line, the row itself, and its place in the input.

The journal stores it after the output line, so that the errors file can be written without the input.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.journal.records import ERROR, Record

_TAB = b"\t"  # JSON without white space contains no tab


def with_letter(record: Record, line: Line) -> Record:
    """The record, with the dead letter of its row if the row failed."""
    if not record.flags & ERROR:
        return record
    file = None if line.file is None else str(line.file)
    # The lines of a shard are counted from its start, until the merge knows the number of lines before it.
    after = b',"after_byte":%d' % line.file.after_byte if line.file is not None and line.file.after_byte else b""
    origin = b'{"file":%b,"line":%d%b,"row":%b}' % (fastjson.encode(file), line.number, after, _as_json(line.raw))
    return record._replace(payload=output_line(record) + _TAB + origin)


def _as_json(raw: bytes) -> bytes:
    """The row as in the input; as a text if it is not JSON."""
    try:
        fastjson.decode(raw)
    except ValueError:
        return fastjson.encode(raw.decode("utf-8", "replace"))
    return raw


def output_line(record: Record) -> bytes:
    """The output line of a record."""
    return record.payload.partition(_TAB)[0]


def letter_of(record: Record) -> bytes:
    """The line of a failed row in the errors file: its output line, with `file`, `line` and `row`."""
    line, _, origin = record.payload.partition(_TAB)
    return line[:-1] + b"," + origin[1:] if origin else line
