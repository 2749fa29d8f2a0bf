"""A failed row's dead letter: next to its output line, the row itself and where it stands in the input.

The journal keeps it behind the output line, so that the errors file can be written without the input.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.journal.records import ERROR, Record

_TAB = b"\t"  # which JSON without white space does not have


def with_letter(record: Record, line: Line) -> Record:
    """The record with the dead letter of its row, where it is one of a failed row."""
    if not record.flags & ERROR:
        return record
    file = None if line.file is None else str(line.file)
    # The lines of a shard are counted from where it begins, until the merge knows those before it.
    after = b',"after_byte":%d' % line.file.start if line.file is not None and line.file.start else b""
    origin = b'{"file":%b,"line":%d%b,"row":%b}' % (fastjson.encode(file), line.number, after, _as_json(line.raw))
    return record._replace(payload=output_line(record) + _TAB + origin)


def _as_json(raw: bytes) -> bytes:
    """The row as it stands in the input; as a text where it is not JSON."""
    try:
        fastjson.decode(raw)
    except ValueError:
        return fastjson.encode(raw.decode("utf-8", "replace"))
    return raw


def output_line(record: Record) -> bytes:
    """A record's line of the output."""
    return record.payload.partition(_TAB)[0]


def letter_of(record: Record) -> bytes:
    """A failed row's line of the errors file: its output line, and in it `file`, `line` and `row`."""
    line, _, origin = record.payload.partition(_TAB)
    return line[:-1] + b"," + origin[1:] if origin else line
