"""Small JSON records that tasks keep for other tasks: in Airflow Variables, or below a path. The one place that reads
and writes either; what is in them is for those to say who keep them.

No compare-and-swap is asked for: a record has one writer, or whoever writes last may win.
"""

from __future__ import annotations

import json
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath, Variable

log = logging.getLogger(__name__)

_WRITE_TRIES = 5
_SETTLE = 0.5  # seconds between writing a variable and reading it back: another writer's turn takes milliseconds


class StoreError(Exception):
    """The place can't be read or written."""


class Document(ABC):
    """One JSON value in the place of whatever was there before."""

    @abstractmethod
    def read(self) -> Any:
        """The value; None where there is none, or it is no JSON (being written, by a storage that lets see that)."""

    @abstractmethod
    def write(self, value: Any) -> None:
        """Replace it."""


class VariableDocument(Document):
    """An Airflow Variable.

    :param key: without a slash: in the path of a request, Airflow 3.0 finds no variable of such a name
    """

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description

    def __str__(self) -> str:
        return f"The Airflow variable {self._key!r}"

    def read(self) -> Any:
        """The value."""
        try:
            return json.loads(Variable.get(self._key, default="null"))
        except ValueError:
            return None
        except Exception as error:  # of the API server, or of a secrets backend
            raise StoreError(f"{self} can't be read: {type(error).__name__}: {error}") from error

    def write(self, value: Any) -> None:
        """Replace it."""
        try:
            Variable.set(self._key, json.dumps(value), description=self._description)
        except Exception as error:
            raise StoreError(f"{self} can't be written: {type(error).__name__}: {error}") from error


class PathDocument(Document):
    """An object on any storage that Airflow's `ObjectStoragePath` knows."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self) -> Any:
        """The value."""

        def get() -> Any:
            try:
                return json.loads(self._file.read_text())
            except (FileNotFoundError, ValueError):
                return None

        return _guarded(self._file, "read", get)

    def write(self, value: Any) -> None:
        """Replace it."""

        def put() -> None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(value))

        _guarded(self._file, "written", put)


class Records(ABC):
    """JSON values by their keys, of many writers, of whom none writes another's. Used by one thread.

    :ivar asks_airflow: whether reading and writing goes through Airflow's supervisor
    """

    asks_airflow = False

    @abstractmethod
    def read(self) -> dict[str, Any]:
        """All of them. Raises `StoreError`."""

    @abstractmethod
    def write(self, key: str, record: Any) -> None:
        """Keep this one, and all others as they are. Raises `StoreError`."""

    @abstractmethod
    def remove(self, keys: Iterable[str]) -> None:
        """Remove these; one that is not there is removed. Raises `StoreError`."""


class PathRecords(Records):
    """An object for each, `key.json` in one folder: nobody writes another's.

    Works between several Airflow deployments. On any storage that lists an object once it is written, as S3, Google
    Cloud Storage, Azure and shared files do.
    """

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    def read(self) -> dict[str, Any]:
        """All of them."""
        return {file.name.removesuffix(".json"): PathDocument(file).read() for file in self._files()}

    def _files(self) -> list[Any]:
        def look() -> list[Any]:
            # A listing that was cached would not show who came since.
            self._folder.fs.invalidate_cache()
            try:
                return [each for each in self._folder.iterdir() if each.name.endswith(".json")]
            except (FileNotFoundError, NotADirectoryError):
                return []

        found: list[Any] = _guarded(self._folder, "read", look)
        return found

    def write(self, key: str, record: Any) -> None:
        """Keep this one."""
        PathDocument(self._folder / f"{key}.json").write(record)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove these."""

        def delete() -> None:
            for key in keys:
                try:
                    (self._folder / f"{key}.json").unlink()
                except FileNotFoundError:
                    continue

        _guarded(self._folder, "removed", delete)


class VariableRecords(Records):
    """All in one Airflow Variable: needs no configuration, and is known to one Airflow deployment only.

    Two that write at the same moment can lose one's record. So it is read back after a moment, and written again where
    it is gone. What is left: a writer that stands still for longer than that moment between its look and its write.

    :param most: records, of which the oldest make room for more; None for any number
    """

    asks_airflow = True

    def __init__(self, key: str, description: str, most: int | None = None) -> None:
        self._document = VariableDocument(key, description)
        self._most = most

    def read(self) -> dict[str, Any]:
        """All of them."""
        records = self._document.read()
        return dict(records) if isinstance(records, Mapping) else {}

    def write(self, key: str, record: Any) -> None:
        """Keep this one, and see that it stays."""
        for _ in range(_WRITE_TRIES):
            self._document.write(self._bounded({**self._without([key]), key: record}))
            time.sleep(_SETTLE * (1 + random.random()))
            if self.read().get(key) == record:
                return
        raise StoreError(f"{self._document} does not keep what is written to it.")

    def remove(self, keys: Iterable[str]) -> None:
        """Remove these. What another writer brings back is the business of whoever reads."""
        gone = set(keys)
        if gone & self.read().keys():
            self._document.write(self._without(gone))

    def _without(self, keys: Iterable[str]) -> dict[str, Any]:
        gone = set(keys)
        return {key: record for key, record in self.read().items() if key not in gone}

    def _bounded(self, records: dict[str, Any]) -> dict[str, Any]:
        surplus = 0 if self._most is None else len(records) - self._most
        if surplus <= 0:
            return records
        log.warning("%s is full: its %d oldest records make room.", self._document, surplus)
        return dict(list(records.items())[surplus:])


def document_at(path: str | None, folder: Sequence[str], name: str, *, key: str, description: str) -> Document:
    """One document: `folder/name.json` below `path`, or where there is none, the Variable `key`."""
    return VariableDocument(key, description) if path is None else PathDocument(_folder(path, folder) / f"{name}.json")


def records_at(
    path: str | None, folder: Sequence[str], *, key: str, description: str, most: int | None = None
) -> Records:
    """Records in `folder` below `path`, or where there is none, in the Variable `key`; `most` bounds the Variable."""
    return VariableRecords(key, description, most) if path is None else PathRecords(_folder(path, folder))


def _folder(path: str, folder: Sequence[str]) -> Any:
    def make() -> Any:
        found = ObjectStoragePath(path)
        for each in folder:
            found = found / each
        return found

    return _guarded(path, "used", make)


def _guarded(place: object, what: str, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:  # every storage has errors of its own
        raise StoreError(f"{place} can't be {what}: {type(error).__name__}: {error}") from error
