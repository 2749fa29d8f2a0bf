"""What is already done, durable: the journal that lets a killed batch go on where it was.

Finished rows are appended in groups, in the order in which they finish, to segments in a folder next to the
output. A segment is written by one run and never changed by another. On a local disk a run has one segment
that grows and is synced; an object store cannot append, so there each group is an object of its own. At the
end the output is read back from the segments in input order, so a slow row delays nothing and memory holds a
few numbers per row, not rows.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import uuid
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.journal.records import COPY, DISCARDED, Record, decode_record, read_head
from airflow_provider_hf_endpoints.inference.paths import local_path

_SEGMENT = re.compile(r"^\d{6}-[0-9a-f]{8}(-\d{6})?\.log$")
_NOT_DONE = -1
_GROWTH = 4096  # rows by which the index grows
_NO_PLACE, _ZERO_LENGTH, _NO_KEY = array("q", [_NOT_DONE]), array("I", [0]), array("Q", [0])
_OFFSET_BITS = 40  # a segment holds at most a terabyte


class Index:
    """Where each row's record is, in 12 bytes a row; and what earlier runs' rows were, in 16 more."""

    def __init__(self) -> None:
        #: Key and line key of each row that an earlier run has done, 0 for the others.
        self.keys = array("Q")
        self.line_keys = array("Q")
        self._places = array("q")
        self._lengths = array("I")
        self.done = 0

    def __len__(self) -> int:
        """Rows up to the last one that is done, and a few more."""
        return len(self._places)

    def set(self, index: int, segment: int, offset: int, length: int) -> None:
        """Remember a row; a later record of it replaces an earlier one."""
        places = self._places
        if index >= len(places):
            missing = index + _GROWTH - len(places)
            places.extend(_NO_PLACE * missing)
            self._lengths.extend(_ZERO_LENGTH * missing)
        if places[index] == _NOT_DONE:
            self.done += 1
        places[index] = segment << _OFFSET_BITS | offset
        self._lengths[index] = length

    def set_keys(self, index: int, key: int, line_key: int) -> None:
        """Remember what a row of an earlier run was."""
        keys = self.keys
        if index >= len(keys):
            missing = _NO_KEY * (index + _GROWTH - len(keys))
            keys.extend(missing)
            self.line_keys.extend(missing)
        keys[index] = key
        self.line_keys[index] = line_key

    def claim(self, index: int) -> None:
        """Its row is there for good: nobody need know any more what it was."""
        self.keys[index] = self.line_keys[index] = 0

    def clear(self, index: int) -> None:
        """Forget a row."""
        if index < len(self._places) and self._places[index] != _NOT_DONE:
            self._places[index] = _NOT_DONE
            self.done -= 1
        if index < len(self.keys):
            self.keys[index] = self.line_keys[index] = 0

    def find(self, index: int) -> tuple[int, int, int] | None:
        """Segment, offset and length of a row's record, None when it is not done."""
        if index >= len(self._places) or self._places[index] == _NOT_DONE:
            return None
        place = self._places[index]
        return place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1), self._lengths[index]

    def key(self, index: int) -> int:
        """Key of a row that an earlier run has done, 0 of one that none has."""
        return self.keys[index] if index < len(self.keys) else 0


