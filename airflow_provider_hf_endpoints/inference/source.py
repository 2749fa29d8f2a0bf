"""The input as numbered lines, read ahead in a thread so that a slow object store never holds up the
requests."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, NamedTuple, cast

from upath import UPath

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.paths import local_path

BLOCK_LINES = 512
BLOCK_BYTES = 1 << 20
BLOCKS_AHEAD = 2
READ_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that holds something.

    :param place: place among the rows, from 0
    :param number: place in the file, from 1, as an editor counts
    """

    place: int
    number: int
    raw: bytes


class _Bytes(io.RawIOBase):
    """A file of which nothing is expected but `read` and `close`: what Airflow 3.0's paths open cannot be
    iterated."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_input(path: UPath) -> IO[bytes]:
    """The input's bytes, unpacked when the name ends in `.gz`.

    :raises BatchInputError: there is no such file
    """
    try:
        file = io.BufferedReader(_Bytes(path.open("rb")), READ_BYTES)
    except FileNotFoundError:
        raise BatchInputError(f"input file {path} does not exist") from None
    except IsADirectoryError:
        raise BatchInputError(f"input {path} is a folder, not a file") from None
    if path.name.endswith(".gz"):
        return cast("IO[bytes]", io.BufferedReader(gzip.GzipFile(fileobj=file), READ_BYTES))
    return cast("IO[bytes]", file)


def read_lines(path: UPath, input_format: str = "auto") -> Iterator[Line]:
    """The rows of a file, each as a line of JSON; blank lines are not rows."""
    return _read_csv(path) if is_csv(path, input_format) else _read_jsonl(path)


def is_csv(path: UPath, input_format: str) -> bool:
    """Whether a file is to be read as CSV."""
    return input_format == "csv" or (input_format == "auto" and path.name.removesuffix(".gz").endswith(".csv"))


def _read_jsonl(path: UPath) -> Iterator[Line]:
    place = 0
    with open_input(path) as file:
        for number, raw in enumerate(file, start=1):
            content = raw.strip()
            if number == 1 and content.startswith(_BOM):
                content = content[len(_BOM) :]
            if content:
                yield Line(place, number, content)
                place += 1


def _read_csv(path: UPath) -> Iterator[Line]:
    """Rows of a CSV whose first line has the names; every value is text, one that is missing is null."""
    with open_input(path) as file:
        reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline=""), strict=True)
        place = 0
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Line(place, reader.line_num, f"CSV: {error}".encode())
                place += 1
                continue
            if row is None:
                return
            # More values than names: whatever was meant, it is no row of this table.
            content = fastjson.encode(list(row.values()) if None in row else row)
            yield Line(place, reader.line_num, content)
            place += 1


def count_lines(path: UPath, input_format: str) -> int | None:
    """Rows of a local file, quickly; None where that would mean reading an object store or unpacking."""
    local = local_path(path)
    if local is None or is_csv(path, input_format) or path.name.endswith(".gz"):
        return None
    count, last = 0, b"\n"
    with open(local, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n") - block.count(b"\n\n")  # blank lines are not rows
            last = block[-1:]
    return count + (last != b"\n")


class LineSource:
    """Lines of a file for an event loop: `next_line` never blocks, `fill` fetches the next block in a thread.

    :param path: the input
    """

    def __init__(self, path: UPath, input_format: str = "auto") -> None:
        self._path, self._input_format = path, input_format
        self._lines = read_lines(path, input_format)
        self._blocks: deque[list[Line]] = deque()
        self._current: Iterator[Line] = iter(())
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batch-input")
        self.exhausted = False
        self.waiting = 0
        self.read = 0

    @property
    def wants_more(self) -> bool:
        """Whether `fill` should be called."""
        return not self.exhausted and len(self._blocks) < BLOCKS_AHEAD

    def next_line(self) -> Line | None:
        """The next line that is at hand; None when there is none just now, or none any more."""
        while True:
            line = next(self._current, None)
            if line is not None:
                self.waiting -= 1
                return line
            if not self._blocks:
                return None
            self._current = iter(self._blocks.popleft())

    async def fill(self) -> None:
        """Fetch one block."""
        block = await asyncio.get_running_loop().run_in_executor(self._pool, self._next_block)
        if block:
            self._blocks.append(block)
            self.waiting += len(block)
            self.read += len(block)
        else:
            self.exhausted = True

    def _next_block(self) -> list[Line]:
        block: list[Line] = []
        size = 0
        for line in self._lines:
            block.append(line)
            size += len(line.raw)
            if len(block) >= BLOCK_LINES or size >= BLOCK_BYTES:
                break
        return block

    def count(self) -> int | None:
        """How many rows there are, None where counting costs too much. Reads the file; call it in a thread."""
        return count_lines(self._path, self._input_format)

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True)
        self._lines.close()  # type: ignore[attr-defined]  # a generator, which is more than an iterator
