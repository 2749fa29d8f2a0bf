"""Remove records that are no longer needed: all records of a deleted endpoint, and the expired leases of a swept one.

Without this, a DAG whose endpoint has a new name in each run would leave records forever. A failure here is only a
warning, because an old record has no effect on any endpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from airflow_provider_hf_endpoints.kept import KeptAt, StoreError
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.leases.records import BY_NO_USE, Lease
from airflow_provider_hf_endpoints.leases.store import store_for

log = logging.getLogger(__name__)


def forget_deleted(kept_at: KeptAt, namespace: str, name: str, since: float) -> None:
    """Remove the start note and every lease that is not live. A read has shown that the endpoint is gone.

    :param since: seconds since the epoch: what was noted later is of a new endpoint with this name
    """
    StartNotes(kept_at).remove(namespace, name, before=since)
    try:
        store = store_for(kept_at, namespace, name)
        now = time.time()
        store.remove(each.holder for each in store.read() if not each.is_live(now))
    except StoreError as error:
        log.warning("Could not remove old leases of endpoint %s: %s", name, error)


def forget_unheld(
    kept_at: KeptAt, namespace: str, name: str, leases: Collection[Lease], live: Collection[Lease]
) -> None:
    """Remove those of `leases` that are not `live`. The endpoint was stopped, and the record of the stop stays."""
    kept = {BY_NO_USE, *(each.who for each in live)}
    gone = [each.holder for each in leases if each.who not in kept]
    if not gone:
        return
    try:
        store_for(kept_at, namespace, name).remove(gone)
    except StoreError as error:
        log.warning("Could not remove old leases of endpoint %s: %s", name, error)