class Journal:
    """The journal of one output path: `open`, then `append` groups, `read` rows, `remove` at the end.

    Every method does I/O and may block; the batch calls them in a thread.

    :param folder: where the segments are
    """

    def __init__(self, folder: UPath) -> None:
        self.folder = folder
        self.index = Index()
        #: Of all answers that came, of all runs: those thrown away among them, and those of rows that changed since.
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._local = local_path(folder)
        self._run = uuid.uuid4().hex[:8]
        self._number = 0
        self._parts = 0
        self._files: list[IO[bytes]] = []
        self._own: IO[bytes] | None = None
        self._own_segment = -1
        self._end = 0
        self._spool_dir: str | None = None

    def open(self) -> Iterator[tuple[int, int]]:
        """Read what earlier runs left; yields each of its records, the last of a row being the one that
        counts.

        A segment's end may be torn: its last records are dropped, their rows are done again.

        :raises JournalCorruptError: a bad record stands before a good one, which no crash leaves behind
        """
        if self._local is not None:
            self._local.mkdir(parents=True, exist_ok=True)
        names = sorted(name for name in names_in(self.folder) if _SEGMENT.match(name))
        for name in names:
            self._number = max(self._number, int(name[:6]))
            segment = len(self._files)
            self._files.append(self._fetch(name))
            yield from self._scan(name, segment)
        self._number += 1

    def _fetch(self, name: str) -> IO[bytes]:
        """A segment as a local file; objects are copied to the worker's own disk to be read at random."""
        if self._local is not None:
            return open(self._local / name, "rb")
        if self._spool_dir is None:
            self._spool_dir = tempfile.mkdtemp(prefix="hf-batch-")
        copy = Path(self._spool_dir) / name
        with (self.folder / name).open("rb") as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return open(copy, "rb")

    def _scan(self, name: str, segment: int) -> Iterator[tuple[int, int]]:
        offset = 0
        bad_at: int | None = None
        set_place, set_keys = self.index.set, self.index.set_keys
        for line in self._files[segment]:
            head = read_head(line)
            if head is None:
                bad_at = offset if bad_at is None else bad_at
            elif bad_at is not None:
                raise JournalCorruptError(
                    f"{self.folder / name} is damaged at byte {bad_at}: a record that does not match its "
                    "checksum stands before good ones. Rows may be lost in it; delete the journal or use "
                    'on_existing="overwrite" to do all rows again'
                )
            else:
                place, key, line_key, flags, prompt, completion = head
                self._count(flags, prompt, completion)
                if not flags & DISCARDED:
                    set_place(place, segment, offset, len(line))
                    set_keys(place, key, line_key)
                    yield place, flags
            offset += len(line)

    def _count(self, flags: int, prompt: int, completion: int) -> None:
        if not flags & COPY:
            self.prompt_tokens += prompt
            self.completion_tokens += completion

    def append(self, records: list[tuple[Record, bytes]]) -> None:
        """Make a group durable: when this returns, a crash does not lose it.

        :param records: each with its encoded line
        """
        if not records:
            return
        data = b"".join([line for _, line in records])
        own = self._own_file()
        start = self._end
        own.write(data)
        own.flush()
        if self._local is not None:
            os.fdatasync(own.fileno())
        else:
            name = f"{self._number:06d}-{self._run}-{self._parts:06d}.log"
            with (self.folder / name).open("wb") as target:
                target.write(data)
            self._parts += 1
        for record, line in records:
            self._count(record.flags, record.prompt_tokens, record.completion_tokens)
            if not record.flags & DISCARDED:
                self.index.set(record.place, self._own_segment, start, len(line))
            start += len(line)
        self._end = start

    def _own_file(self) -> IO[bytes]:
        if self._own is None:
            if self._local is not None:
                path = self._local / f"{self._number:06d}-{self._run}.log"
            else:
                if self._spool_dir is None:
                    self._spool_dir = tempfile.mkdtemp(prefix="hf-batch-")
                path = Path(self._spool_dir) / "own.log"
            self._own = open(path, "w+b")  # noqa: SIM115 - closed by close()
            if self._local is not None:
                _sync_folder(self._local)
            self._own_segment = len(self._files)
            self._files.append(self._own)
        return self._own

    def read(self, index: int) -> Record | None:
        """The record of a row, None when the row is not done.

        :raises JournalCorruptError: the record changed since it was written
        """
        place = self.index.find(index)
        if place is None:
            return None
        record = self.read_at(place)
        if record.place != index:
            raise JournalCorruptError(f"the journal in {self.folder} has row {record.place} in place of {index}")
        return record

    def read_at(self, place: tuple[int, int, int]) -> Record:
        """The record at segment, offset and length.

        :raises JournalCorruptError: the record changed since it was written
        """
        segment, offset, length = place
        record = decode_record(os.pread(self._files[segment].fileno(), length, offset))
        if record is None:
            raise JournalCorruptError(f"a record of the journal in {self.folder} cannot be read back")
        return record

    def close(self) -> None:
        """Close the files; the journal stays where it is."""
        for file in self._files:
            file.close()
        self._files.clear()
        self._own = None
        if self._spool_dir is not None:
            shutil.rmtree(self._spool_dir, ignore_errors=True)
            self._spool_dir = None

    def remove(self) -> None:
        """Close and delete the journal: its rows stand in the output now."""
        self.close()
        remove_folder(self.folder)


def names_in(folder: UPath) -> list[str]:
    """Names of the files in a folder, none when there is no folder."""
    if local_path(folder) is None:
        # A listing kept by the file system's client would hide what another machine wrote.
        folder.fs.invalidate_cache()
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):  # UPath's releases differ in which of them means "not there"
        return []


def remove_folder(folder: UPath) -> None:
    """Delete a journal's folder, whatever an earlier run left in it."""
    for name in names_in(folder):
        (folder / name).unlink(missing_ok=True)
    # Most object stores have no folders, so there may be nothing left to delete.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
