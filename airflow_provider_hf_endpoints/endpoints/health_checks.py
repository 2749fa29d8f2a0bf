"""Health checks of running endpoints, beside the shared poll. A slow endpoint delays only the tasks that wait for it.

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
_SLOW = 1.0  # seconds after which another check may begin beside a slow one


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

        If a caller is cancelled, the check continues for the others.
        """
        key = endpoint.health_url or endpoint.name
        check = self._under_way.get(key)
        if check is None:
            # In a separate context: log lines of the check do not belong to the task that asked first.
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
        """Cancel the running checks: no task waits for them any more."""
        checks = self.under_way
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
