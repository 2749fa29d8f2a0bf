"""PostgreSQL, Redis and the API server are away for 30 seconds, during a batch, a deferred start and a release."""

from __future__ import annotations

import pytest

from tests.production.cases import Production, on_store


@pytest.mark.parametrize(
    "server", ["redis", *(pytest.param(name, marks=pytest.mark.extended) for name in ("api-server", "postgresql"))]
)
def test_an_outage(production: Production, server: str) -> None:
    """No row is lost, and no endpoint stays: each task outlasts it, or its retry does."""
    gate = production.folder / f"gate-{server}"
    batch, start = production.batch(f"out-{server}"), production.start(f"out-{server}-start")
    release = production.use("default", f"out-use-{server}", on_store(gate))
    release.wait_for_task("use.work", "running")
    with production.airflow.outage(server):
        gate.write_text("open")
        start.ready()
    batch.hurry()
    batch.expect_over(f"batch: no {server} for 30 s")
    batch.expect_all_rows()
    start.expect_over(f"start: becomes ready without {server}")
    release.expect_over(f"release: begins without {server}")
