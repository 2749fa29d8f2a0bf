"""Each test has its own emulator, of one namespace and without tokens where the file does not say otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.emulator_play import Play


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(namespace="acme") as running:
        yield running


@pytest.fixture
def play(emulator: Emulator) -> Play:
    return Play(emulator)
