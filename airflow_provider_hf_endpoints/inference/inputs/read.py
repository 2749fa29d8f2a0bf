"""The rows of all files of an input, one after the other, each by its format's reader."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from typing import Protocol, cast

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line


class Reader(Protocol):
    """What a reader's module has."""

    def read(
        self,
        file: InputFile,
        place: int,
        columns: tuple[str, ...] | None,
        counted: Callable[[InputFile, int], None] | None,
    ) -> Generator[Line, None, int]:
        """The rows of a file, each as a line of JSON.

        :param place: of its first row among the rows of all files; returns the place after its last one
        :param columns: columns that the batch needs, None for all; a format that can leaves the others unread
        :param counted: told at the end how many lines there were, blank ones too, where the format has lines
        """

    def count(self, file: InputFile) -> int | None:
        """Rows of a file where counting them is quick, None where it is not."""


def read_lines(source: Input, counted: Callable[[InputFile, int], None] | None = None) -> Iterator[Line]:
    """The rows of an input, each as a line of JSON, their places counted across its files.

    :param counted: told at the end of each file of lines how many they were, blank ones too
    :raises BatchInputError: a file is not there, is cut short or damaged
    """
    place = 0
    for file in source.files:
        place = yield from _reader(file).read(file, place, source.columns, counted)


def count_lines(source: Input) -> int | None:
    """Rows of the input where counting them is quick, None where it is not. Reads the files."""
    total = 0
    for file in source.files:
        found = _reader(file).count(file)
        if found is None:
            return None
        total += found
    return total


def _reader(file: InputFile) -> Reader:
    """Imported where there is such a file: Arrow, for one, takes a second and fifty megabytes."""
    return cast(Reader, import_module(f"{__package__}.{file.format.reader}"))
