"""A trigger that does not end with its event, like one with slow code after the yield: Airflow then cancels it.

It is in a separate folder, because the triggerer imports it by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from airflow.triggers.base import TriggerEvent

from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger


class LingeringTrigger(InferenceEndpointTrigger):
    """The shipped trigger, which stays a while."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire, and stay."""
        async for event in super().run():
            yield event
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.log.info("cancelled after its event")
            raise
