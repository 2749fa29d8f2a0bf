"""The trigger of an `AssetWatcher`: it fires whenever an endpoint comes into a state that is watched for.

It never ends. What a look means is decided in `endpoints/waiting/changes.py`; the looks are those of the shared poll,
and what was seen last is kept in `_memory.py`. Nothing here changes an endpoint, whatever becomes of the trigger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import ApiError, InferenceEndpointError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.names import check_name, check_namespace
from airflow_provider_hf_endpoints.endpoints.poller import EndpointPoller, poller_for
from airflow_provider_hf_endpoints.endpoints.waiting.changes import WATCHABLE, Watch, is_news, news, state_in
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import LONGEST_POLL, EndpointSnapshot
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.triggers._client import open_client
from airflow_provider_hf_endpoints.triggers._memory import SeenState
from airflow_provider_hf_endpoints.waits import ProgressLog

_STATES = ("running", "failed", "updateFailed", "paused", "scaledToZero")
# Airflow stores an event a second or so after it was given it. Only then is it kept as seen: a triggerer that is killed
# in between tells it twice rather than never.
_HANDED_OVER = 3.0  # seconds
_LONGEST_TOLD = 300.0  # seconds of a Retry-After that are kept to


class BadWatchError(InvalidArgumentError, TypeError):
    """Arguments that no watch can have. A `TypeError` too: a triggerer survives no other error of a constructor."""


class InferenceEndpointEventTrigger(BaseEventTrigger):
    """Fires each time that the endpoint comes into one of `states`; for `Asset(watchers=[AssetWatcher(…)])`.

    The event: the endpoint's summary with `revision`, `previous_state` and `reason`; `reason` says what a
    failed endpoint's state says, and is None otherwise. Changes that come and go between two looks are not seen.

    The first look fires no event. After a restart of the triggerer, the trigger continues from the last seen state
    (Airflow 3.3), or starts again with a first look (3.0 to 3.2).

    The trigger waits for an endpoint that does not exist yet, and survives every error: a service that is down, a
    refused token, a missing connection.

    :param endpoint: the endpoint's name.
    :param namespace: the user or organisation; default the connection's, else the token's user.
    :param states: of `pending`, `initializing`, `running`, `updating`, `updateFailed`, `paused`, `failed`,
        `scaledToZero` and `deleted`. Default: running, failed, updateFailed, paused and scaledToZero.
    :param hf_endpoints_conn_id: the connection, by name.
    :param check_health: whether `running` begins only with the health route's 200; default True. Asked only of an
        endpoint that has just come to run.
    :param fire_on_start: whether the state at the very first look is an event too; default False. Before Airflow 3.3
        every restart of the triggerer has such a look.
    :param poll_interval: seconds between looks at most; default 30.
    """

    def __init__(
        self,
        endpoint: str,
        namespace: str | None = None,
        states: Sequence[str] = _STATES,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        check_health: bool = True,
        fire_on_start: bool = False,
        poll_interval: float = LONGEST_POLL,
        **_retired: object,  # kwargs that another version wrote
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.endpoint = endpoint
        self.namespace = namespace
        self.states = (states,) if isinstance(states, str) else tuple(states)
        self.hf_endpoints_conn_id = hf_endpoints_conn_id
        self.check_health = check_health
        self.fire_on_start = fire_on_start
        self.poll_interval = poll_interval
        self._check()

    def _check(self) -> None:
        """Refuse, when the DAG is read, what could never fire."""
        try:
            check_name(self.endpoint, "endpoint")
            if self.namespace is not None:
                check_namespace(self.namespace)
        except InvalidArgumentError as error:
            raise BadWatchError(f"{error} (The arguments of a watcher are not templates.)") from None
        if not self.hf_endpoints_conn_id.strip():
            raise BadWatchError("hf_endpoints_conn_id is empty. Give the name of a connection, or leave it out.")
        unknown = [state for state in self.states if state not in WATCHABLE]
        if unknown or not self.states:
            raise BadWatchError(
                f"states={list(self.states)!r} is not valid. Use one or more of {', '.join(WATCHABLE)}."
            )
        if self.poll_interval <= 0:
            raise BadWatchError(
                f"poll_interval={self.poll_interval!r} is not valid. Give a positive number of seconds."
            )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Only what is not at its default, always in the same order: Airflow knows a watcher by a hash of it."""
        kwargs: dict[str, Any] = {"endpoint": self.endpoint}
        if self.namespace is not None:
            kwargs["namespace"] = self.namespace
        if set(self.states) != set(_STATES):
            kwargs["states"] = sorted(set(self.states))
        if self.hf_endpoints_conn_id != InferenceEndpointsHook.default_conn_name:
            kwargs["hf_endpoints_conn_id"] = self.hf_endpoints_conn_id
        if not self.check_health:
            kwargs["check_health"] = False
        if self.fire_on_start:
            kwargs["fire_on_start"] = True
        if self.poll_interval != LONGEST_POLL:
            kwargs["poll_interval"] = self.poll_interval
        return (f"{type(self).__module__}.{type(self).__qualname__}", kwargs)

    @property
    def watch(self) -> Watch:
        """What is watched for."""
        return Watch(frozenset(self.states), check_health=self.check_health, fire_on_start=self.fire_on_start)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, fire events for changes, and look again, forever."""
        watch, memory = self.watch, self._memory()
        poller = poller_for(self.hf_endpoints_conn_id, self.namespace, self._open_client)
        trouble = ProgressLog(lambda words: self.log.warning("Could not watch endpoint %s: %s", self.endpoint, words))
        last = await memory.recall()
        pause = 0.0
        while True:
            snapshot = await self._look(poller, pause, watch.needs_health(last), trouble)
            state = state_in(snapshot, watch, last)
            if last is None:
                self.log.info("Watching endpoint %s, which is %s.", self.endpoint, state)
            if is_news(state, last, watch):
                self.log.info("Endpoint %s is %s, after %s.", self.endpoint, state, last or "an unknown state")
                told = news(state, snapshot.endpoint, self.endpoint, self.namespace, last)
                yield TriggerEvent(told)  # type: ignore[no-untyped-call]
                await asyncio.sleep(_HANDED_OVER)
            await memory.keep(state)
            last, pause = state, self.poll_interval

    async def _look(self, poller: EndpointPoller, pause: float, health: bool, trouble: ProgressLog) -> EndpointSnapshot:
        """The next look that is one; errors are logged, and waited out."""
        while True:
            look = await poller.look(self.endpoint, pause, check_health=health)
            if not isinstance(look, InferenceEndpointError):
                if look.health is not None and look.health.refused:
                    trouble(
                        f"its health route answers {look.health.status}, so the watcher cannot see when the endpoint "
                        "is ready. Add the permission inference.endpoints.infer.write to the token, or set "
                        "check_health=False."
                    )
                return look
            trouble(str(look))
            told = look.retry_after if isinstance(look, ApiError) else None
            pause = max(self.poll_interval, min(told or 0.0, _LONGEST_TOLD))

    def _memory(self) -> SeenState:
        where = f"{self.hf_endpoints_conn_id}:{self.namespace or ''}/{self.endpoint}"
        store = getattr(self, "asset_state_store", None)
        return SeenState(store, f"{where}:{','.join(sorted(set(self.states)))}")

    async def _open_client(self) -> AsyncEndpointsClient:
        return await open_client(self.hf_endpoints_conn_id)
