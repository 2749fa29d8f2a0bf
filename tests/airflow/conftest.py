"""One Airflow and one emulator for all live tests: starting them is what costs the time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.local_airflow import LocalAirflow
from dev.processes import signals_raise
from tests.airflow.cases import BEGUN, NAMESPACES, STILL, Case, Cases

_tables: dict[str, list[str]] = {}
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_liveTestsSecretToken"
# What a search through all that Airflow keeps must not find; none looks like a secret.
CANARIES = {
    "inline": "canary given in the DAG 4711",
    "vault": "canary of an extra 4712",
    "variable": "canary of a variable 4713",
    "registry": "canary of a registry 4714",
}


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The service, with the echo engine, and quick."""
    # The DAGs are about Airflow, and chat with endpoints of the default image.
    quirks = frozenset({"toolkit_chats"})
    with Emulator(token=TOKEN, namespace="acme", orgs=(*NAMESPACES, BEGUN), quirks=quirks) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def still() -> Iterator[Emulator]:
    """Another one, whose clock nobody puts forward: what is billed there lies between moments of Airflow's clock."""
    with Emulator(token=TOKEN, orgs=STILL) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def outputs() -> Iterator[Path]:
    """The folder that the example DAGs write below."""
    with tempfile.TemporaryDirectory(prefix="hf-endpoints-live-output-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def dag_folders(request: pytest.FixtureRequest) -> list[Path]:
    """Where DAGs are read: those that watch endpoints all the time only where they are tested."""
    folders = [ROOT / "example_dags", Path(__file__).parent / "dags"]
    if any(item.get_closest_marker("extended") for item in request.session.items):
        folders.append(Path(__file__).parent / "dags_extended")
    return folders


@pytest.fixture(scope="session")
def airflow(emulator: Emulator, still: Emulator, outputs: Path, dag_folders: list[Path]) -> Iterator[LocalAirflow]:
    """A running Airflow that knows the example DAGs and the live tests' own, and the way to the emulators."""
    connection = {"conn_type": "hf_endpoints", "host": emulator.url, "password": emulator.token}
    vault = {"conn_type": "generic", "password": CANARIES["registry"], "extra": {"api_key": CANARIES["vault"]}}
    with (
        signals_raise(),
        tempfile.TemporaryDirectory(prefix="hf-endpoints-live-", ignore_cleanup_errors=True) as folder,
        LocalAirflow(
            Path(folder) / "airflow",
            dag_folders,
            connections={
                "hf_endpoints_default": connection,
                "hf_endpoints_still": {**connection, "host": still.url},
                "canary_vault": vault,
            },
            variables={
                "HF_ENDPOINTS_EXAMPLE_OUTPUT": str(outputs),
                "HF_ENDPOINTS_EXAMPLE_LOOK_EVERY": "1",
                # This checkout's own package, wherever the environment has another one installed from.
                "PYTHONPATH": os.pathsep.join(map(str, (ROOT, Path(__file__).parent / "modules"))),
                "AIRFLOW__CORE__PARALLELISM": "8",
                # The second for the tasks that name it.
                "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,pod_executor.PodExecutor",
                # On a machine under load the scheduler is later than the five seconds of the default.
                "AIRFLOW__HF_ENDPOINTS__MIN_DEFERRAL_SECONDS": "8",
                "MATRIX_CONNECTION": "hf_endpoints_still",
                "CANARY_INLINE": CANARIES["inline"],
                "AIRFLOW_VAR_CANARY_VARIABLE": CANARIES["variable"],
            },
        ) as airflow,
    ):
        yield airflow


@pytest.fixture(scope="session")
def cases(airflow: LocalAirflow, emulator: Emulator) -> Iterator[Cases]:
    """Ways to end a wait, each with a namespace of its own."""
    made = Cases(airflow, emulator)
    yield made
    _tables["calls"] = made.table()


@pytest.fixture
def case(cases: Cases, request: pytest.FixtureRequest) -> Case:
    """The test's own, named after it."""
    return cases.new(request.node.name.removeprefix("test_").replace("_", " "))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--calls`."""
    parser.addoption("--calls", action="store_true", help="print which calls reached the service in each live case")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of calls, ready to be quoted."""
    if config.getoption("--calls") and _tables:
        terminalreporter.section("calls that reached the service")
        for line in ["| what happens | calls, in order |", "|---|---|", *_tables["calls"]]:
            terminalreporter.write_line(line)
