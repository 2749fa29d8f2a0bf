"""What is already done, durable: the journal that lets a killed batch go on where it was.

Finished rows are appended in groups, in the order in which they finish, to segments in a folder next to the output
(`segments.py`). At the end the output is read back from the segments in input order, so a slow row delays nothing and
memory holds a few numbers per row (`index.py`), not rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    :param lock: of the output, asked before each write; None where the journal is only read
    """

    def __init__(self, folder: UPath, lock: OutputLock | None = None) -> None:
        self.folder = folder
        self._lock = lock
        #: Says whether no other run can write to it just now; what is sent meanwhile is not in vain.
        self.is_ours: Callable[[], bool] = _nobody_else if lock is None else lock.is_sure
        self.index = Index()
        #: Of all answers that came, of all runs: those thrown away among them, and those of rows that changed since.
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._segments = Segments(folder, lock.epoch if lock is not None else 0)

    def open(self) -> Iterator[tuple[int, int]]:
        """Read what earlier runs left; yields place and flags of each of its records, the last of a row being the one
        that counts.

        A segment's end may be torn: its last records are dropped, their rows are done again.

        :raises JournalCorruptError: a bad record stands before a good one, which no crash leaves behind
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
        """Make sure that this is the run that writes to the output.

        :raises OutputBusyError: another run has taken it over
        """
        if self._lock is not None:
            self._lock.check()

    def append(self, records: list[tuple[Record, bytes]]) -> None:
        """Make a group durable: when this returns, a crash does not lose it.

        :param records: each with its encoded line
        :raises OutputBusyError: another run has taken the output over
        """
        if not records:
            return
        self.check()
        segment, start = self._segments.append(b"".join([line for _, line in records]))
        for record, line in records:
            self._count(record.flags, record.prompt_tokens, record.completion_tokens)
            if not record.flags & DISCARDED:
                self.index.set(record.place, segment, start, len(line))
            start += len(line)
        self._segments.compact(self.check)

    def read(self, index: int) -> Record | None:
        """The record of a row, None when the row is not done.

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
        """Close the files; the journal stays where it is."""
        self._segments.close()

    def remove(self) -> None:
        """Close and delete the journal: its rows stand in the output now."""
        self.check()
        self.close()
        remove_folder(self.folder)


def _nobody_else() -> bool:
    """A journal without a lock is read and not written."""
    return True
