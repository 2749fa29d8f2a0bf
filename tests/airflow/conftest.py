"""One Airflow and one emulator for all live tests: starting them is what costs the time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.local_airflow import LocalAirflow
from dev.processes import signals_raise

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_liveTestsSecretToken"


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The service, with the echo engine, and quick."""
    with Emulator(token=TOKEN, namespace="acme") as emulator:
        yield emulator


@pytest.fixture(scope="session")
def outputs() -> Iterator[Path]:
    """The folder that the example DAGs write below."""
    with tempfile.TemporaryDirectory(prefix="hf-endpoints-live-output-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def airflow(emulator: Emulator, outputs: Path) -> Iterator[LocalAirflow]:
    """A running Airflow that knows the example DAGs and the live tests' own, and the way to the emulator."""
    connection = {"conn_type": "hf_endpoints", "host": emulator.url, "password": emulator.token}
    with (
        signals_raise(),
        tempfile.TemporaryDirectory(prefix="hf-endpoints-live-", ignore_cleanup_errors=True) as folder,
        LocalAirflow(
            Path(folder) / "airflow",
            [ROOT / "example_dags", Path(__file__).parent / "dags"],
            connections={"hf_endpoints_default": connection},
            variables={"HF_ENDPOINTS_EXAMPLE_OUTPUT": str(outputs)},
        ) as airflow,
    ):
        yield airflow
