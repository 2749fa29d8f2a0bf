"""Where leases are kept: the seam, and what is behind it.

A store keeps records by endpoint and holder. It need not be transactional: the protocol asks for nothing but that what
was written is read back, and that nobody else's record is lost.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath, Variable

from airflow_provider_hf_endpoints.leases.records import Lease

log = logging.getLogger(__name__)

_WRITE_TRIES = 5
_SETTLE = 0.5  # seconds between writing the variable and reading it back: another writer's turn takes milliseconds


class LeaseStoreError(Exception):
    """The store can't be read or written."""


class LeaseStore(ABC):
    """The leases of one endpoint. Made for one task and used by one thread; nothing is to be closed."""

    @abstractmethod
    def read(self) -> list[Lease]:
        """Every record, live or not. Raises `LeaseStoreError`."""

    @abstractmethod
    def write(self, lease: Lease) -> None:
        """Store the record of `lease.holder`, and nobody else's. Raises `LeaseStoreError`."""

    @abstractmethod
    def remove(self, holders: Iterable[str]) -> None:
        """Remove the records of these holders; one that is not there is removed. Raises `LeaseStoreError`."""


class PathLeaseStore(LeaseStore):
    """One small object for each holder, at `path/namespace/name/holder.json`: nobody writes another's.

    Works between several Airflow deployments that use one namespace. On any storage of Airflow's `ObjectStoragePath`
    that lists an object once it is written, as S3, Google Cloud Storage, Azure and shared files do.
    """

    def __init__(self, path: str, namespace: str, name: str) -> None:
        try:
            self._folder = ObjectStoragePath(path) / namespace / name
        except Exception as error:  # whatever the storage's own library raises
            raise LeaseStoreError(f"lease_path={path!r}: {type(error).__name__}: {error}") from error

    def read(self) -> list[Lease]:
        """Every record."""
        records: list[Lease] = self._guarded("read", self._read)
        return records

    def _read(self) -> list[Lease]:
        found = []
        # A listing that was cached would not show who came since.
        self._folder.fs.invalidate_cache()
        try:
            files = [each for each in self._folder.iterdir() if each.name.endswith(".json")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        for file in files:
            try:
                lease = Lease.of(json.loads(file.read_text()))
            except (FileNotFoundError, ValueError):  # removed in between; or being written, by a store that lets see
                continue
            if lease is not None:
                found.append(lease)
        return found

    def write(self, lease: Lease) -> None:
        """Store the record of its holder."""

        def put() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{lease.holder}.json").write_text(json.dumps(lease.stored()))

        self._guarded("written", put)

    def remove(self, holders: Iterable[str]) -> None:
        """Remove the records of these holders."""

        def delete() -> None:
            for holder in holders:
                try:
                    (self._folder / f"{holder}.json").unlink()
                except FileNotFoundError:
                    continue

        self._guarded("removed", delete)

    def _guarded(self, what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Exception as error:  # every storage has errors of its own
            words = f"{type(error).__name__}: {error}"
            raise LeaseStoreError(f"Leases at {self._folder} can't be {what}: {words}") from error


class VariableLeaseStore(LeaseStore):
    """One Airflow Variable for each endpoint, with the records of all holders: needs no configuration.

    Two that write at the same moment can lose one's record. So it is read back after a moment, and written again where
    it is gone. Known to one Airflow deployment only.
    """

    def __init__(self, namespace: str, name: str) -> None:
        # No slash: in the path of a request, Airflow 3.0 finds no variable of such a name.
        self.key = f"hf_endpoints_leases.{namespace}.{name}"

    def read(self) -> list[Lease]:
        """Every record."""
        return [lease for lease in map(Lease.of, self._load().values()) if lease is not None]

    def write(self, lease: Lease) -> None:
        """Store the record of its holder, and see that it stays."""
        for _ in range(_WRITE_TRIES):
            self._save({**self._load(), lease.holder: lease.stored()})
            time.sleep(_SETTLE)
            if self._load().get(lease.holder) == lease.stored():
                return
        raise LeaseStoreError(f"The Airflow variable {self.key!r} does not keep what is written to it.")

    def remove(self, holders: Iterable[str]) -> None:
        """Remove the records of these holders. What another writer brings back is over, and expires."""
        gone = set(holders)
        records = self._load()
        if gone & set(records):
            self._save({holder: record for holder, record in records.items() if holder not in gone})

    def _load(self) -> dict[str, Any]:
        try:
            records = json.loads(Variable.get(self.key, default="{}"))
        except ValueError:
            return {}
        except Exception as error:  # of the API server, or of a secrets backend
            raise LeaseStoreError(f"The Airflow variable {self.key!r} can't be read: {error}") from error
        return dict(records) if isinstance(records, Mapping) else {}

    def _save(self, records: Mapping[str, Any]) -> None:
        try:
            Variable.set(self.key, json.dumps(records), description="Who uses a Hugging Face endpoint (leases)")
        except Exception as error:
            raise LeaseStoreError(f"The Airflow variable {self.key!r} can't be written: {error}") from error


def store_for(lease_path: str | None, namespace: str, name: str) -> LeaseStore:
    """The store that a connection names (`lease_path` in its extra), or the one that needs no configuration."""
    return PathLeaseStore(lease_path, namespace, name) if lease_path else VariableLeaseStore(namespace, name)
