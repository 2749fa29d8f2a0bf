"""Which rows an earlier run has finished. Rows are found by their places while the input is unchanged, and by their
keys once its order differs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.journal.dead_letters import output_line, with_letter
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.records import COPY, ERROR, RETRYABLE, Record
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

#: Rows whose identities are kept in memory: if a row's place is empty, the row may have been finished at another one.
FEW = 200_000
_LOOKED_AT = 1000  # rows, for one that has succeeded


class Resume:
    """Answers `has` for the rows of the input, asked in their order.

    :param journal: of the output path
    :param ids_are_places: a row's id is its place, so a moved row gets the id of its new place
    """

    def __init__(self, journal: Journal, *, ids_are_places: bool) -> None:
        self.journal = journal
        self.local = local_path(journal.folder) is not None
        #: Called with the record of a row that was finished at another place, with its new place, and its line key.
        self.emit: Callable[[Record, int], None] = lambda record, line_key: None
        self._ids_are_places = ids_are_places
        self._lock = threading.Lock()  # between the thread that reads ahead and the event loop
        self._done_keys: frozenset[int] = frozenset()
        self._failed: dict[int, tuple[int, int, int]] = {}
        self._by_key: dict[int, list[tuple[int, int, int]]] | None = None

    def read_journal(self) -> int:
        """Read the journal and return its number of rows. Rows that failed with a temporary error do not count."""
        index = self.journal.index
        for place, flags in self.journal.open():
            where = index.find(place) if flags & RETRYABLE else None
            if where is None:
                self._failed.pop(place, None)
            else:
                self._failed[place] = where
                index.clear(place)
        if index.done <= FEW:
            self._done_keys = frozenset(index.keys)
        return index.done

    @property
    def rows(self) -> int:
        """The number of rows up to the last one that is finished, or whose last try failed."""
        return max(len(self.journal.index), max(self._failed, default=-1) + 1)

    def read(self, index: int) -> Record | None:
        """The record of a row: finished, or failed in an earlier run and not finished since; else None."""
        record = self.journal.read(index)
        where = self._failed.get(index) if record is None and self._by_key is None else None
        return record if where is None else self.journal.read_at(where)

    def first_output(self) -> Any:
        """The output of the first row that an earlier run has finished without an error; None if there is none."""
        for place in range(min(len(self.journal.index), _LOOKED_AT)):
            record = self.journal.read(place)
            if record is not None and not record.flags & ERROR:
                line = fastjson.decode(output_line(record))
                return line.get("output") if isinstance(line, dict) else None
        return None

    def skipper(self, line_key: Callable[[bytes], int]) -> Callable[[int, bytes], bool]:
        """A function that says, by the place and bytes of a line, whether the row is certainly finished.

        So most rows of a resume need no rendered request. It is called in the reading thread, ahead of `has`.

        :param line_key: see `records.line_hasher`; its seed includes everything else that affects a request
        """
        index, lock = self.journal.index, self._lock

        def is_done(place: int, raw: bytes) -> bool:
            known = index.line_keys
            if place >= len(known) or known[place] == 0 or known[place] != line_key(raw):
                return False
            with lock:  # the row may have been removed since the look above
                if known[place] == 0:
                    return False
                index.forget_keys(place)
            return True

        return is_done

    def has(self, line: Line, key: int, line_key: int) -> bool:
        """Whether the row in a line is finished.

        :param line_key: of its line, used if the row's record must be written again
        """
        index = line.place
        if self._by_key is None:
            found = self.journal.index.key(index)
            if found == key:
                return True
            if found == 0 and key not in self._done_keys:
                return False
            # Another row was at this place: from now on, rows are looked up by their keys. Not earlier, because a table
            # of a million keys takes a hundred megabytes.
            self._by_key = self._take_out(index)
        places = self._by_key.get(key)
        if not places:
            return False
        record = self.journal.read_at(places.pop())
        record = record._replace(flags=record.flags | COPY)
        self.emit(record if record.place == index else self._moved(record, line), line_key)
        return True

    def _take_out(self, start: int) -> dict[int, list[tuple[int, int, int]]]:
        """Remove the rows from `start` on, and return them by key. Rows known to stay are not removed."""
        index = self.journal.index
        by_key: dict[int, list[tuple[int, int, int]]] = {}
        with self._lock:
            for place in range(len(index) - 1, start - 1, -1):
                where, key = index.find(place), index.key(place)
                if where is not None and key:
                    by_key.setdefault(key, []).append(where)
                    index.clear(place)
        return by_key

    def _moved(self, record: Record, line: Line) -> Record:
        output = fastjson.decode(output_line(record))
        if "index" in output:  # a form of output that contains places
            output["index"] = line.place
            if self._ids_are_places:
                output["id"] = line.place
        return with_letter(record._replace(place=line.place, payload=fastjson.encode(output)), line)
