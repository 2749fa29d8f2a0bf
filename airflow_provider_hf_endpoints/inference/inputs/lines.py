"""A row of the input in the form that every format yields: a line of JSON with its place in the input.

The request for a row is made in `requests/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError, MissingColumnError
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.formats import JSONL
from airflow_provider_hf_endpoints.inference.stores.marks import Version

RowId = str | int


class Line(NamedTuple):
    """A line that is not blank.

    :param place: place among the rows of all files, from 0
    :param number: place in its file, from 1: the line number as in an editor, or the row's number if the format has no
        lines; in a part of a file, from the part's start
    :param raw: the row as JSON, or the bytes in its place
    :param problem: why this is not a row, as words to follow its place; empty if it is a row
    :param versions: of the files that the row names, in the order of its request
    """

    place: int
    number: int
    raw: bytes
    file: InputFile | None = None
    problem: str = ""
    versions: tuple[Version, ...] = ()

    @property
    def whole(self) -> bytes:
        """All that its request depends on: the row, and which files it names."""
        return self.raw if not self.versions else b"%b %b" % (self.raw, self.stamp)

    @property
    def stamp(self) -> bytes:
        """The versions of its files as bytes."""
        return repr([tuple(version) for version in self.versions]).encode() if self.versions else b""

    @property
    def where(self) -> str:
        """File and line, for an error."""
        if self.file is None:
            return f"line {self.number}"
        after = f" after byte {self.file.after_byte}" if self.file.after_byte else ""
        return f"{self.file.format.unit} {self.number}{after} of {self.file.name}"


def parse_line(line: Line) -> dict[str, Any]:
    """The row in a line.

    :raises BadLineError: not JSON, or not an object
    """
    if line.problem:
        raise BadLineError(f"{line.where} {line.problem}: {_start(line.raw)}")
    try:
        row = fastjson.decode(line.raw)
    except UnicodeDecodeError as error:
        raise BadLineError(
            f"{line.where} is not UTF-8 (byte 0x{line.raw[error.start]:02x} at {error.start}): "
            f"{_start(line.raw)}. Convert the file to UTF-8"
        ) from None
    except ValueError as error:
        raise BadLineError(f"{line.where} is not JSON ({error}): {_start(line.raw)}{_advice(line.raw)}") from None
    if not isinstance(row, dict):
        raise BadLineError(f"{line.where} is not a JSON object: {_start(line.raw)}{_advice(line.raw)}")
    return row


def refuse_repeated_name(line: Line, row: dict[str, Any]) -> None:
    """
    Formats that are tables refuse two columns of one name by themselves.

    :param row: what stands in the line
    :raises BadLineError: an object of the row has a name twice, so that one of two values would be lost
    """
    if line.file is not None and line.file.format is not JSONL:
        return
    try:
        name = fastjson.repeated_name(line.raw, row)
    except ValueError as error:
        raise BadLineError(f"{line.where} is not JSON ({error}): {_start(line.raw)}") from None
    if name is not None:
        raise BadLineError(f"{line.where} has the name {name!r} twice, so one value would be lost. Rename one of them")


def with_line(error: Exception, line: Line) -> BatchInputError:
    """The error with file and line in its text, if they are not there yet."""
    if isinstance(error, BatchInputError) and f"{line.where} " in str(error):
        return error
    return BatchInputError(f"{line.where}: {error}")


#: How a line begins or ends that is not JSON Lines, and what to do with its file; the first that fits is used.
_SHAPES = (
    (re.compile(rb".*[}\]]\r"), "Its lines end with a carriage return alone. Convert them, with: tr '\\r' '\\n'"),
    (re.compile(rb"\{['\w]"), "It seems to be written as Python or JavaScript. Write it with a JSON library"),
    (re.compile(rb".*[}\]],$"), "Remove the comma at the end of the line"),
    (re.compile(rb".*\}\s*\{"), "Write one object per line, for example with: jq -c ."),
    (re.compile(rb'[{}]$|"(?:[^"\\]|\\.)*+"\s*:'), "Write each object on one line, for example with: jq -c ."),
    (re.compile(rb"\x00"), "Zeros stand where the text should be: the file was not written to its end. Write it again"),
    (re.compile(rb'\{\s*"'), "Correct the line. If it was cut, write the file again"),
    (re.compile(rb"[^{\[]"), 'Write one JSON object per line. If the file is CSV, set input_format="csv"'),
)
_LOOKED_AT = 1024  # bytes


def _advice(raw: bytes) -> str:
    """What to do about a line that is not a row; empty if unknown."""
    shown = raw if len(raw) <= _LOOKED_AT else raw[:_LOOKED_AT] + raw[-1:]
    return next((f". {advice}" for shape, advice in _SHAPES if shape.match(shown)), "")


def _start(raw: bytes) -> str:
    return repr(raw[:80].decode("utf-8", "replace"))


def row_id(row: Mapping[str, Any], line: Line, id_column: str | None) -> RowId:
    """The row's id: the value of `id_column`, or its place.

    :raises MissingColumnError: the column is missing
    :raises BadLineError: the column's value is neither text nor an integer
    """
    if id_column is None:
        return line.place
    if id_column not in row:
        raise MissingColumnError(id_column, row, line.where, by="id_column names")
    value = row[id_column]
    if value is None or isinstance(value, bool) or not isinstance(value, str | int):
        raise BadLineError(
            f"{line.where} has no valid id: {id_column!r} is {value!r}. Give every row a text or a whole number"
        )
    return value


def require_columns(columns: Sequence[str], row: Mapping[str, Any], where: str | None = None) -> None:
    """Check that a row has all of the given columns.

    :param where: the row's file and line, for the error
    :raises MissingColumnError: it lacks one
    """
    for name in columns:
        if name not in row:
            raise MissingColumnError(name, row, where)
