"""The input, read ahead in a thread, so that a slow object store does not delay the requests."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_hf_endpoints.inference.input_errors import BatchError, BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.read import count_lines, read_lines
from airflow_provider_hf_endpoints.inference.inputs.versions import RowsDigest, versions_of
from airflow_provider_hf_endpoints.inference.stores.patience import patiently_here

log = logging.getLogger(__name__)

BLOCK_LINES = 512
BLOCK_BYTES = 1 << 20
BLOCKS_AHEAD = 2
#: Lines after which a block ends even if nearly all of them were skipped, so that closing never waits long.
BLOCK_SKIPPED = 50_000


class LineSource:
    """Lines of the input for an event loop: `next_line` never blocks, `fill` fetches the next block in a thread.

    :param source: the input
    """

    def __init__(self, source: Input) -> None:
        self._input = source
        #: Adds to lines what the input does not have, None for nothing. Set before the first block.
        self.through: Callable[[Iterator[Line]], Iterator[Line]] | None = None
        self._lines: Iterator[Line] | None = None
        self._blocks: deque[list[Line]] = deque()
        self._current: Iterator[Line] = iter(())
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batch-input")
        #: Whether a line, by place and bytes, need not be delivered. Called in the reading thread.
        self.skips: Callable[[int, bytes], bool] = lambda place, raw: False
        #: The number of lines, with blank ones, of each part of a file that was read to its end.
        self.lines: dict[str, int] = {}
        #: Of all lines that were read.
        self.digest = RowsDigest()
        self._broken: Exception | None = None
        self._place = 0  # lines that were read
        self._closed = threading.Event()
        self.exhausted = False
        #: Whether `fill` should be called.
        self.wants_more = True
        self.waiting = 0
        self.read = 0
        self.skipped = 0

    def next_line(self) -> Line | None:
        """The next available line; None if none is available now, or the input has ended."""
        while True:
            line = next(self._current, None)
            if line is not None:
                self.waiting -= 1
                return line
            if not self._blocks:
                return None
            self._current = iter(self._blocks.popleft())
            self.wants_more = not self.exhausted

    async def fill(self) -> None:
        """Fetch one block.

        :raises BatchInputError: the input is damaged after the last delivered row, or has changed
        :raises BatchStoreError: its store failed for two minutes
        """
        block, read = await asyncio.get_running_loop().run_in_executor(self._pool, self._patient_block)
        if block:
            self._blocks.append(block)
        self.waiting += len(block)
        self.read += read
        self.skipped += read - len(block)
        self.exhausted = read == 0
        self.wants_more = not self.exhausted and len(self._blocks) < BLOCKS_AHEAD

    def _patient_block(self) -> tuple[list[Line], int]:
        """The next block. If the store fails briefly, the input is read again up to the same position."""
        return patiently_here(self._next_block, "reading the input", sleep=self._pause)

    def _pause(self, seconds: float) -> None:
        """Before the input is read again; `close` ends it."""
        self._closed.wait(seconds)

    def _next_block(self) -> tuple[list[Line], int]:
        """Lines to deliver, and the number of lines read for them; 0 at the end. An error of the input is raised by the
        next call, so that the lines before the error are not lost."""
        if isinstance(self._broken, BatchError) or (self._broken is not None and self._closed.is_set()):
            raise self._broken
        if self._broken is not None:
            self._lines = self._opened_again()
            self._broken = None
        if self._lines is None:
            self._lines = self._added(read_lines(self._input, self._counted))
        block: list[Line] = []
        lines: list[Line] = []
        size = 0
        skips = self.skips
        try:
            for line in self._lines:
                lines.append(line)
                size += len(line.raw)
                if not skips(line.place, line.whole if line.versions else line.raw):
                    block.append(line)
                if len(block) >= BLOCK_LINES or size >= BLOCK_BYTES or len(lines) >= BLOCK_SKIPPED:
                    break
        except Exception as error:
            self._broken = error
            if not lines:
                raise
        read = len(lines)
        self._place += read
        self.digest.add(lines)
        if not read:
            self._refuse_changed()  # this may be the end of a file that was rewritten meanwhile
        return block, read

    def _opened_again(self) -> Iterator[Line]:
        """The lines after those that were read.

        :raises BatchInputError: a file has changed, so its lines may differ
        """
        self._refuse_changed()
        lines = read_lines(self._input, self._counted)
        again = RowsDigest()
        while some := list(itertools.islice(lines, min(BLOCK_LINES, self._place - again.rows))):
            again.add(some)
        if self._input.is_listed and again.hexdigest() != self.digest.hexdigest():
            raise BatchInputError(
                f"the files of {self._input} were changed while the batch listed them, so a file may be missing or "
                "doubled. Run the same job again; finished rows are not sent again"
            )
        return self._added(lines)

    def _added(self, lines: Iterator[Line]) -> Iterator[Line]:
        return lines if self.through is None else self.through(lines)

    def _refuse_changed(self) -> None:
        """
        :raises BatchInputError: a file has changed since the batch began
        """
        if not self._input.versions:
            return
        found = versions_of(self._input)
        for path, version in self._input.versions.items():
            if path in found and found[path] != version:
                raise BatchInputError(
                    f"input file {path} was changed while the batch read it, so rows may be missing or truncated. Do "
                    "not change the file, and run the same job again; finished rows are not sent again"
                )

    def _counted(self, file: InputFile, lines: int) -> None:
        if file.is_part:
            self.lines[str(file)] = lines

    def count(self) -> int | None:
        """The number of rows, None if unknown or too slow to count. Reads the files: call it in a
        thread."""
        try:
            return count_lines(self._input)
        except Exception as error:  # noqa: BLE001 - only the log needs the number; the reader of the rows raises it
            log.warning("could not count the rows of the input (%s: %s)", type(error).__name__, error)
            return None

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._pool.shutdown(wait=True)
        if self._lines is not None:
            self._lines.close()  # type: ignore[attr-defined]  # a generator, which is more than an iterator
