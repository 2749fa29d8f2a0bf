"""Each test of an operator has its own emulator, to which the default connection leads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.operators_play import connected


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        yield running
