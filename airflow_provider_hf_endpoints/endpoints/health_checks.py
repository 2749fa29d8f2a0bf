"""The health of running endpoints, asked beside the shared poll: one that does not answer delays its own waiters alone.

What a health route's answer means is decided in `readiness.py`; what is sent in `wait.check_health`.
"""

from __future__ import annotations

import asyncio
import contextvars

from airflow_provider_hf_endpoints.endpoints.async_client import AsyncEndpointsClient
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Health
from airflow_provider_hf_endpoints.endpoints.waiting.wait import check_health

_AT_ONCE = 32  # checks that begin together: each may be a new connection
_SLOW = 1.0  # seconds after which a check gives its place to another one, and goes on


class HealthChecks:
    """The checks that are under way, one an endpoint however many wait for it."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._under_way: dict[str, asyncio.Task[Health]] = {}

    @property
    def under_way(self) -> set[asyncio.Task[Health]]:
        """The checks that have not ended; they use the client that they began with."""
        return set(self._under_way.values())

    async def ask(self, client: AsyncEndpointsClient, endpoint: InferenceEndpoint) -> Health:
        """The endpoint's health, by the check that is under way or by a new one.

        Whoever is cancelled while it waits leaves the check to the others.
        """
        key = endpoint.health_url or endpoint.name
        check = self._under_way.get(key)
        if check is None:
            # In a context of its own: what the check logs is not a line of the task that happened to come first.
            check = asyncio.get_running_loop().create_task(
                self._check(client, endpoint, key), context=contextvars.Context()
            )
            self._under_way[key] = check
        return await asyncio.shield(check)

    async def _check(self, client: AsyncEndpointsClient, endpoint: InferenceEndpoint, key: str) -> Health:
        work: asyncio.Task[Health] | None = None
        try:
            async with self._places:
                work = asyncio.get_running_loop().create_task(client.run(check_health(endpoint)))
                await asyncio.wait({work}, timeout=_SLOW)
            return await work
        finally:
            self._under_way.pop(key, None)
            if work is not None:
                work.cancel()

    async def cancel(self) -> None:
        """End the checks that are under way: nobody waits for them any more."""
        checks = self.under_way
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
