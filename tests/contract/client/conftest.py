"""Each test has its own emulator, and runs with both clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tenacity

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.api import creating, transport
from tests.contract.client.client_play import TOKEN, Either


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of retries and of an uncertain create are short; what they follow from is the same."""
    monkeypatch.setattr(creating, "_CREATE_PAUSE", 0.05)
    monkeypatch.setattr(transport, "_BACKOFF", tenacity.wait_fixed(0.02))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="acme") as running:
        yield running


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def client(emulator: Emulator, asynchronous: bool) -> Iterator[Either]:
    made = Either(emulator, asynchronous)
    yield made
    made.close()
