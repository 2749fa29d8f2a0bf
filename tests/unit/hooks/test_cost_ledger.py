"""The costs of a DAG in one document: nothing is lost or doubled by folding, and the document stays small."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_hf_endpoints.hooks import cost_ledger
from airflow_provider_hf_endpoints.hooks.cost_ledger import MOST_BYTES, Entry, Figures, Ledger, total, with_work_once

BEGAN = datetime(2026, 1, 1)


def entry(run: int, *, endpoint: str = "acme/demo", hours: float = 24.0, **given: Any) -> Entry:
    """One dollar, for the run that has ended so many times `hours` after the beginning."""
    figures = Figures(usd=1.0, replica_minutes=2.5, rows=10, tokens=100, **given)
    return Entry((BEGAN + timedelta(hours=hours * run)).isoformat(), endpoint, figures, f"run-{run}")


def grown(runs: int, endpoints: tuple[str, ...] = ("acme/demo",), hours: float = 24.0) -> Ledger:
    """What so many runs leave, stored and read again now and then."""
    ledger = Ledger()
    for run in range(runs):
        for number, endpoint in enumerate(endpoints):
            ledger.add(f"{run:08}-{number:03}", entry(run, endpoint=endpoint, hours=hours))
        if run % 50 == 0:
            ledger = Ledger.of(json.loads(json.dumps(ledger.stored())))
    return ledger


@pytest.mark.parametrize(
    ("runs", "endpoints", "hours"),
    [
        (500, ("acme/demo",), 1.0),
        (800, ("acme/demo", "acme/other"), 24.0),
        (60, tuple(f"acme/endpoint-{number:026}" for number in range(30)), 24.0),
        (400, ("n" * 90 + "/" + "e" * 32,), 24.0 * 30),
    ],
    ids=["hourly", "two endpoints for two years", "thirty endpoints", "long names for thirty years"],
)
def test_a_document_is_bounded_and_counts_every_run_once(runs: int, endpoints: tuple[str, ...], hours: float) -> None:
    """Below what MySQL keeps, encrypted, and the sum over all time is exact."""
    ledger = grown(runs, endpoints, hours)
    assert len(json.dumps(ledger.stored())) <= MOST_BYTES
    figures, by_endpoint = total(ledger.entries())
    costs = runs * len(endpoints)
    assert Figures(runs, float(costs), 0, 2.5 * costs, 10 * costs, 100 * costs) == figures
    assert sum(by_endpoint.values()) == pytest.approx(costs)
    assert ledger.sums, "nothing was folded: the case is too small"


def test_recent_runs_stay_records_and_older_ones_become_coarser() -> None:
    """The newest are by run; behind them are days, then months by endpoint."""
    ledger = grown(800, ("acme/demo", "acme/other"))
    newest = max(each.span for each in ledger.sums)
    assert len(ledger.records) > 50
    assert newest[:10] <= min(each.span[:10] for each in ledger.records.values())
    by_length = {length: [each.span for each in ledger.sums if len(each.span) == length] for length in (10, 7)}
    assert max(by_length[7]) <= min(by_length[10])[:7]
    assert {"acme/demo", "acme/other"} == {each.endpoint for each in ledger.sums}


def test_adjacent_months_add_up() -> None:
    """A sum counts where it begins: in exactly one of two spans that meet, and in that of its month."""
    ledger = grown(800)
    months = [datetime(2026 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(28)]
    counted = [
        total(each for each in ledger.entries() if since <= each.begin < until)[0].runs
        for since, until in pairwise(months)
    ]
    assert 800 == sum(counted)
    assert [(until - since).days for since, until in pairwise(months[:26])] == counted[:25]


def test_a_repeated_release_replaces_its_record() -> None:
    """The later one counts, whichever of the two is written last."""
    ledger = Ledger()
    first, second = entry(1), entry(2)
    for each in (first, second, first):
        ledger.add("key", each)
    assert {"key": second} == ledger.records
    assert ledger.holds("key", first)


def test_a_release_is_not_counted_again_when_its_record_is_folded() -> None:
    """A writer that finds its record gone into a sum does not write it again; neither does a retry."""
    ledger = grown(500)
    gone = next(number for number in range(499, 0, -1) if f"{number:08}-000" not in ledger.records)
    assert ledger.holds(f"{gone:08}-000", entry(gone))
    ledger.add(f"{gone:08}-000", entry(gone, unpriced=1))
    assert (500, 0) == ((figures := total(ledger.entries())[0]).runs, figures.unpriced)


def test_a_run_with_two_endpoints_is_one_run_while_one_of_them_is_folded() -> None:
    """Its cost is in a sum and in a record, in this order of their ends."""
    ledger = Ledger()
    ledger.add("first", entry(0, endpoint="acme/a"))
    ledger.add("second", Entry("2099-01-01T00:00:00", "acme/b", Figures(usd=1.0), "run-0"))
    for number in range(1, 300):
        ledger.add(f"{number:08}-000", entry(number, endpoint="acme/a"))
    assert ["first"] == ledger.folded[:1]
    assert "second" in ledger.records
    assert (300, 301.0) == ((figures := total(ledger.entries())[0]).runs, figures.usd)


def test_rows_of_a_run_that_began_twice_count_once_also_when_folded() -> None:
    """Dollars add up, rows are those of the later report; a run of before that names no work counts as it is."""
    ledger = Ledger()
    for number in range(2):
        ledger.add(f"run-0-{number}", replace(entry(number), run="run-0", work="run-0-of-demo"))
    ledger.add("run-2", entry(2))
    figures, _ = total(with_work_once(list(ledger.entries())))
    assert (2, 3.0, 20) == (figures.runs, figures.usd, figures.rows)
    for number in range(3, 300):
        ledger.add(f"{number:08}-000", entry(number))
    assert {"run-0-0", "run-0-1"} <= {*ledger.folded}
    figures, _ = total(with_work_once(list(ledger.entries())))
    assert (299, 300.0, 2990) == (figures.runs, figures.usd, figures.rows)


def test_years_and_all_that_was_before_them_are_the_last_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any number of endpoints and months: sums by year name no endpoint, and in the end there is one sum."""
    monkeypatch.setattr(cost_ledger, "MOST_BYTES", 3_000)
    ledger = Ledger(sums=[Entry(f"{year:04}-05-01", f"acme/{year}", Figures(runs=1)) for year in range(1940, 2000)])
    ledger.add("key", entry(1))
    assert len(json.dumps(ledger.stored())) <= 3_000
    assert 61 == total(ledger.entries())[0].runs
    assert {"*"} == {each.endpoint for each in ledger.sums}
    assert {"", "1999"} <= {each.span for each in ledger.sums}
    assert datetime(1, 1, 1, tzinfo=UTC) == min(each.begin for each in ledger.sums)
