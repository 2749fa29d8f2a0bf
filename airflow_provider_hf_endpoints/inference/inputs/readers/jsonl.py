"""Rows of a JSONL file: one JSON object per line. Blank lines are not rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import IO

from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import refuse_other_kinds
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.unpack import READ_BYTES, unpacked
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_BOM = b"\xef\xbb\xbf"
# Without this limit, a file without line ends would be read whole. No endpoint accepts a request of this size.
LONGEST_LINE = 1 << 28  # bytes
_SHOWN = 200  # bytes that are kept of a longer line


class _Longer(bytes):
    """The beginning of a line longer than `LONGEST_LINE`. Its `size` bytes are skipped."""

    size: int

    @classmethod
    def of(cls, beginning: bytes, content: IO[bytes]) -> _Longer:
        """From the part that was read. Reads on to the end of the line."""
        longer = cls(beginning[:_SHOWN])
        longer.size = len(beginning) + _skip_line(content)
        return longer


def _skip_line(content: IO[bytes]) -> int:
    """Read to the end of the line in pieces. Returns the number of bytes."""
    size = 0
    while rest := content.readline(READ_BYTES):
        size += len(rest)
        if rest.endswith(b"\n"):
            break
    return size


def read(
    file: InputFile,
    place: int,
    columns: tuple[str, ...] | None = None,
    counted: Callable[[InputFile, int], None] | None = None,
) -> Generator[Line, None, int]:
    """The lines of a file, unchanged; see `read.Reader`. The parser decides whether a line is JSON."""
    del columns  # a line is read whole
    number = 0
    with unpacked(file) as content:
        if not file.start:
            refuse_other_kinds(file, file.format.name, content)
        for number, text, problem in _texts(file, content):
            if text:
                yield Line(place, number, text, file, problem)
                place += 1
    if counted is not None:
        counted(file, number)
    return place


def _texts(file: InputFile, content: IO[bytes]) -> Iterator[tuple[int, bytes, str]]:
    """The number of each line, its bytes (none for a blank line), and why it cannot be a row."""
    for number, raw in enumerate(_lines(file, content), start=1):
        text = raw.strip()
        if number == 1 and not file.start:
            text = text.removeprefix(_BOM).strip()
        problem = ""
        if isinstance(raw, _Longer):
            # It is a row in any case, even if its beginning is blank.
            text = text or bytes(raw)
            problem = f"has {raw.size:,} bytes; at most {LONGEST_LINE:,} are read. Are its line ends missing?"
        yield number, text, problem


def _lines(file: InputFile, content: IO[bytes]) -> Iterator[bytes]:
    """The lines that start in the file's part. The whole line belongs to the part in which it starts."""
    if not file.is_part:
        yield from _limited(content)
        return
    at = file.start
    if at:
        # Read from the byte before. If it ends a line, a line starts here; else a line of the previous part ends here.
        at += _skip_line(content) - 1
    lines = _limited(content)
    while file.end is None or at < file.end:
        line = next(lines, None)
        if line is None:
            return
        at += line.size if isinstance(line, _Longer) else len(line)
        yield line


def _limited(content: IO[bytes]) -> Iterator[bytes]:
    """Each line; of a line longer than `LONGEST_LINE`, its beginning."""
    for line in iter(partial(content.readline, LONGEST_LINE), b""):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = _Longer.of(line, content)
        yield line


def count(file: InputFile) -> int | None:
    """Rows of a local file; None for a file that is on an object store or packed."""
    if local_path(file.path) is None or file.packing:
        return None
    with unpacked(file) as content:
        return sum(1 for _, text, _ in _texts(file, content) if text)
