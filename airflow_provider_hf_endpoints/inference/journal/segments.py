"""The files of a journal: segments of earlier runs, which nobody changes, and the one that this run appends to.

On a local disk a run has one segment that grows and is synced. An object store cannot append, so there each group is a
segment of its own, and this run's groups are also kept in one file on the worker's disk, to be read back at random.
Bytes in, bytes out: what a record is, is in `records.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from upath import UPath

from airflow_provider_hf_endpoints.inference.stores.folders import names_in
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_NAME = re.compile(r"^\d{6}-[0-9a-f]{8}(-\d{6})?\.log$")


class Segments:
    """The segments in a folder, known by their numbers from 0.

    :param folder: where they are
    """

    def __init__(self, folder: UPath) -> None:
        self._folder = folder
        self._local = local_path(folder)
        self._run = uuid.uuid4().hex[:8]
        self._number = 0  # in the names of this run's segments
        self._parts = 0
        self._files: list[IO[bytes]] = []
        self._own: IO[bytes] | None = None
        self._own_segment = -1
        self._end = 0
        self._spool_dir: str | None = None

    def open(self) -> Iterator[tuple[UPath, int, IO[bytes]]]:
        """Path, number and file of each segment that earlier runs left, in their order."""
        if self._local is not None:
            self._local.mkdir(parents=True, exist_ok=True)
        for name in sorted(name for name in names_in(self._folder) if _NAME.match(name)):
            self._number = max(self._number, int(name[:6]))
            self._files.append(self._fetch(name))
            yield self._folder / name, len(self._files) - 1, self._files[-1]
        self._number += 1

    def _fetch(self, name: str) -> IO[bytes]:
        """A segment as a local file; objects are copied to the worker's own disk to be read at random."""
        if self._local is not None:
            return open(self._local / name, "rb")
        copy = self._spool / name
        with (self._folder / name).open("rb") as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return open(copy, "rb")

    @property
    def _spool(self) -> Path:
        """A folder on the worker's own disk."""
        if self._spool_dir is None:
            self._spool_dir = tempfile.mkdtemp(prefix="hf-batch-")
        return Path(self._spool_dir)

    def append(self, data: bytes) -> tuple[int, int]:
        """Make a group durable: when this returns, a crash does not lose it.

        :return: the segment and the offset in it
        """
        own, start = self._own_file(), self._end
        try:
            _write_at(own, start, data)
            if self._local is not None:
                _sync_data(own.fileno())
        except BaseException:
            self._cut(own, start)
            raise
        if self._local is None:
            # Whole or not at all; the same name again where the store failed after it had taken the object.
            path = self._folder / self._own_name()
            path.fs.pipe_file(path.path, data)
            self._parts += 1
        self._end = start + len(data)
        return self._own_segment, start

    def _cut(self, own: IO[bytes], end: int) -> None:
        """Leave nothing behind the last group that is durable. What then follows would stand behind a torn record."""
        try:
            own.truncate(end)
        except OSError:
            # Nor can it be taken back: its end stays torn, as a crash would leave it, and another segment goes on.
            self._own, self._end = None, 0
            self._parts += 1

    def _own_name(self) -> str:
        return f"{self._number:06d}-{self._run}-{self._parts:06d}.log"

    def _own_file(self) -> IO[bytes]:
        if self._own is None:
            path = self._local / self._own_name() if self._local is not None else self._spool / "own.log"
            own = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by close()
            try:
                if self._local is not None:
                    _sync_folder(self._local)
            except BaseException:
                own.close()
                raise
            self._own, self._end = own, 0
            self._own_segment = len(self._files)
            self._files.append(own)
        return self._own

    def read(self, segment: int, offset: int, length: int) -> bytes:
        """Some bytes of a segment."""
        return os.pread(self._files[segment].fileno(), length, offset)

    def close(self) -> None:
        """Close the files; the segments stay where they are."""
        for file in self._files:
            file.close()
        self._files.clear()
        self._own = None
        if self._spool_dir is not None:
            shutil.rmtree(self._spool_dir, ignore_errors=True)
            self._spool_dir = None


def _write_at(file: IO[bytes], start: int, data: bytes) -> None:
    """Write all of it; a system call may take a part only."""
    file.seek(start)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _sync_data(descriptor: int) -> None:
    """Make a file's bytes durable; macOS has no `fdatasync`."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
