"""A trigger that does not end with its event, as one with slow code after the yield: Airflow cancels it then.

Below a folder of its own, because the triggerer imports it by name.
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
