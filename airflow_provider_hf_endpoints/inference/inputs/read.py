"""The rows of all files of an input, one after the other: picks the reader for each file's format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

from airflow_provider_hf_endpoints.inference.inputs import csv_table, jsonl
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line


def read_lines(source: Input, counted: Callable[[InputFile, int], None] | None = None) -> Iterator[Line]:
    """The rows of an input, each as a line of JSON, their places counted across its files.

    :param counted: told at the end of each file of lines how many they were, blank ones too
    :raises BatchInputError: a file is not there, is cut short or damaged
    """
    place = 0
    for file in source.files:
        match file.format:
            case "jsonl":
                place = yield from jsonl.read(file, place, counted)
            case "csv":
                place = yield from csv_table.read(file, place)
            case "parquet":
                place = yield from _parquet().read(file, place, source.columns)


def count_lines(source: Input) -> int | None:
    """Rows of the input where counting them is quick, None where it is not. Reads the files."""
    total = 0
    for file in source.files:
        match file.format:
            case "jsonl":
                found = jsonl.count(file)
            case "csv":
                found = None
            case "parquet":
                found = _parquet().count(file)
        if found is None:
            return None
        total += found
    return total


def _parquet() -> ModuleType:
    """The reader for Parquet, imported where there is such a file: Arrow takes a second and fifty megabytes."""
    from airflow_provider_hf_endpoints.inference.inputs import parquet

    return parquet
