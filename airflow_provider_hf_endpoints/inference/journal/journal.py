"""The journal of finished rows, from which a killed batch resumes.

Finished rows are appended in groups, in the order of their finish, to segments in a folder next to the output
(`segments.py`). At the end the output is read back in input order. So a slow row delays nothing, and
memory has a few numbers per row (`index.py`), not the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import IO

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.journal.index import Index
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.journal.records import COPY, DISCARDED, Record, decode_record, read_head
from airflow_provider_hf_endpoints.inference.journal.segments import Segments
from airflow_provider_hf_endpoints.inference.stores.folders import remove_folder


class Journal:
    """The journal of one output path: `open`, then `append` groups, `read` rows, `remove` at the end.

    Every method does I/O and may block; the batch calls them in a thread.

    :param folder: where the segments are
    :param lock: of the output, checked before each write; None if the journal is only read
    """

    def __init__(self, folder: UPath, lock: OutputLock | None = None) -> None:
        self.folder = folder
        self._lock = lock
        #: Whether no other run can write to the journal at the moment, so that sending is useful.
        self.is_ours: Callable[[], bool] = _nobody_else if lock is None else lock.is_sure
        #: Called before each group is written, with the names in the folder, and may raise: writes the description of
        #: the journal again if somebody has deleted it.
        self.describe: Callable[[Collection[str]], None] = _nothing
        self.index = Index()
        #: Tokens of all answers of all runs, with answers that were thrown away, and of rows that changed since.
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._segments = Segments(folder, lock.epoch if lock is not None else 0)

    def open(self) -> Iterator[tuple[int, int]]:
        """Read the records of earlier runs. Yields place and flags of each. If a row has several, the last one
        counts.

        The end of a segment may be torn: its last records are dropped, and their rows are sent again.

        :raises JournalCorruptError: a bad record comes before a good one, which no crash causes
        """
        for path, segment, start, file in self._segments.open():
            yield from self._scan(path, segment, start, file)

    def _scan(self, path: UPath, segment: int, start: int, file: IO[bytes]) -> Iterator[tuple[int, int]]:
        offset = start
        bad_at: int | None = None
        set_place, set_keys = self.index.set, self.index.set_keys
        for line in file:
            head = read_head(line)
            if head is None:
                bad_at = offset if bad_at is None else bad_at
            elif bad_at is not None:
                raise JournalCorruptError(
                    f"{path} is damaged at byte {bad_at - start}: a record with a wrong checksum is followed by valid "
                    'records, so rows may be lost. Delete the journal, or set on_existing="overwrite" to send all '
                    "rows again"
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

    def check(self) -> None:
        """Check that this run still has the output.

        :raises OutputBusyError: another run has taken the output over
        """
        if self._lock is not None:
            self._lock.check()

    def append(self, records: list[tuple[Record, bytes]]) -> None:
        """Make a group durable: after the return, a crash does not lose it.

        :param records: each with its encoded line
        :raises OutputBusyError: another run has taken the output over
        """
        if not records:
            return
        self.check()
        self.describe(self._segments.restore())
        segment, start = self._segments.append(b"".join([line for _, line in records]))
        for record, line in records:
            self._count(record.flags, record.prompt_tokens, record.completion_tokens)
            if not record.flags & DISCARDED:
                self.index.set(record.place, segment, start, len(line))
            start += len(line)
        self._segments.compact(self.check)

    def read(self, index: int) -> Record | None:
        """The record of a row, None if the row is not finished.

        :raises JournalCorruptError: the record changed since it was written
        """
        place = self.index.find(index)
        if place is None:
            return None
        record = self.read_at(place)
        if record.place != index:
            raise JournalCorruptError(
                f"the journal in {self.folder} contains row {record.place} where row {index} belongs"
            )
        return record

    def read_at(self, place: tuple[int, int, int]) -> Record:
        """The record at segment, offset and length.

        :raises JournalCorruptError: the record changed since it was written
        """
        record = decode_record(self._segments.read(*place))
        if record is None:
            raise JournalCorruptError(f"a record of the journal in {self.folder} could not be read")
        return record

    def close(self) -> None:
        """Close the files. The journal stays on the store."""
        self._segments.close()

    def remove(self) -> None:
        """Close and delete the journal: its rows are in the output now."""
        self.check()
        self.close()
        remove_folder(self.folder)


def _nothing(names: Collection[str]) -> None:
    pass


def _nobody_else() -> bool:
    """A journal without a lock is only read."""
    return True
