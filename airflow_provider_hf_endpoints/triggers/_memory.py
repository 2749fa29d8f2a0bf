"""What an event trigger saw last, kept by Airflow over a restart of the triggerer: from 3.3 on, in the asset's store.

Before 3.3 Airflow gives event triggers nowhere to keep anything, and nothing is remembered.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Asset

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError, asset_names
from airflow_provider_hf_endpoints.triggers._line import line

log = logging.getLogger(__name__)

# What the store raises: the API server's refusals, and that it serves several assets only one by one. A watcher goes on
# without its memory; an error out of it would end the watcher.
_STORE_ERRORS = (AirflowRuntimeError, ValueError)


class SeenState:
    """The last state that a trigger saw.

    :param store: Airflow's `asset_state_store` of the trigger; None if there is no store.
    :param key: under which the trigger's state is kept, its own among all that watch for the asset.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._store = None if store is None else _of_one_asset(store)
        self._key = key
        self._kept: Any = None

    async def recall(self) -> str | None:
        """The state, None where nothing was seen before or it is not available."""
        if self._store is None:
            return None
        try:
            async with line():
                self._kept = await self._store.aget(self._key)
        except _STORE_ERRORS as error:
            log.warning("Could not read the earlier state of %s: %s", self._key, error)
        return self._kept if isinstance(self._kept, str) else None

    async def keep(self, state: str) -> None:
        """Keep `state`. A failure is logged, and has the effect of a restart."""
        if self._store is None or state == self._kept:
            return
        try:
            async with line():
                await self._store.aset(self._key, state)
            self._kept = state
        except _STORE_ERRORS as error:
            log.warning("Could not store the state of %s: %s", self._key, error)


def _of_one_asset(store: Any) -> Any:
    """The store itself serves a trigger of one asset only; of several that share a trigger the first one's is used."""
    names = asset_names(store)
    return store[Asset.ref(name=names[0])] if len(names) > 1 else store
