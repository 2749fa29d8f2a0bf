"""Many uses of one endpoint at once, on two workers, with leases in each of the stores."""

from __future__ import annotations

import os

import pytest

from tests.production.cases import Production, Row

USES = int(os.environ.get("PRODUCTION_USES", "20"))
STORES = {"default": "Variables", "s3": "S3", "files": "files"}


@pytest.mark.parametrize("store", STORES)
def test_many_uses_at_once(production: Production, store: str) -> None:
    """All succeed, and the last one out pauses the endpoint."""
    name = f"uses-{store}"
    production.service.behave(name, initializing_seconds=5.0)
    runs = [production.use(store, name) for _ in range(USES)]
    ends = [run.end() for run in runs]
    billed = runs[0].billed_after(*runs[1:])
    outcome = f"{ends.count('success')} of {USES} green, {production.service.states(name)[-1]}"
    production.rows.append(Row(f"{USES} uses at once, leases in {STORES[store]}", outcome, billed))
    failed = [run.messages() for run, end in zip(runs, ends, strict=True) if end != "success"]
    assert ([], "paused") == (failed, production.service.states(name)[-1])
