"""Starts and stops of the last moments by tasks without a lease. Reads lag and may still show the state before them.

A release notes in its own record that it stops the endpoint (`protocol.py`). Pauses, sweepers and starts share one
record of the endpoint, and the last writer wins. A lost note has the effect of one lagging read. So the note of a stop
is written after the request: a slow store must not delay the stop.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.kept import KeptAt, StoreError
from airflow_provider_hf_endpoints.leases.records import BY_NO_USE, UNKNOWN, as_stopped, bills_nothing, new_lease
from airflow_provider_hf_endpoints.leases.store import store_for

log = logging.getLogger(__name__)


def note_lately(kept_at: KeptAt, namespace: str, name: str, state: str | None) -> None:
    """Record the state to which a request sends the endpoint, None if it is deleted. A failure is a warning."""
    now = time.time()
    record = new_lease(BY_NO_USE, now, 1.0).leaving(now, state)
    try:
        store_for(kept_at, namespace, name).write(replace(record, found=UNKNOWN))
    except StoreError as error:
        log.warning("Could not record the change of endpoint %s for other runs: %s", name, error)


def as_left_lately(kept_at: KeptAt, endpoint: InferenceEndpoint) -> InferenceEndpoint:
    """The endpoint as a read shows it, or in the state to which a newer stop has sent it.

    Only `running` is doubted. If a read soon after a stop shows `pending` or `initializing`, another user has most
    likely started the endpoint again.
    """
    if endpoint.status != InferenceEndpointStatus.RUNNING:
        return endpoint
    try:
        leases = store_for(kept_at, endpoint.namespace, endpoint.name).read()
    except StoreError as error:
        log.warning("Could not read whether another run just stopped endpoint %s: %s", endpoint.name, error)
        return endpoint
    since = endpoint.updated_at
    if since is not None:
        leases = [each for each in leases if datetime.fromtimestamp(each.stopped, UTC) >= since]
    state = as_stopped(endpoint.status, leases, time.time())
    if state is None or not bills_nothing(state):
        return endpoint
    log.info(
        "The service reports endpoint %s as %s, but another run left it %s a moment ago.",
        endpoint.name,
        endpoint.status,
        state,
    )
    return endpoint.model_copy(update={"status": state})
