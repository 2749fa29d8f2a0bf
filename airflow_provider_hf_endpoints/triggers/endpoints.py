"""The trigger that waits for an endpoint in the triggerer, occupying no worker.

It only waits: what a look means is decided in `endpoints/waiting/readiness.py`. It can run twice (after a restart of
the triggerer), so it creates nothing; its deadline is a moment on the clock; and its kwargs are stored in clear and
logged, so they contain names only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_hf_endpoints._airflow import TRIGGERS_HEAR_OF_KILLS
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller, poller_for
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release, unless_paused
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, OnScaledToZero
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.triggers._client import open_client
from airflow_provider_hf_endpoints.triggers._link import store_link
from airflow_provider_hf_endpoints.triggers._others import others_of
from airflow_provider_hf_endpoints.triggers._replaced import look_before_release
from airflow_provider_hf_endpoints.triggers._settle import settle
from airflow_provider_hf_endpoints.triggers.killed import task_is_over
from airflow_provider_hf_endpoints.waits import ProgressLog, WaitSpec, event_of, event_of_error

_KILL_BUDGET = 25.0  # seconds; Airflow gives `on_kill` 30


class InferenceEndpointTrigger(BaseTrigger):
    """Fires once: when the endpoint has reached one of `target_states`, can't reach it, or the deadline has passed.

    It fires in none of the first seconds of its deferral, see `_settle.py`.

    The event: `{"status": "ready" | "failed" | "timeout" | "error", "name", "reason", "endpoint"}`; `endpoint` is the
    endpoint's summary or None.

    :param endpoint: the endpoint's name.
    :param namespace: default the connection's, else the token's user.
    :param hf_endpoints_conn_id: the connection, by name.
    :param started: when the wait began, seconds since the epoch.
    :param deadline: when it ends, seconds since the epoch; None waits forever.
    :param target_states: states that end it well; `running` also needs the health route's 200.
    :param on_scaled_to_zero: `wake`, `accept` or `fail`.
    :param resumed_at: when the task created or resumed the endpoint, if it did.
    :param check_health: whether `running` needs the health route.
    :param poll_interval: seconds between looks at most.
    :param seconds: where the wait begins in the triggerer (`start_from_trigger`), instead of `started` and `deadline`:
        how long it may take, from the moment at which Airflow deferred the task.
    :param airflow_seconds: with `seconds`, how long Airflow lets the deferral last. A trigger knows only the end of the
        deferral; its start is this much earlier.
    :param release_on_kill: what happens to the endpoint when a person ends the waiting task permanently: `pause`,
        `scale_to_zero`, `delete` or `none`. A restart, another triggerer or a clear do nothing to it.
    :param holder: with `release_on_kill`, the holder of the task's lease, empty for a start without one. While others
        hold a lease, nothing is done. None: no lease counts.
    :param claim: with `release_on_kill`, the id of the attempt that waits, which is also in XCom. When another attempt
        has begun, this trigger does nothing more.
    :param deferred_at: when the task was deferred, seconds since the epoch; default `started`, else Airflow's time.
    """

    timeout_after: datetime | None = None  # set by the triggerer

    def __init__(
        self,
        endpoint: str,
        started: float | None = None,
        namespace: str | None = None,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        deadline: float | None = None,
        target_states: Sequence[str] = ("running",),
        on_scaled_to_zero: OnScaledToZero = "wake",
        resumed_at: float | None = None,
        check_health: bool = True,
        poll_interval: float = LONGEST_POLL,
        release_on_kill: Release = "none",
        claim: str | None = None,
        holder: str | None = None,
        seconds: float | None = None,
        airflow_seconds: float | None = None,
        deferred_at: float | None = None,
        **_retired: object,  # kwargs that another version wrote: a rolling upgrade must not fail what waits
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Airflow renders these four where the wait begins in the triggerer: it looks for them by the sensor's names.
        self.endpoint = endpoint
        self.namespace = namespace
        self.target_states = target_states
        self.hf_endpoints_conn_id = hf_endpoints_conn_id
        self._rest: dict[str, Any] = {
            "deadline": deadline,
            "on_scaled_to_zero": on_scaled_to_zero,
            "resumed_at": resumed_at,
            "check_health": check_health,
            "poll_interval": poll_interval,
        }
        self._started = started
        self._seconds = seconds
        self._airflow_seconds = airflow_seconds
        self._deferred_at = deferred_at
        self.release_on_kill: Release = release_on_kill
        self._claim = claim
        self._holder = holder
        self._fired = False
        self._poller: EndpointPoller | None = None  # of the wait
        self._link: asyncio.Future[None] | None = None  # kept, or it might be collected before it is done

    @property
    def wait(self) -> WaitSpec:
        """The goal of the wait, and its deadline."""
        states = (self.target_states,) if isinstance(self.target_states, str) else tuple(self.target_states)
        wait = WaitSpec(
            endpoint=self.endpoint,
            namespace=self.namespace or None,
            started=self._begun() if self._started is None else self._started,
            target_states=states,
            **self._rest,
        )
        return wait if self._seconds is None else replace(wait, deadline=wait.started + self._seconds)

    def _begun(self) -> float:
        """When Airflow deferred the task, by when it will end the deferral: the same in every triggerer."""
        ends = self.timeout_after
        if ends is None or self._airflow_seconds is None:
            return time.time()
        return (ends if ends.tzinfo else ends.replace(tzinfo=UTC)).timestamp() - self._airflow_seconds

    @classmethod
    def of(
        cls,
        wait: WaitSpec,
        hf_endpoints_conn_id: str,
        release_on_kill: Release = "none",
        claim: str | None = None,
        holder: str | None = None,
        deferred_at: float | None = None,
    ) -> InferenceEndpointTrigger:
        """The trigger for a wait. A trigger that acts on nothing needs neither claim nor holder."""
        claim, holder = (None, None) if release_on_kill == "none" else (claim, holder)
        return cls(
            hf_endpoints_conn_id=hf_endpoints_conn_id,
            release_on_kill=release_on_kill,
            claim=claim,
            holder=holder,
            deferred_at=deferred_at,
            **_given(wait),
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Only what is not at its default, so that an older version can read what a newer one wrote."""
        kwargs = _given(self.wait)
        if self._started is None:
            del kwargs["started"]
        if self._seconds is not None:
            kwargs.pop("deadline", None)
            kwargs |= {"seconds": self._seconds, "airflow_seconds": self._airflow_seconds}
        if self.hf_endpoints_conn_id != InferenceEndpointsHook.default_conn_name:
            kwargs["hf_endpoints_conn_id"] = self.hf_endpoints_conn_id
        if self.release_on_kill != "none":
            kwargs["release_on_kill"] = self.release_on_kill
        if self._claim is not None:
            kwargs["claim"] = self._claim
        if self._holder is not None:
            kwargs["holder"] = self._holder
        if self._deferred_at is not None:
            kwargs["deferred_at"] = self._deferred_at
        return (f"{type(self).__module__}.{type(self).__qualname__}", kwargs)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        try:
            wait = self.wait
            event = await self._wait(wait)
            await settle(wait.started if self._deferred_at is None else self._deferred_at, wait.deadline)
        except asyncio.CancelledError:
            if not TRIGGERS_HEAR_OF_KILLS:  # before Airflow 3.3 a trigger knows nothing else
                await self.on_kill()
            raise
        self._fired = True
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Release the endpoint where the task was ended permanently.

        Airflow calls it too where the task only moved to another triggerer, or was cleared and runs again. And while it
        runs Airflow cancels it again every second or so, because the trigger is still there: that must not end it.
        """
        if self._fired or self.release_on_kill == "none" or self.task_instance is None:
            return
        work = asyncio.ensure_future(asyncio.wait_for(self._release_if_over(self.task_instance), _KILL_BUDGET))
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.result()

    async def _release_if_over(self, task_instance: Any) -> None:
        name = self.endpoint
        if not await task_is_over(task_instance, self._claim):
            self.log.info("Another process continues the wait for endpoint %s; the endpoint is not touched.", name)
            return
        if users := await self._other_users(task_instance):
            self.log.info("Endpoint %s keeps running. It is in use by %s.", name, ", ".join(users))
            return
        async with await self._open_client() as client:
            namespace = self._known_namespace()
            found, replaced = await look_before_release(
                client, namespace, name, self.hf_endpoints_conn_id, task_instance
            )
            if replaced:
                return
            client.limit(_KILL_BUDGET)
            done = await client.release(name, unless_paused(self.release_on_kill, found), namespace=namespace)
            self.log.warning("The task was ended while it waited for endpoint %s; the endpoint is %s.", name, done)
            # As in a release: if another run acquired the endpoint in between, the endpoint is resumed.
            if self.release_on_kill in ("pause", "scale_to_zero") and (users := await self._other_users(task_instance)):
                await client.resume_inference_endpoint(name, namespace=namespace)
                self.log.warning("Resumed endpoint %s: %s acquired it in the meantime.", name, ", ".join(users))

    def _known_namespace(self) -> str | None:
        """As the wait has learnt it: the Hub may refuse to be asked at the moment of a kill."""
        client = None if self._poller is None else self._poller.client
        return self.namespace or (None if client is None else client.session.namespace)

    async def _other_users(self, task_instance: Any) -> list[str]:
        holder, namespace = self._holder, self._known_namespace()
        if holder is None or namespace is None:
            return []
        return await others_of(
            self.hf_endpoints_conn_id, namespace, self.endpoint, holder, self.release_on_kill, task_instance
        )

    async def _wait(self, wait: WaitSpec) -> dict[str, Any]:
        log = ProgressLog(lambda reason: self.log.info("Waiting for endpoint %s: %s", wait.endpoint, reason))
        try:
            # All waits of a triggerer on one connection and namespace share one lookup, one client and one poll.
            poller = self._poller = poller_for(self.hf_endpoints_conn_id, wait.namespace, self._open_client)

            def on_look(reason: str) -> None:
                log(reason)
                if self._seconds is not None and self._link is None and poller.client is not None:
                    self._link = asyncio.ensure_future(
                        store_link(self.task_instance, poller.client, wait.namespace, wait.endpoint)
                    )

            end = await poller.wait(wait.endpoint, wait.goal(), on_look=on_look)
        except InferenceEndpointError as error:
            return event_of_error(error, wait.endpoint)
        except Exception as error:  # raised out of here it would fail the task without its clean-up
            self.log.exception("The wait for endpoint %s failed.", wait.endpoint)
            return event_of_error(error, wait.endpoint)
        return event_of(end, wait.endpoint)

    async def _open_client(self) -> AsyncEndpointsClient:
        return await open_client(self.hf_endpoints_conn_id)


def _given(wait: WaitSpec) -> dict[str, Any]:
    """The fields of `wait` that are not at their default, JSON-native."""
    kwargs: dict[str, Any] = {}
    for field in fields(wait):
        value = getattr(wait, field.name)
        if field.default is MISSING or value != field.default:
            kwargs[field.name] = list(value) if isinstance(value, tuple) else value
    if kwargs.get("namespace", "") is None:
        del kwargs["namespace"]
    return kwargs
