"""What the tests of the control plane's clients share: one of both clients, and what is asked of it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal, Ready

HANG = 20.0  # seconds after which a wait that does not end is a failure
TOKEN = "hf_test"
CPU: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "task": "text-generation",
    "accelerator": "cpu",
    "vendor": "aws",
    "region": "us-east-1",
    "instance_type": "intel-icl",
    "instance_size": "x2",
}
GPU: dict[str, Any] = {**CPU, "accelerator": "gpu", "instance_type": "nvidia-a10g", "instance_size": "x1"}
VLLM: dict[str, Any] = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "healthRoute": "/health"}}


class Either:
    """One of the two clients, called the same way; the asynchronous one on a separate event loop."""

    def __init__(self, emulator: Emulator, asynchronous: bool, token: str = TOKEN, **options: Any) -> None:
        kind = AsyncEndpointsClient if asynchronous else EndpointsClient
        self.client: Any = kind(token, base_url=emulator.url, **options)
        self._runner = asyncio.Runner() if asynchronous else None

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        called = getattr(self.client, method)
        if self._runner is None:
            return called(*args, **kwargs)

        async def awaited() -> Any:
            return await called(*args, **kwargs)

        return self._runner.run(awaited())

    def close(self) -> None:
        self("close")
        if self._runner is not None:
            self._runner.close()

    def create(self, name: str = "tickets", **changes: Any) -> Any:
        return self("create_inference_endpoint", name, **{**CPU, **changes})

    def wait(self, name: str = "tickets", on_look: Any = None, **changes: Any) -> Any:
        return self("wait", name, goal(**changes), on_look=on_look)

    def running(self, name: str = "tickets", **changes: Any) -> Any:
        """A new endpoint that answers."""
        self.create(name, **changes)
        end = self.wait(name)
        assert isinstance(end, Ready), end
        return end.endpoint


def goal(**changes: Any) -> Goal:
    now = datetime.now(UTC)
    return Goal(**{"started": now, "deadline": now + timedelta(seconds=HANG), "longest_poll": 0.05, **changes})


def asked(emulator: Emulator, method: str, path: str = "") -> int:
    """How many such requests there were, the last answer's own, which is noted a moment later, among them."""
    seen = -1
    while seen != (seen := len([each for each in emulator.requests if each.method == method and path in each.path])):
        time.sleep(0.05)
    return seen
