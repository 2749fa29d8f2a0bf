"""Rows of a JSONL file: one JSON object a line. Blank lines are not rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import IO

from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.refusals import refuse_other_kinds
from airflow_provider_hf_endpoints.inference.inputs.unpack import unpacked
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_BOM = b"\xef\xbb\xbf"


def read(
    file: InputFile,
    place: int,
    columns: tuple[str, ...] | None = None,
    counted: Callable[[InputFile, int], None] | None = None,
) -> Generator[Line, None, int]:
    """The lines of a file as they stand there, see `read.Reader`; whether one is JSON is for whoever parses it."""
    del columns  # a line is read whole
    number = 0
    with unpacked(file) as content:
        if not file.start:
            refuse_other_kinds(file, file.format.name, content)
        for number, text in _texts(file, content):
            if text:
                yield Line(place, number, text, file)
                place += 1
    if counted is not None:
        counted(file, number)
    return place


def _texts(file: InputFile, content: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The number of each line, and what stands there; nothing on a blank one."""
    for number, raw in enumerate(_lines(file, content), start=1):
        text = raw.strip()
        if number == 1 and not file.start:
            text = text.removeprefix(_BOM).strip()
        yield number, text


def _lines(file: InputFile, content: IO[bytes]) -> Iterator[bytes]:
    """The lines that start in the file's part. A line belongs to the part in which it starts, all of it."""
    if not file.is_part:
        yield from content
        return
    at = file.start
    if at:
        # From the byte before: where that one ends a line, a line starts here; else one of the part before ends here.
        at += len(content.readline()) - 1
    while file.end is None or at < file.end:
        line = content.readline()
        if not line:
            return
        at += len(line)
        yield line


def count(file: InputFile) -> int | None:
    """Rows of a local file, quickly; None where that would mean reading an object store or unpacking."""
    if local_path(file.path) is None or file.packing:
        return None
    with unpacked(file) as content:
        return sum(1 for _, text in _texts(file, content) if text)
