"""A row of the input as every format yields it: a line of JSON that knows where it comes from."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_hf_endpoints.inference.inputs.files import InputFile


class Line(NamedTuple):
    """A line that holds something.

    :param place: place among the rows of all files, from 0
    :param number: place in its file, from 1: the line as an editor counts, the row where a format has no lines; in a
        part of a file, from that part's start
    :param raw: the row as JSON, or what stands in its place
    """

    place: int
    number: int
    raw: bytes
    file: InputFile | None = None

    @property
    def where(self) -> str:
        """File and line, for an error."""
        if self.file is None:
            return f"line {self.number}"
        unit = "row" if self.file.format == "parquet" else "line"
        after = f" after byte {self.file.start}" if self.file.start else ""
        return f"{unit} {self.number}{after} of {self.file.name}"
