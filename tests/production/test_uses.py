"""Many uses of one endpoint at once, on two workers: of runs at once with leases in each store, and of a backfill."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from tests.production.cases import Production, Row, Run

USES = int(os.environ.get("PRODUCTION_USES", "20"))
ROUNDS = int(os.environ.get("PRODUCTION_ROUNDS", "1"))  # one after the other, for each store
BACKFILL = 5  # days
STORES = {"default": "Variables", "s3": "S3", "files": "files"}


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize(
    "store", [store if store == "s3" else pytest.param(store, marks=pytest.mark.extended) for store in STORES]
)
def test_many_uses_at_once(production: Production, store: str, round_: int) -> None:
    """All succeed, and the last one out pauses the endpoint; the next round starts the same endpoint again."""
    name = f"uses-{store}"
    if round_ == 0:
        production.service.behave(name, initializing_seconds=5.0)
    runs = [production.use(store, name) for _ in range(USES)]
    expect_shared(production, runs, f"{USES} uses at once, leases in {STORES[store]}, round {round_ + 1}")


@pytest.mark.extended
def test_a_backfill_beside_another_dag(production: Production) -> None:
    """Five runs of a backfill and three of another DAG: the endpoint stays until the last of them, and no longer."""
    name = "backfill"
    production.service.behave(name, initializing_seconds=5.0)
    begin = production.airflow.api.backfill
    dag = "production_daily"
    production.airflow.wait_for_dag(dag)
    ids = begin(dag, datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC), {"endpoint": name})
    assert len(ids) == BACKFILL
    runs = [Run(production, dag, id_, name, production.service, production.folder) for id_ in ids]
    runs += [production.use("default", name) for _ in range(3)]
    expect_shared(production, runs, f"a backfill of {BACKFILL} beside 3 runs of another DAG")


def expect_shared(production: Production, runs: list[Run], case: str) -> None:
    """All runs of one endpoint succeed, and it is paused when all have ended; the table has a line."""
    ends = [run.end() for run in runs]
    billed = runs[0].billed_after(*runs[1:])
    state = production.service.states(runs[0].endpoint)[-1]
    production.rows.append(Row(case, f"{ends.count('success')} of {len(runs)} green, {state}", billed))
    failed = [run.messages() for run, end in zip(runs, ends, strict=True) if end != "success"]
    assert ([], "paused") == (failed, state)
