"""Where leases are kept: the seam, and what is behind it.

A store keeps records by endpoint and holder. It need not be transactional: the protocol asks for nothing but that what
was written is read back, and that nobody else's record is lost.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from airflow_provider_hf_endpoints.kept import Records, StoreError, records_at
from airflow_provider_hf_endpoints.leases.records import Lease, others

log = logging.getLogger(__name__)


class LeaseStore(ABC):
    """The leases of one endpoint. Made for one task and used by one thread; nothing is to be closed."""

    asks_airflow = False  # whether it goes through Airflow's supervisor

    @abstractmethod
    def read(self) -> list[Lease]:
        """Every record, live or not. Raises `StoreError`."""

    @abstractmethod
    def write(self, lease: Lease) -> None:
        """Store the record of `lease.holder`, and nobody else's. Raises `StoreError`."""

    @abstractmethod
    def remove(self, holders: Iterable[str]) -> None:
        """Remove the records of these holders; one that is not there is removed. Raises `StoreError`."""


class KeptLeases(LeaseStore):
    """By holder, wherever records are kept. A record that somebody brings back after its removal expires."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.asks_airflow = records.asks_airflow

    def read(self) -> list[Lease]:
        """Every record."""
        return [lease for lease in map(Lease.of, self._records.read().values()) if lease is not None]

    def write(self, lease: Lease) -> None:
        """Store the record of its holder."""
        self._records.write(lease.holder, lease.stored())

    def remove(self, holders: Iterable[str]) -> None:
        """Remove the records of these holders."""
        self._records.remove(holders)


def store_for(lease_path: str | None, namespace: str, name: str) -> LeaseStore:
    """The store that a connection names (`lease_path` in its extra), or the one that needs no configuration."""
    return KeptLeases(
        records_at(
            lease_path,
            (namespace, name),
            key=f"hf_endpoints_leases.{namespace}.{name}",
            description="Who uses a Hugging Face endpoint (leases)",
        )
    )


def other_users(lease_path: str | None, namespace: str, name: str, holder: str) -> list[str]:
    """Who else holds a live lease on an endpoint, in words for a person; nobody where that can't be read."""
    try:
        leases = store_for(lease_path, namespace, name).read()
    except StoreError as error:
        log.warning("Who else uses endpoint %s can't be read: %s", name, error)
        return []
    return [each.who for each in others(leases, holder, time.time())]
