"""Leases of the tasks that use an endpoint: the steps of `leases/protocol.py` on a store and the service.

If a store fails for longer than the attempts on it take, the use of the endpoint does not fail: `acquire` and
renewals log a warning. A `release` fails then, and its retries read the leases again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from airflow_provider_hf_endpoints._airflow import may_ask_from_a_thread
from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import (
    BadRequestError,
    EndpointNotFoundError,
    InferenceEndpointError,
)
from airflow_provider_hf_endpoints.endpoints.models import Metrics
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.endpoints.upkeep.usage import is_used
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.protocol import Ended, Look, Read, Remove, SwitchOff, SwitchOn, Write, played
from airflow_provider_hf_endpoints.leases.records import Lease
from airflow_provider_hf_endpoints.leases.runs import RunStates
from airflow_provider_hf_endpoints.leases.store import LeaseStore, store_for
from airflow_provider_hf_endpoints.operators.using.acquired import Acquired

log = logging.getLogger(__name__)

_RENEWALS = 4  # in the time of a lease
_LOOK_EVERY = 10.0  # seconds, when the endpoint's use is checked


class LeasedEndpoint:
    """An endpoint for the steps: its leases, its state, start and stop.

    :param task_instance: the task SDK's, which asks Airflow; None to ask nothing
    :param switch_off: applies the policy to an endpoint that was found in this state; returns what it did, None if the
        endpoint is another one
    :ivar did: the last action on the endpoint that was not undone
    """

    def __init__(
        self,
        hook: InferenceEndpointsHook,
        namespace: str,
        name: str,
        task_instance: Any = None,
        switch_off: Callable[[str | None], Release | None] | None = None,
    ) -> None:
        self.name, self.namespace = name, namespace
        self.client: EndpointsClient = hook.get_conn()
        self.store = store_for(hook.kept_at, namespace, name)
        self._runs = RunStates(task_instance, hook.kept_at)
        self._switch_off = switch_off
        self.did: Release = "none"

    def play(self, flow: Generator[Any, Any, Any]) -> Any:
        """Do every step, and return the flow's result. Raises `StoreError` and the errors of the service."""
        return played(flow, self._do)

    def _do(self, step: Any) -> Any:
        match step:
            case Write(lease=lease):
                self.store.write(lease)
            case Read():
                return self.store.read()
            case Remove(holders=holders):
                self.store.remove(holders)
            case Ended(leases=leases):
                return self._runs.over(leases)
            case Look():
                return self.state()
            case SwitchOff(found=found):
                assert self._switch_off is not None
                done = self._switch_off(found)
                self.did = done or "none"
                return done is not None
            case SwitchOn():
                self._switch_on()
        return None

    def state(self) -> str | None:
        """The endpoint's state; None if it does not exist."""
        endpoint = self.client.run(flows.find(self.client.session, self.name, self.namespace))
        return None if endpoint is None else endpoint.status

    def _switch_on(self) -> None:
        # Without a look: a read may lag behind a pause of a moment ago, also by an earlier attempt.
        try:
            self.client.resume_inference_endpoint(self.name, namespace=self.namespace)
            log.warning("Resumed endpoint %s: another holder acquired it while it was being stopped.", self.name)
        except (EndpointNotFoundError, BadRequestError) as error:
            # The service refuses a resume during a deletion with 400.
            if self.did != "delete" and not isinstance(error, EndpointNotFoundError):
                raise
            log.warning("Endpoint %s was deleted, but another holder has acquired it.", self.name)
        self.did = "none"

    def quiet_for(self, seconds: float) -> bool:
        """Whether the service reports no use of the endpoint for this time. Takes that long."""
        first = self.client.get_inference_endpoint(self.name, namespace=self.namespace)
        began, until = datetime.now(UTC), time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY))
            now = self.client.get_inference_endpoint(self.name, namespace=self.namespace)
            if is_used(first, now, self._pending(began)):
                return False
        return True

    def _pending(self, began: datetime) -> Metrics | None:
        try:
            return self.client.get_inference_endpoint_metric(
                self.name, "pending-request", start=began, namespace=self.namespace
            )
        except InferenceEndpointError as error:
            log.info("Could not read the pending requests of endpoint %s: %s", self.name, error)
            return None


@contextmanager
def renewing(hook: InferenceEndpointsHook, endpoint: Any) -> Iterator[None]:
    """Renew the lease that came with `endpoint` (see `common/naming.py`), now and while the work inside runs.

    :param endpoint: has `namespace`, `endpoint` and `lease`, which is None without a lease.
    """
    lease = Lease.of((endpoint.lease or {}).get("record"))
    if lease is None:
        yield
        return
    try:
        store = store_for(hook.kept_at, endpoint.lease["namespace"], endpoint.lease["name"])
    except StoreError as error:
        log.warning("Could not renew the lease on endpoint %s: %s", endpoint.endpoint, error)
        yield
        return
    renew(store, lease)
    done = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(done, store, lease), name="lease", daemon=True)
    if not store.asks_airflow or may_ask_from_a_thread():
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.is_alive():
            thread.join(timeout=10.0)


def renew(store: LeaseStore, lease: Lease) -> None:
    """Renew the lease for its full length. A failure is a warning: the lease is longer than one failure."""
    try:
        store.renew(lease.renewed(time.time()))
    except StoreError as error:
        log.warning(
            "Could not renew a lease, which expires at %s: %s", datetime.fromtimestamp(lease.expires, UTC), error
        )


def _renew_until(done: threading.Event, store: LeaseStore, lease: Lease) -> None:
    while not done.wait(lease.seconds / _RENEWALS):
        renew(store, lease)


def renew_acquired(acquired: Acquired, hf_endpoints_conn_id: str) -> None:
    """Renew the acquired lease, if there is one. A failure is a warning."""
    lease = acquired.held
    if lease is None:
        return
    with InferenceEndpointsHook(hf_endpoints_conn_id) as hook:
        try:
            renew(store_for(hook.kept_at, acquired.namespace, acquired.name), lease)
        except StoreError as error:
            log.warning("Could not renew the lease on endpoint %s: %s", acquired.name, error)
