"""Rows of a CSV file whose first line has the names. Every value is text; one that is missing is null."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.unpack import unpacked


def read(
    file: InputFile,
    place: int,
    columns: tuple[str, ...] | None = None,
    counted: Callable[[InputFile, int], None] | None = None,
) -> Generator[Line, None, int]:
    """The rows of a file, see `read.Reader`; what is no row of the table comes as something that is no JSON object."""
    del columns, counted  # a row has all its values, and those may hold line breaks
    with unpacked(file) as content:
        reader = csv.DictReader(
            io.TextIOWrapper(content, encoding="utf-8-sig", errors="replace", newline=""), strict=True
        )
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Line(place, reader.line_num, f"CSV: {error}".encode(), file)
                place += 1
                continue
            if row is None:
                return place
            # More values than names: whatever was meant, it is no row of this table.
            raw = fastjson.encode(list(row.values()) if None in row else row)
            yield Line(place, reader.line_num, raw, file)
            place += 1


def count(file: InputFile) -> int | None:
    """None: a quoted value may hold line breaks, so that counting would mean reading it all."""
    del file
    return None
