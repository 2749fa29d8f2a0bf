"""One production Airflow for all tests here, and the table of what came of each case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.s3_server import S3, s3_server
from tests.production.cases import Production, Row
from tests.production.world import production_world

_rows: list[Row] = []


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object store: the only place for files that two workers share."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def production(s3: S3) -> Iterator[Production]:
    """The stack, up, with its connections in the database."""
    with production_world(s3, _rows) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of their worth, and the search through what all the others left at the end."""
    order = ("test_kills", "test_outages", "test_uses", "test_people", "test_sensors", "test_secrets")
    items.sort(key=lambda item: order.index(item.path.stem) if item.path.stem in order else -1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table: case, outcome, seconds billed after the end."""
    if not _rows:
        return
    terminalreporter.section("case, outcome, seconds billed after the end of the work")
    for line in Row.table(_rows):
        terminalreporter.write_line(line)
