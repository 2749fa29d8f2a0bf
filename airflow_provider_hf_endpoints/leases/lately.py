"""What was done to an endpoint a moment ago by who holds no lease: reads lag, and may show the state before.

A release notes in its own record that it stops the endpoint (`protocol.py`). Pauses, sweepers and starts note what they
do in one record of the endpoint, in which the last one counts. A note that is lost costs what a lagging read costs; so
a stop is noted behind its request, which no store may hold up.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.records import BY_NO_USE, UNKNOWN, as_stopped, bills_nothing, new_lease
from airflow_provider_hf_endpoints.leases.store import store_for

log = logging.getLogger(__name__)


def note_lately(lease_path: str | None, namespace: str, name: str, state: str | None) -> None:
    """Record the state to which a request sends the endpoint, None if it is deleted. A failure is a warning."""
    now = time.time()
    record = new_lease(BY_NO_USE, now, 1.0).leaving(now, state)
    try:
        store_for(lease_path, namespace, name).write(replace(record, found=UNKNOWN))
    except StoreError as error:
        log.warning("Could not record the change of endpoint %s for other runs: %s", name, error)


def as_left_lately(lease_path: str | None, endpoint: InferenceEndpoint) -> InferenceEndpoint:
    """The endpoint as a read shows it, or in the state in which somebody has left it since that read's state.

    Only `running` is doubted. An endpoint that reads `pending` or `initializing` soon after a stop has most likely been
    started since, by somebody who wants it.
    """
    if endpoint.status != InferenceEndpointStatus.RUNNING:
        return endpoint
    try:
        leases = store_for(lease_path, endpoint.namespace, endpoint.name).read()
    except StoreError as error:
        log.warning("Could not read whether another run just stopped endpoint %s: %s", endpoint.name, error)
        return endpoint
    since = endpoint.updated_at
    if since is not None:
        leases = [each for each in leases if datetime.fromtimestamp(each.stopped, UTC) >= since]
    state = as_stopped(endpoint.status, leases, time.time())
    if state is None or not bills_nothing(state):
        return endpoint
    log.info("Endpoint %s reads %s, and was left %s a moment ago.", endpoint.name, endpoint.status, state)
    return endpoint.model_copy(update={"status": state})
