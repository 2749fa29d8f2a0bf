"""The snapshot of rows that come from no file, such as those of a query: JSON Lines below the output, written once.

A query gives other rows, or another order, when it is asked again. So a batch reads its rows from the snapshot, in
every try and in every shard. The document of a snapshot is written after all its parts: a snapshot without a document
is not complete, and is never read. The next task takes a new one.
"""

from __future__ import annotations

import logging
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from upath import UPath

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import (
    BatchInputError,
    MissingColumnError,
    OutputConflictError,
)
from airflow_provider_hf_endpoints.inference.inputs.ids import hash_id, written_alike
from airflow_provider_hf_endpoints.inference.journal.lock import WAIT, OutputLock
from airflow_provider_hf_endpoints.inference.journal.segments import hold_records
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.documents import damaged, encoded, read_document, size_of
from airflow_provider_hf_endpoints.inference.stores.folders import names_in, remove_folder
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike
from airflow_provider_hf_endpoints.inference.stores.patience import without_failing

log = logging.getLogger(__name__)

DOCUMENT = "snapshot.json"
FORMAT = 1
PART_BYTES = 32 << 20  # of one part; a part for an object store waits on the worker's disk until it is complete
_BUCKETS = 256

#: Opens the rows: the names of their columns, and the rows in groups, in the order of these names.
Opened = tuple[list[str], Iterator[list[tuple[Any, ...]]]]
Open = Callable[[], AbstractContextManager[Opened]]


@dataclass(frozen=True)
class Origin:
    """Where the rows of a snapshot come from.

    :param where: what makes it another snapshot, by names for the error: the connection, the text of the query
    :param key: the column with a unique id in every row
    :param words: for errors, as in "the query of input_rows"
    """

    where: Mapping[str, str]
    key: str
    words: str

    def as_dict(self) -> dict[str, str]:
        """What the document says of it."""
        return {**self.where, "key": self.key}


def take_snapshot(
    output_path: PathLike,
    origin: Origin,
    open_rows: Open,
    *,
    on_existing: Literal["resume", "overwrite", "fail"] = "resume",
    attempt: str = "",
    go_on: Callable[[], None] = lambda: None,
) -> UPath:
    """The folder with the rows. They are read if there is no complete snapshot of the same origin.

    :param attempt: with `overwrite`, names the runs that share a snapshot; every other run takes a new one
    :param go_on: called for every group of rows; may raise
    :raises BatchInputError: a key is missing, or appears twice
    :raises OutputConflictError: the output was begun with rows of another origin
    :raises OutputBusyError: another run takes a snapshot for this output
    """
    layout = OutputLayout.of(output_path)
    with _locked(layout.snapshot) as lock:
        known = _document(layout, lenient=on_existing == "overwrite")
        if known is not None and _may_use(known, layout, origin, on_existing, attempt):
            return _folder(layout, known)
        new = _Writer(layout.snapshot / uuid.uuid4().hex[:12], origin, go_on)
        try:
            with open_rows() as (columns, groups):
                new.take(columns, groups)
            lock.check()
            with replacing(layout.snapshot / DOCUMENT, lock.check) as file:
                file.write(encoded({**new.as_dict(), "attempt": attempt}, indent=2) + b"\n")
        except BaseException:
            without_failing(lambda: remove_folder(new.folder), "Deleting an incomplete snapshot")
            raise
        log.info("Took a snapshot of %d rows from %s in %s", new.rows, origin.words, new.folder)
        without_failing(lambda: _clear(layout, new.folder.name), "Deleting an older snapshot")
        return new.folder


def find_snapshot(output_path: PathLike, origin: Origin) -> UPath:
    """The folder with the rows that an earlier task has read.

    :raises OutputConflictError: there is no complete snapshot of this origin
    """
    layout = OutputLayout.of(output_path)
    known = _document(layout)
    if known is None:
        raise OutputConflictError(
            f"{layout.snapshot} contains no complete snapshot of {origin.words}. Run the task that takes the snapshot "
            "again: the planner of the shards, or this task after a clear"
        )
    if different := _differences(known, origin):
        raise OutputConflictError(_conflict(layout, different))
    return _folder(layout, known)


