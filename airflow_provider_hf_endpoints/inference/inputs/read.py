"""The rows of all files of an input, one after the other, each by its format's reader."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from typing import Protocol, cast

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line


class Reader(Protocol):
    """The interface of a reader's module."""

    def read(
        self,
        file: InputFile,
        place: int,
        columns: tuple[str, ...] | None,
        counted: Callable[[InputFile, int], None] | None,
    ) -> Generator[Line, None, int]:
        """The rows of a file, each as a line of JSON.

        :param place: of its first row in the whole input; the generator returns the place after its last row
        :param columns: columns that the batch needs, None for all; some formats skip the others
        :param counted: called at the end with the number of lines, with blank ones, if the format has lines
        """

    def count(self, file: InputFile) -> int | None:
        """Rows of a file if counting is quick, else None."""


def read_lines(source: Input, counted: Callable[[InputFile, int], None] | None = None) -> Iterator[Line]:
    """The rows of an input, each as a line of JSON, with their places in the whole input.

    :param counted: called at the end of each file of lines with their number, with blank ones
    :raises BatchInputError: a file is missing, incomplete or damaged
    """
    place = 0
    for file in source.files:
        place = yield from _reader(file).read(file, place, source.columns, counted)


def count_lines(source: Input) -> int | None:
    """Rows of the input if counting is quick, else None. Reads the files."""
    total = 0
    for file in source.files:
        found = _reader(file).count(file)
        if found is None:
            return None
        total += found
    return total


def _reader(file: InputFile) -> Reader:
    """Imported for the first such file: Arrow takes a second and fifty megabytes."""
    return cast(Reader, import_module(f"{__package__}.readers.{file.format.reader}"))
