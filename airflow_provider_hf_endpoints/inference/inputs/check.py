"""Whether an input is valid, judged by the first rows of its files. Reads no further."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import (
    BadLineError,
    BatchInputError,
    EmptyInputError,
    MissingColumnError,
)
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.formats import JSONL
from airflow_provider_hf_endpoints.inference.inputs.lines import (
    Line,
    parse_line,
    refuse_repeated_name,
    require_columns,
    with_line,
)
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines

FIRST_ROWS = 100
FIRST_FILES = 100


def check_rows(
    source: Input, columns: Sequence[str], *, keep: Sequence[str] = (), stop_on_bad: bool, may_be_empty: bool
) -> Line | None:
    """Refuse an input without rows, or with rows that are not as expected.

    A line that is not a row is refused only if a file's first hundred lines contain no row. At most a hundred files are
    checked for that.

    :param columns: columns that every row must have
    :param keep: columns that some row must have
    :param stop_on_bad: also refuse a single line that is not a row
    :param may_be_empty: the input may have no row
    :return: the first row, None if the checked files have none
    :raises BatchInputError: there is no file, it is empty or incomplete, or its rows lack a column
    """
    rows, first = 0, None
    present: dict[str, None] = {}
    for file in source.files[:FIRST_FILES]:
        lines = list(itertools.islice(read_lines(source.only(file)), FIRST_ROWS))
        if stop_on_bad or not _is_fragment(file, lines):
            _check_first(file, lines, columns, stop_on_bad)
        _refuse_repeated_names(file, lines)
        rows += len(lines)
        first = first or next(iter(lines), None)
        if keep:
            present.update(dict.fromkeys(name for line in lines for name in _names_in(line)))
    if not may_be_empty and not rows and next(read_lines(source), None) is None:
        empty = f"input {source} contains no file" if source.is_listed else f"input file {source} is empty"
        raise EmptyInputError(empty)
    # A shard may have few rows, and another part of the input may have the column.
    if present and not source.whole:
        for name in keep:
            if name not in present:
                raise MissingColumnError(name, present, f"input {source}", "keep_columns names")
    return first


def columns_of(first: Line, source: Input) -> tuple[str, ...]:
    """All columns of the first row, also unread ones; none if the line is not a row."""
    if source.columns is not None and source.files[0].format is not JSONL:
        with suppress(BatchInputError):  # a column that is not read may have a type that JSON lacks
            first = next(read_lines(replace(source, columns=None)), first)
    return tuple(_names_in(first))


def _names_in(line: Line) -> Iterable[str]:
    try:
        return parse_line(line)
    except BadLineError:
        return ()


def _is_fragment(file: InputFile, lines: list[Line]) -> bool:
    """Whether bad lines may appear in a good file, because they are not its first hundred."""
    return file.start > 0 or (file.end is not None and len(lines) < FIRST_ROWS)


def _check_first(file: InputFile, lines: list[Line], columns: Sequence[str], stop_on_bad: bool) -> None:
    problems: list[BatchInputError] = []
    for line in lines:
        try:
            require_columns(columns, parse_line(line), line.where)
        except BatchInputError as error:
            problems.append(error)
    if problems and lines[0].raw.startswith(b"[") and file.format is JSONL:
        # A single line of an array may happen to be an object.
        raise BatchInputError(
            f"input file {file} starts with a JSON array. Write one object per line (JSON Lines), for example with: "
            "jq -c '.[]'"
        )
    if problems and (len(problems) == len(lines) or stop_on_bad):
        raise BatchInputError.within(file, problems[0])


def _refuse_repeated_names(file: InputFile, lines: list[Line]) -> None:
    """Refuse a file in which a row has a name twice, which the program that wrote the file does to every row.

    Not where the lines stand in the middle of a file: there such a row is an error row, as it is in a file that is
    read from its beginning.

    :raises BatchInputError: one value would be lost
    """
    for line in lines if file.start == 0 else ():
        try:
            row = parse_line(line)
        except BadLineError:
            continue
        try:
            refuse_repeated_name(line, row)
        except BadLineError as error:
            raise BatchInputError.within(file, error) from None


def check_first_rows(source: Input, render: Callable[[Mapping[str, Any]], object]) -> None:
    """Make the requests of the first rows, without sending them.

    :raises BatchInputError: none can be made, although they are the first rows of their file, or the engine
        does not serve the task
    """
    last: Exception | None = None
    lines = list(itertools.islice(read_lines(source), FIRST_ROWS))
    for line in lines:
        try:
            render(parse_line(line))
        except InferenceError as error:
            last = last or error
        except BatchInputError as error:
            last = last or BatchInputError.within(line.file, with_line(error, line))
        else:
            return
    if isinstance(last, InferenceError):
        raise BatchInputError(str(last)) from last
    if last is not None and not _is_fragment(source.files[0], lines):
        raise last
