"""The files of a journal: segments of earlier runs, which do not change, and segments that this run appends.

On a local disk, a run has one segment that grows and is synced. An object store cannot append, so there each group is
a separate segment, and larger segments later replace several small ones (`compaction.py`). Everything read from or
written to an object store is also kept in two files on the worker's disk, for random reads.
Bytes in, bytes out: the content of a record is defined in `records.py`.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.journal.compaction import Compaction, Part, current, parts_in
from airflow_provider_hf_endpoints.inference.stores.documents import size_of
from airflow_provider_hf_endpoints.inference.stores.folders import names_in, sync_folder
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

log = logging.getLogger(__name__)

MOST_OPEN = 32  # files of earlier runs
_BLOCK = 1 << 20  # bytes that are copied at once


def last_number(folder: UPath) -> int:
    """The highest number of a segment in a folder."""
    return max((part.number for part in parts_in(names_in(folder))), default=0)


def hold_records(folder: UPath) -> bool:
    """Whether a folder has segments with anything in them."""
    return any(size_of(folder / part.name) != 0 for part in parts_in(names_in(folder)))


class Segments:
    """The segments in a folder, known by their numbers from 0.

    :param folder: where they are
    :param epoch: of the lock's holder; its segments come after those of every epoch before
    """

    def __init__(self, folder: UPath, epoch: int = 0) -> None:
        self._folder = folder
        self._local = local_path(folder)
        self._run = uuid.uuid4().hex[:8]
        self._number = epoch  # in the names of this run's segments
        self._parts = 0
        self._files = _Files()
        self._own: IO[bytes] | None = None
        self._own_path: Path | None = None
        self._own_segment = -1
        self._end = 0
        self._spool_dir: str | None = None
        self._compaction: Compaction | None = None
        #: Objects that a resume would read, and where their bytes are on the worker's disk: segment, offset, length.
        self._objects: dict[str, tuple[int, int, int]] = {}

    def open(self) -> Iterator[tuple[UPath, int, int, IO[bytes]]]:
        """Path, number, offset and lines of each segment that earlier runs left, in their order.

        On an object store, all of them are one segment here, and each begins at its offset.
        """
        if self._local is not None:
            self._local.mkdir(parents=True, exist_ok=True)
        last = 0
        copied: int | None = None
        for part in current(names_in(self._folder)):
            last = max(last, part.number)
            path, offset = self._folder / part.name, 0
            if self._local is not None:
                segment, where = self._files.add(self._local / part.name), self._local / part.name
            else:
                where = self._spool / "earlier.log"
                offset = self._copy(path, where)
                segment = copied = self._files.add(where) if copied is None else copied
                self._objects[part.name] = segment, offset, where.stat().st_size - offset
            with open(where, "rb") as file:
                file.seek(offset)
                yield path, segment, offset, file
        self._number = max(self._number, last + 1)

    def _copy(self, path: UPath, target: Path) -> int:
        """Append an object to the copies on the worker's disk. Returns its offset."""
        with path.open("rb") as source, open(target, "ab") as copy:
            start = copy.seek(0, os.SEEK_END)
            try:
                shutil.copyfileobj(source, copy, 1 << 20)
            except BaseException:
                copy.truncate(start)
                raise
        return start

    @property
    def _spool(self) -> Path:
        """A folder on the worker's disk."""
        if self._spool_dir is None:
            self._spool_dir = tempfile.mkdtemp(prefix="hf-batch-")
        return Path(self._spool_dir)

    def append(self, data: bytes) -> tuple[int, int]:
        """Make a group durable: after the return, a crash does not lose it.

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
            self._put(data)
        self._end = start + len(data)
        return self._own_segment, start

    def _put(self, data: bytes) -> None:
        """Write all or nothing. If the store fails after it has stored the object, the same name is written again."""
        name = self._own_name()
        path = self._folder / name
        path.fs.pipe_file(path.path, data)
        self._objects[name] = self._own_segment, self._end, len(data)
        self._parts += 1
        if self._compaction is None:
            self._compaction = Compaction(self._folder, self._number, self._run, self._joined)
        self._compaction.appended(Part(self._number, self._run, self._parts - 1, self._parts - 1), len(data))

    def compact(self, check: Callable[[], None]) -> None:
        """Merge many small segments into larger ones.

        :param check: see `Compaction.run`
        """
        if self._compaction is not None and self._own is not None:
            self._compaction.run(self._own.fileno(), check)

    def _joined(self, parts: list[Part], whole: Part, start: int, size: int) -> None:
        for part in parts:
            self._objects.pop(part.name, None)
        self._objects[whole.name] = self._own_segment, start, size

    def restore(self) -> Collection[str]:
        """The names in the folder. On an object store, what somebody has deleted there is written again first.

        On a disk, `append` notices the file of this run, and the files of earlier runs have no copy.
        """
        if self._local is not None:
            return os.listdir(self._local) if self._local.is_dir() else ()
        names = set(names_in(self._folder))
        lost = [name for name in self._objects if name not in names]
        for name in lost:
            path = self._folder / name
            path.fs.pipe_file(path.path, self.read(*self._objects[name]))
        if lost:
            words = "%d of %d files of the journal in %s were deleted while the batch runs. They are written again"
            log.warning(words, len(lost), len(self._objects), self._folder)
        return names

    def _cut(self, own: IO[bytes], end: int) -> None:
        """Remove everything after the last durable group. A later group must not follow a torn record."""
        try:
            own.truncate(end)
        except OSError:
            # If that fails too, the end stays torn, as after a crash, and the run continues in another segment.
            self._own, self._end = None, 0
            self._parts += 1
            self._compaction = None  # it only knows the file before

    def _own_name(self) -> str:
        return Part(self._number, self._run, self._parts, self._parts).name

    def _own_file(self) -> IO[bytes]:
        if self._own is None:
            self._create()
        elif self._local is not None and not _is_at(self._own_path, self._own):
            self._write_again(self._own, self._end)
        assert self._own is not None
        return self._own

    def _create(self) -> None:
        name = self._own_name() if self._local is not None else f"own-{self._parts}.log"
        folder = self._local or self._spool
        folder.mkdir(parents=True, exist_ok=True)  # somebody may have deleted it since
        path = folder / name
        own = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by close()
        try:
            if self._local is not None:
                sync_folder(self._local)
        except BaseException:
            own.close()
            raise
        self._own, self._own_path, self._end = own, path, 0
        self._own_segment = self._files.keep(own)

    def _write_again(self, lost: IO[bytes], end: int) -> None:
        """Write the records of a file that somebody has deleted or moved to a new file. The old one is open, so it can
        still be read."""
        before = self._own_path, self._own_segment
        self._parts += 1
        try:
            self._create()
            assert self._own is not None
            for start in range(0, end, _BLOCK):
                _write_at(self._own, start, os.pread(lost.fileno(), min(_BLOCK, end - start), start))
            _sync_data(self._own.fileno())
        except BaseException:
            if self._own is not lost and self._own_path is not None:
                self._own_path.unlink(missing_ok=True)  # its records would be counted twice
            self._own, self._end = lost, end
            self._own_path, self._own_segment = before
            raise
        self._end = end
        log.warning("%s was deleted or moved while the batch runs. Its rows are now in %s", before[0], self._own_path)

    def read(self, segment: int, offset: int, length: int) -> bytes:
        """Some bytes of a segment."""
        return self._files.read(segment, offset, length)

    def close(self) -> None:
        """Close the files; the segments stay where they are."""
        self._files.close()
        self._own = self._compaction = None
        if self._spool_dir is not None:
            shutil.rmtree(self._spool_dir, ignore_errors=True)
            self._spool_dir = None


class _Files:
    """Files for random reads. A limited number of them is open."""

    def __init__(self) -> None:
        self._paths: list[Path | None] = []
        self._kept: dict[int, IO[bytes]] = {}
        self._open: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._lock = threading.Lock()  # rows are read back by several threads

    def add(self, path: Path) -> int:
        """Add a file that is opened when it is read; returns its number."""
        self._paths.append(path)
        return len(self._paths) - 1

    def keep(self, file: IO[bytes]) -> int:
        """Add a file that is open and stays open; returns its number."""
        self._paths.append(None)
        self._kept[len(self._paths) - 1] = file
        return len(self._paths) - 1

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Some bytes of a file."""
        with self._lock:
            file = self._kept.get(number) or self._opened(number)
            return os.pread(file.fileno(), length, offset)

    def _opened(self, number: int) -> IO[bytes]:
        path, file = self._paths[number], self._open.pop(number, None)
        if file is None:
            assert path is not None
            try:
                file = open(path, "rb")  # noqa: SIM115 - closed by close(), or when others are wanted
            except FileNotFoundError as error:
                raise JournalCorruptError(
                    f"{path} was deleted or moved while the batch ran. It holds rows of an earlier run. Move it back, "
                    "or leave it: run the same job again to resume, and these rows are sent again"
                ) from error
        self._open[number] = file
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for file in (*self._kept.values(), *self._open.values()):
                file.close()
            self._paths.clear()
            self._kept.clear()
            self._open.clear()


def _write_at(file: IO[bytes], start: int, data: bytes) -> None:
    """Write all bytes. One system call may write only a part."""
    file.seek(start)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _is_at(path: Path | None, file: IO[bytes]) -> bool:
    """Whether an open file still has its name."""
    assert path is not None
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sync_data(descriptor: int) -> None:
    """Make a file's bytes durable; macOS has no `fdatasync`."""
    getattr(os, "fdatasync", os.fsync)(descriptor)
