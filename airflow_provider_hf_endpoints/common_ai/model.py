"""The model that common-ai gets: its requests wait while an endpoint wakes, and stop when the group's budget is spent.

common-ai's own `cost_limit` has no effect for models without a list price, such as an endpoint. An agent is a loop of
requests that nothing else would stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from airflow.providers.common.compat.sdk import AirflowFailException
from pydantic_ai.models.wrapper import WrapperModel

from airflow_provider_hf_endpoints.inference.http.certificates import verify_for
from airflow_provider_hf_endpoints.operators.requesting.target import EndpointTarget

ANSWER_TIMEOUT = 600.0  # seconds, as OpenAI's library
ASK_EVERY = 30.0  # seconds between two questions of what was spent


class WithinBudget(WrapperModel):  # type: ignore[misc]
    """A model that asks before each request whether the budget is spent. A fallback is not asked then: the task fails.

    :param look: reads the target again, with what the use has cost by now
    """

    def __init__(self, wrapped: Any, look: Callable[[], EndpointTarget]) -> None:
        super().__init__(wrapped)
        self._look = look
        self._asked = -ASK_EVERY

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's."""
        await asyncio.to_thread(self._check)
        return await super().request(*args, **kwargs)

    @asynccontextmanager
    async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """As the model's."""
        await asyncio.to_thread(self._check)
        async with super().request_stream(*args, **kwargs) as stream:
            yield stream

    def _check(self) -> None:
        if time.monotonic() - self._asked < ASK_EVERY:
            return
        self._asked = time.monotonic()
        target = self._look()
        if target.use_budget is not None and (spent := target.use_budget.refusal(target.price_per_hour(), time.time())):
            raise AirflowFailException(
                f"No further request was sent: {spent}. The group releases its endpoint. Raise the group's max_cost or "
                "max_runtime, or give the agent fewer steps."
            )


def client_of(url: str, scale_up_timeout: float) -> httpx2.AsyncClient:
    """The HTTP client for requests to an endpoint.

    :param scale_up_timeout: seconds for which the proxy keeps a request while a replica starts
    """
    return httpx2.AsyncClient(
        headers={"x-scale-up-timeout": str(int(scale_up_timeout))},
        timeout=httpx2.Timeout(ANSWER_TIMEOUT + scale_up_timeout, connect=10.0),
        verify=verify_for(url),
    )
