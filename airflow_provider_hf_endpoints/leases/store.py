"""The stores of leases: the interface and the implementation.

A store keeps records by endpoint and holder. It needs no transactions. The protocol requires two properties: a written
record is read back, and a write does not lose another holder's record. A record that cannot be read is an error,
because its holder is unknown.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.kept import KeptAt, Records, StoreError, separate_records_at
from airflow_provider_hf_endpoints.leases.holders import holder_name
from airflow_provider_hf_endpoints.leases.records import BY_NO_USE, Lease, holder_key, new_lease, others
from airflow_provider_hf_endpoints.leases.runs import RunStates, origin_of

log = logging.getLogger(__name__)

_RENEWED = "-renewed"  # behind the holder, the key of its renewals
_MOST_READS = 5


class LeaseStore(ABC):
    """The leases of one endpoint. Made for one task and used by one thread at a time; there is nothing to close."""

    asks_airflow = False  # whether it goes through Airflow's supervisor

    @abstractmethod
    def read(self) -> list[Lease]:
        """Every record, live or not. Raises `StoreError`."""

    @abstractmethod
    def write(self, lease: Lease) -> None:
        """Store the record of `lease.holder`, and no other record. Raises `StoreError`.

        For the tasks that acquire and release, of which one runs at a time.
        """

    @abstractmethod
    def renew(self, lease: Lease) -> None:
        """Store until when the lease counts, unless its holder has left. Raises `StoreError`.

        For the tasks in between: any number of them at the same time.
        """

    @abstractmethod
    def remove(self, holders: Iterable[str]) -> None:
        """Remove the records of these holders; one that is not there is removed. Raises `StoreError`."""


class KeptLeases(LeaseStore):
    """Two records for a holder, wherever records are kept: its own, and beside that its renewals.

    Renewals can't bring back a holder that has left, however late one arrives, and need no order among themselves: each
    says about the same.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._written: dict[str, Lease] = {}
        self.asks_airflow = records.asks_airflow

    def read(self) -> list[Lease]:
        """Every holder's record, as it was renewed; with all that was written here."""
        for _ in range(_MOST_READS):
            stored = self._records.read()
            missing = self._written.keys() - stored.keys()
            if not missing:
                return _merged({key: _lease(key, value) for key, value in stored.items()})
            # Others that left at the same moment may have tidied it away.
            for holder in missing:
                self.write(self._written[holder])
        raise StoreError(
            "The leases read back differ from those written, so other holders of the endpoint cannot be determined."
        )

    def write(self, lease: Lease) -> None:
        """Store the record of its holder."""
        self._records.write(lease.holder, lease.stored())
        self._written[lease.holder] = lease

    def renew(self, lease: Lease) -> None:
        """Store the renewal beside it."""
        self._records.write(f"{lease.holder}{_RENEWED}", lease.stored())

    def remove(self, holders: Iterable[str]) -> None:
        """Remove both records of each, the renewals first: without the holder's own they would count."""
        gone = tuple(holders)
        for holder in gone:
            self._written.pop(holder, None)
        self._records.remove([f"{holder}{_RENEWED}" for holder in gone])
        self._records.remove(gone)


def _lease(key: str, stored: object) -> Lease:
    lease = Lease.of(stored)
    if lease is None:
        raise StoreError(
            f"Could not read the lease {key!r}: it contains {stored!r}. Another version of this provider may have "
            "written it. Remove it when its holder has ended."
        )
    return lease


def _merged(stored: Mapping[str, Lease]) -> list[Lease]:
    own = {key: lease for key, lease in stored.items() if not key.endswith(_RENEWED)}
    for key in stored.keys() - own.keys():
        renewal = stored[key]
        lease = own.setdefault(renewal.holder, renewal)  # alone where its own has expired and was tidied away
        if not lease.left and renewal.as_of >= lease.as_of:  # earlier where the start took less than it was given
            own[renewal.holder] = replace(lease, expires=renewal.expires)
    return list(own.values())


def store_for(kept_at: KeptAt, namespace: str, name: str) -> LeaseStore:
    """The store that a connection names (`lease_path` in its extra), or else Airflow Variables."""
    of = kept_at.key(namespace)
    return KeptLeases(
        separate_records_at(
            kept_at,
            (of, name),
            key=f"hf_endpoints_leases.{of}.{name}",
            description="Who uses a Hugging Face endpoint (leases)",
            known=(holder_key(BY_NO_USE),),
        )
    )


def other_leases(
    kept_at: KeptAt, namespace: str, name: str, holder: str | None, task_instance: Any = None
) -> list[Lease]:
    """The live leases of others on an endpoint, without those of ended DAG runs. Raises `StoreError`.

    :param holder: the caller's own holder; None for a caller without a lease
    :param task_instance: the task SDK's, which asks Airflow whether the runs of the leases have ended
    """
    live = others(store_for(kept_at, namespace, name).read(), holder or "", time.time())
    over = RunStates(task_instance, kept_at).over(live)
    return [each for each in live if each.holder not in over]


def leave_to_others(kept_at: KeptAt, namespace: str, name: str, task_instance: Any, state: str | None) -> None:
    """Note, as the record of a former holder, that the last holder has to leave the endpoint in that state.

    For a task without a lease that leaves an endpoint running because others use it. Raises `StoreError`.
    """
    names = [str(getattr(task_instance, each, "")) for each in ("dag_id", "run_id", "task_id")]
    who = holder_name(names[0], names[1], names[2], getattr(task_instance, "map_index", None))
    lease = new_lease(who, time.time(), 1.0, origin=origin_of(kept_at))
    store_for(kept_at, namespace, name).write(replace(lease, found=state, left=True))


def other_users(kept_at: KeptAt, namespace: str, name: str, holder: str, task_instance: Any = None) -> list[str]:
    """The other holders of live leases on an endpoint, in words. One unknown holder if the leases cannot be read."""
    try:
        return [each.who for each in other_leases(kept_at, namespace, name, holder, task_instance)]
    except StoreError as error:
        log.warning("Could not read the leases of endpoint %s: %s", name, error)
        return ["unknown holder (the leases cannot be read)"]
