"""A row for each file of a folder or pattern: its path, name, size and version. The files are not opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.listing import Listed, list_files
from airflow_provider_hf_endpoints.inference.stores.paths import local_path


def read(
    file: InputFile,
    place: int,
    columns: tuple[str, ...] | None = None,
    counted: Callable[[InputFile, int], None] | None = None,
) -> Generator[Line, None, int]:
    """The files of an entry, see `read.Reader`.

    :raises BatchInputError: the folder does not exist, or may not be read
    """
    del columns, counted  # a row has four short values, and its number counts from the entry's first file
    for number, listed in enumerate(_part(file), start=file.start + 1):
        yield _line(file, place, number, listed)
        place += 1
    return place


def _part(file: InputFile) -> Iterator[Listed]:
    return itertools.islice(list_files(file), file.start, file.end)


def _line(file: InputFile, place: int, number: int, listed: Listed) -> Line:
    version = listed.version
    row: dict[str, Any] = {"path": listed.path, "name": listed.name, "size": version.size, "version": version.mark}
    return Line(place, number, fastjson.encode(row), file)


def count(file: InputFile) -> int | None:
    """The number of files on a disk; None on a store, which takes a request for each thousand."""
    return sum(1 for _ in _part(file)) if local_path(file.path) is not None else None
