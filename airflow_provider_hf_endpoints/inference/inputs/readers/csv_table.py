"""Rows of a CSV file. The first line has the names. Every value is text; an empty or missing value is null."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any, cast

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import encoding_of, refuse_other_kinds
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.unpack import unpacked

#: Characters of one value. If a quote is never closed, all that follows is one value. This limits the memory.
MOST_CHARACTERS = 64 << 20


def read(
    file: InputFile,
    place: int,
    columns: tuple[str, ...] | None = None,
    counted: Callable[[InputFile, int], None] | None = None,
) -> Generator[Line, None, int]:
    """The rows of a file, see `read.Reader`.

    A row with more values than names is an error of this row. After an error of the table itself, the next row's start
    is unknown, so the input ends there.

    :raises BatchInputError: the text is in another encoding, a quote is not closed, or two columns have one name
    """
    del columns, counted  # a row has all its values, and a value may contain line breaks
    with unpacked(file) as content:
        refuse_other_kinds(file, file.format.name, content, encoding=file.csv.encoding)
        names: list[str] = []
        for number, values in _rows(file, io.TextIOWrapper(content, encoding=_codec(file, content), newline="")):
            if not names:
                names = _checked(file, values)
            elif values:  # a blank line is not a row
                yield _line(file, place, number, names, values)
                place += 1
    return place


def _codec(file: InputFile, content: IO[bytes]) -> str:
    """The codec of the file's encoding. It skips a byte order mark."""
    named = file.csv.encoding or "utf-8-sig"
    marked = encoding_of(cast("io.BufferedReader", content).peek(4)[:4]) if named.endswith(("-le", "-be")) else None
    return marked.lower() if marked in ("UTF-16", "UTF-32") else named


def _delimiter(file: InputFile) -> str:
    """The delimiter from the job, else from the file's name."""
    named = file.name.lower().removesuffix(file.packing).endswith(".tsv")
    return file.csv.delimiter or ("\t" if named else ",")


def _rows(file: InputFile, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    """The number of each row's last line, and its values."""
    csv.field_size_limit(max(MOST_CHARACTERS, csv.field_size_limit()))  # the module's own bound is 128 KB
    reader = csv.reader(text, delimiter=_delimiter(file), strict=True)
    try:
        for values in reader:
            yield reader.line_num, values
    except UnicodeError as error:
        raise BatchInputError(
            f"input file {file} is not valid {file.csv.encoding or 'utf-8'} ({error}, after line {reader.line_num}). "
            'Set its encoding, such as encoding="cp1252", or convert the file to UTF-8. The rows before this line '
            "are valid"
        ) from None
    except csv.Error as error:
        raise BatchInputError(
            f"input file {file} is not valid CSV from line {reader.line_num} on ({error}), so the start of the next "
            'row is unknown. Close every quote, and double quotes within a value (""). The rows before this line '
            "are valid"
        ) from None


def _checked(file: InputFile, names: list[str]) -> list[str]:
    """The names in the first line.

    :raises BatchInputError: a name appears twice
    """
    doubled = [name for name, count in Counter(names).items() if count > 1 and name]
    if doubled:
        raise BatchInputError(f"input file {file} has two columns with the name {doubled[0]!r}. Rename one of them")
    return names


def _line(file: InputFile, place: int, number: int, names: list[str], values: list[str]) -> Line:
    problem = ""
    row: Any = {name: value or None for name, value in zip(names, values, strict=False)}
    if len(values) > len(names):
        problem = f"has {len(values)} values, but the table has {len(names)} columns"
        row = values
    for name in names[len(values) :]:
        row[name] = None
    if not problem and names.count("") > 1:
        del row[""]  # it would be the last of several
    return Line(place, number, fastjson.encode(row), file, problem)


def count(file: InputFile) -> int | None:
    """None: a quoted value may contain line breaks, so counting rows would mean reading the whole file."""
    del file
    return None
