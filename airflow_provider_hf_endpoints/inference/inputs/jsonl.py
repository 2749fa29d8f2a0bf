"""Rows of a JSONL file: one JSON object a line. Blank lines are no rows."""

from __future__ import annotations

from collections.abc import Generator

from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.unpack import unpacked
from airflow_provider_hf_endpoints.inference.paths import local_path

_BOM = b"\xef\xbb\xbf"


def read(file: InputFile, place: int) -> Generator[Line, None, int]:
    """The lines of a file as they stand there; whether one is JSON is for whoever parses it.

    :param place: of its first row among the rows of all files; returns the place after its last one
    """
    with unpacked(file) as content:
        for number, raw in enumerate(content, start=1):
            text = raw.strip()
            if number == 1 and text.startswith(_BOM):
                text = text[len(_BOM) :]
            if text:
                yield Line(place, number, text, file)
                place += 1
    return place


def count(file: InputFile) -> int | None:
    """Rows of a local file, quickly; None where that would mean reading an object store or unpacking."""
    local = local_path(file.path)
    if local is None or file.packing:
        return None
    found, last = 0, b"\n"
    with open(local, "rb") as content:
        while block := content.read(1 << 20):
            found += block.count(b"\n") - block.count(b"\n\n")  # blank lines are not rows
            last = block[-1:]
    return found + (last != b"\n")