class _Writer:
    """Writes rows as parts, and knows all keys by their hashes: eight bytes a row."""

    def __init__(self, folder: UPath, origin: Origin, go_on: Callable[[], None]) -> None:
        self.folder = folder
        self.rows = 0
        self._origin = origin
        self._go_on = go_on
        self._columns: list[str] = []
        self._parts: list[tuple[str, int]] = []
        self._hashes = [array("Q") for _ in range(_BUCKETS)]

    def take(self, columns: list[str], groups: Iterable[list[tuple[Any, ...]]]) -> None:
        """
        :raises BatchInputError: the columns or the keys are not valid
        """
        self._columns = columns
        origin = self._origin
        if origin.key not in columns:
            raise MissingColumnError(origin.key, columns, origin.words, by="its key names")
        if len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise BatchInputError(
                f"{origin.words} gives two columns with the name {twice!r}, so one value would be lost. Rename one of "
                "them with AS"
            )
        lines = self._lines(groups)
        while self._write_part(lines):
            pass
        self._refuse_doubled()

    def as_dict(self) -> dict[str, Any]:
        """The document of the snapshot."""
        return {
            "format": FORMAT,
            "id": self.folder.name,
            "origin": self._origin.as_dict(),
            "columns": self._columns,
            "rows": self.rows,
            "parts": self._parts,
        }

    def _lines(self, groups: Iterable[list[tuple[Any, ...]]]) -> Iterator[bytes]:
        key, columns, hashes = self._columns.index(self._origin.key), self._columns, self._hashes
        for group in groups:
            self._go_on()
            for row in group:
                self.rows += 1
                value = row[key]
                if value is None or isinstance(value, bool) or not isinstance(value, str | int):
                    raise BatchInputError(self._no_key(value))
                hashed = hash_id(value)
                hashes[hashed >> 56].append(hashed)
                yield fastjson.encode(dict(zip(columns, row, strict=True))) + b"\n"

    def _no_key(self, value: Any) -> str:
        return (
            f"row {self.rows} of {self._origin.words} has no valid key: column {self._origin.key!r} is {value!r}. Give "
            "every row a text or a whole number, or leave such rows out with WHERE"
        )

    def _write_part(self, lines: Iterator[bytes]) -> bool:
        """Write the next part. Returns whether more may follow. Also the part of an empty query is there."""
        name, size = f"part-{len(self._parts):05}.jsonl", 0
        first = next(lines, None)
        if first is None and self._parts:
            return False
        with replacing(self.folder / name) as file:
            line = first
            while line is not None:
                file.write(line)
                size += len(line)
                line = next(lines, None) if size < PART_BYTES else None
        self._parts.append((name, size))
        return first is not None

    def _refuse_doubled(self) -> None:
        doubled: set[int] = set()
        for number, bucket in enumerate(self._hashes):
            self._hashes[number] = array("Q")
            doubled |= {first for first, second in pairwise(sorted(bucket)) if first == second}
        if doubled:
            raise BatchInputError(self._first_doubled(doubled))

    def _first_doubled(self, doubled: set[int]) -> str:
        key, number = self._origin.key, 0
        seen: dict[int, tuple[Any, int]] = {}
        for name, _ in self._parts:
            with (self.folder / name).open("rb") as file:
                for line in iter(file.readline, b""):  # an older fsspec cannot iterate over a local file
                    number += 1
                    value = fastjson.decode(line)[key]
                    hashed = hash_id(value)
                    if hashed in seen:
                        first, row = seen[hashed]
                        return (
                            f"key {value!r} in column {key!r} appears in row {row} and in row {number} of "
                            f"{self._origin.words}{written_alike(first, value)}. Keys must be unique: choose another "
                            "key, or change the query, for example with DISTINCT or GROUP BY"
                        )
                    if hashed in doubled:
                        seen[hashed] = value, number
        return f"the keys in column {key!r} of {self._origin.words} are not unique. Choose another key"


@contextmanager
def _locked(folder: UPath) -> Iterator[OutputLock]:
    lock = OutputLock(folder)
    lock.acquire(WAIT)
    try:
        yield lock
    finally:
        without_failing(lock.release, "Giving the lock of the snapshot back")


def _document(layout: OutputLayout, *, lenient: bool = False) -> dict[str, Any] | None:
    """The document of a complete snapshot, None if there is none.

    :raises OutputConflictError: it is damaged, or a part of it is missing or was changed
    """
    path = layout.snapshot / DOCUMENT
    known = read_document(path, lenient=lenient)
    if known is None:
        return None
    try:
        sizes = {str(name): int(size) for name, size in known["parts"]}
        folder = _folder(layout, known)
        is_known = known["format"] == FORMAT and isinstance(known["origin"], dict)
    except (KeyError, TypeError, ValueError):
        is_known, sizes, folder = False, {}, layout.snapshot
    if not is_known:
        if lenient:
            return None
        raise damaged(path, "is not the document of a snapshot")
    found = {name: size_of(folder / name) for name in names_in(folder)}
    wrong = [name for name in {**found, **sizes} if found.get(name, -1) not in (sizes.get(name), None)]
    if wrong and not lenient:
        raise damaged(path, f"does not fit the snapshot: {folder / wrong[0]} is missing, or was changed or added")
    return None if wrong else known


def _folder(layout: OutputLayout, known: Mapping[str, Any]) -> UPath:
    return layout.snapshot / str(known["id"])


def _may_use(known: Mapping[str, Any], layout: OutputLayout, origin: Origin, on_existing: str, attempt: str) -> bool:
    """Whether a complete snapshot is the one to use; otherwise a new one replaces it.

    :raises OutputConflictError: rows of another origin were sent
    """
    different = _differences(known, origin)
    if on_existing == "overwrite":
        return not different and bool(attempt) and known.get("attempt") == attempt
    if not different:
        return True
    begun = layout.manifest.exists() or bool(names_in(layout.shards)) or hold_records(layout.journal)
    if begun:
        raise OutputConflictError(_conflict(layout, different))
    log.info("%s has the rows of another query, and no row was sent. The query is read again", layout.snapshot)
    return False


def _differences(known: Mapping[str, Any], origin: Origin) -> list[str]:
    old, new = known["origin"], origin.as_dict()
    changed = [name for name, value in new.items() if old.get(name) != value]
    return [f"{name} was {old.get(name)!r}, and is now {new[name]!r}" for name in changed]


def _conflict(layout: OutputLayout, different: list[str]) -> str:
    return (
        f"{layout.snapshot} contains the rows of another query: {'; '.join(different)}. Choose another output_path, or "
        'set on_existing="overwrite" to discard that output'
    )


def _clear(layout: OutputLayout, kept: str) -> None:
    """Delete other snapshots, complete or not."""
    for name in names_in(layout.snapshot):
        if name not in (kept, DOCUMENT):
            remove_folder(layout.snapshot / name)
