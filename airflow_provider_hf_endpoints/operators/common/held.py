"""Who else holds an endpoint, and whether it is another one by now: asked before an action on the endpoint.

Somebody may have deleted an endpoint and created another one with its name. That one is theirs, and is left running.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.holders import run_of_holder, task_of_holder
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.leases.records import Lease
from airflow_provider_hf_endpoints.leases.runs import origin_of
from airflow_provider_hf_endpoints.leases.store import leave_to_others, other_leases
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.ownership import is_anothers

log = logging.getLogger(__name__)

# For the look at an endpoint that is to be stopped: it bills meanwhile.
_LOOK = 5.0  # seconds


class HeldByOthersError(InferenceEndpointError):
    """Others use the endpoint, or may: it is left as it is."""

    retryable = True


class Holders:
    """The other holders of one endpoint, from the view of one task.

    :param mine: the lease by which this task uses the endpoint; None without a lease. Then leases of upstream tasks of
        the same DAG run do not count as others. Leases of parallel tasks do.
    """

    def __init__(self, endpoint: EndpointRef, context: Context, mine: Lease | None) -> None:
        self._endpoint, self._mine = endpoint, mine
        self._ti: Any = context["ti"]
        task: Any = context.get("task")
        self._before = None if task is None else {each.task_id for each in task.get_flat_relatives(upstream=True)}

    def refuse(self, hook: InferenceEndpointsHook, done: str) -> None:
        """Raise `HeldByOthersError` if others hold the endpoint, or if the leases cannot be read.

        :param done: the action that is refused, as in "it is not deleted"
        """
        name = self._endpoint.name
        try:
            held = self._others(hook)
        except StoreError as error:
            raise HeldByOthersError(
                f"Endpoint {name!r} is not {done}, because its leases cannot be read and other DAGs may use it: "
                f"{error} A retry reads the leases again. force=True skips the check."
            ) from error
        if held:
            raise HeldByOthersError(
                f"Endpoint {name!r} is not {done}, because it is in use: {_listed(held)}. Try again when these runs "
                "have ended. force=True skips the check."
            )

    def are_there(self, hook: InferenceEndpointsHook) -> bool:
        """Whether others hold the endpoint. False if the leases cannot be read: no release follows this task."""
        try:
            return bool(self._others(hook))
        except StoreError as error:
            log.warning("Could not read who else uses endpoint %s: %s", self._endpoint.name, error)
            return False

    def left_to_them(self, hook: InferenceEndpointsHook, state: str | None, *, note: bool = True) -> bool:
        """Whether others hold the endpoint. If so, notes that the last of them has to leave it in `state`.

        :param note: False for a task whose release follows, which notes that

        If the leases cannot be read or written, the answer is False: the endpoint costs money and is stopped.
        """
        try:
            held = self._others(hook)
            if held and note:
                leave_to_others(hook.kept_at, *self._place(hook), self._ti, state)
        except StoreError as error:
            log.warning("Could not read who else uses endpoint %s: %s", self._endpoint.name, error)
            return False
        if held:
            log.warning(
                "Endpoint %s keeps running, because it is in use: %s. The last holder stops it. force=True skips the "
                "check.",
                self._endpoint.name,
                _listed(held),
            )
        return bool(held)

    def is_anothers(self, hook: InferenceEndpointsHook) -> bool:
        """Whether this run has started an endpoint of which now only the name is left: somebody else's has it."""
        return is_replaced(hook, *self._place(hook), run=self._run())

    def _others(self, hook: InferenceEndpointsHook) -> list[Lease]:
        mine = self._mine
        held = other_leases(hook.kept_at, *self._place(hook), None if mine is None else mine.holder, self._ti)
        if mine is not None:
            return held
        origin = origin_of(hook.kept_at)
        return [each for each in held if each.origin not in ("", origin) or not self._was_taken_before(each)]

    def _was_taken_before(self, lease: Lease) -> bool:
        """By a task of this run that this one comes after."""
        return run_of_holder(lease.who) == self._run() and (
            self._before is None or task_of_holder(lease.who) in self._before
        )

    def _run(self) -> tuple[str, str]:
        return str(getattr(self._ti, "dag_id", "")), str(getattr(self._ti, "run_id", ""))

    def _place(self, hook: InferenceEndpointsHook) -> tuple[str, str]:
        return self._endpoint.namespace or hook.get_conn().default_namespace(), self._endpoint.name


def is_replaced(hook: InferenceEndpointsHook, namespace: str, name: str, *, run: tuple[str, str] | None = None) -> bool:
    """Whether somebody else has created the endpoint again since its last start by this provider. If so, logs that.

    :param run: DAG and run: a start by any other says nothing; None for any start
    """
    note = StartNotes(hook.kept_at).read(namespace, name, run=run)
    if note is None:
        return False
    try:
        with hook.fresh_client() as client:
            client.limit(_LOOK)
            endpoint = client.run(flows.find(client.session, name, namespace))
    except InferenceEndpointError as error:
        log.warning("Could not read whether endpoint %s was replaced since its start: %s", name, error)
        return False
    return is_anothers(endpoint, note)


def lease_in(told: Mapping[str, Any] | None) -> Lease | None:
    """The lease that came with an endpoint, as operators have it in `lease`."""
    return Lease.of((told or {}).get("record"))


def _listed(held: Sequence[Lease]) -> str:
    return ", ".join(
        f"{each.who} (until {datetime.fromtimestamp(each.expires, UTC):%Y-%m-%d %H:%M} UTC)" for each in held
    )
