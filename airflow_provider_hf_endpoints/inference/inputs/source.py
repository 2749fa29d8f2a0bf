"""The input read ahead in a thread, so that a slow object store never holds up the requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.read import count_lines, read_lines

BLOCK_LINES = 512
BLOCK_BYTES = 1 << 20
BLOCKS_AHEAD = 2
#: Lines after which a block ends although nearly all of them were skipped, so that closing never waits long.
BLOCK_SKIPPED = 50_000


class LineSource:
    """Lines of the input for an event loop: `next_line` never blocks, `fill` fetches the next block in a thread.

    :param source: the input
    """

    def __init__(self, source: Input) -> None:
        self._input = source
        self._lines = read_lines(source, self._counted)
        self._blocks: deque[list[Line]] = deque()
        self._current: Iterator[Line] = iter(())
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batch-input")
        #: Says of a line, by place and bytes, that it need not be delivered; asked in the reading thread.
        self.skips: Callable[[int, bytes], bool] = lambda place, raw: False
        #: Lines, blank ones too, of each part of a file that was read to its end.
        self.lines: dict[str, int] = {}
        self._broken: Exception | None = None
        self.exhausted = False
        self.waiting = 0
        self.read = 0
        self.skipped = 0

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
        """Fetch one block.

        :raises BatchInputError: the input is damaged behind the last row that was delivered
        """
        block, read = await asyncio.get_running_loop().run_in_executor(self._pool, self._next_block)
        if block:
            self._blocks.append(block)
        self.waiting += len(block)
        self.read += read
        self.skipped += read - len(block)
        self.exhausted = read == 0

    def _next_block(self) -> tuple[list[Line], int]:
        """Lines to be delivered, and how many were read for them; 0 at the end. What breaks the input is raised by the
        next call, so that no line before the break is lost."""
        if self._broken is not None:
            raise self._broken
        block: list[Line] = []
        size = read = 0
        skips = self.skips
        try:
            for line in self._lines:
                read += 1
                if not skips(line.place, line.raw):
                    block.append(line)
                    size += len(line.raw)
                if len(block) >= BLOCK_LINES or size >= BLOCK_BYTES or read >= BLOCK_SKIPPED:
                    break
        except Exception as error:
            self._broken = error
            if not read:
                raise
        return block, read

    def _counted(self, file: InputFile, lines: int) -> None:
        if file.is_part:
            self.lines[str(file)] = lines

    def count(self) -> int | None:
        """How many rows there are, None where counting costs too much. Reads the files; call it in a thread."""
        return count_lines(self._input)

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True)
        self._lines.close()  # type: ignore[attr-defined]  # a generator, which is more than an iterator
