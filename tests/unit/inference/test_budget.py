"""What a batch may cost: when it is warned, ended, or not begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.job.budget import Budget, Notice, SharedBudget, Spending, Spent
from airflow_provider_hf_endpoints.inference.job.spending import load, save

HOUR = 3600.0


def spending(before: Spent | None = None, **limits: Any) -> Spending:
    return Spending(Budget(**{"price_per_hour": 2.0, **limits}), 0.0, before)


def kind(notice: Notice | None) -> str | None:
    return None if notice is None else notice.kind


def test_replicas_are_billed_from_when_they_are_seen() -> None:
    """One replica without a report, then the reported number; never fewer than one while rows are answered."""
    account = spending()
    account.replicas_changed(3, 100.0)
    account.replicas_changed(0, 200.0)
    assert Spent(100 + 300 + 50, 250.0, 7) == account.spent(250.0, 7)


def test_a_warning_at_four_fifths_and_an_end_at_the_whole() -> None:
    """The warning comes once, and the end has the figures."""
    account = spending(max_cost=1.0)  # half an hour
    told = [kind(account.notice(seconds, 10, None)) for seconds in (0.0, 1439.0, 1441.0, 1500.0, 1801.0)]
    assert [None, None, "warning", None, "spent"] == told
    notice = account.notice(1801.0, 10, None)
    assert notice is not None
    assert notice.end
    assert "$1.0006 of max_cost $1 (30.0 replica-minutes at $2 an hour)" in notice.text


def test_time_is_a_limit_of_its_own() -> None:
    """Without a price, too."""
    account = spending(price_per_hour=None, max_runtime=100.0)
    assert ["warning", "spent"] == [kind(account.notice(seconds, 1, None)) for seconds in (85.0, 100.0)]


def test_earlier_runs_count() -> None:
    """What a run that was killed had used up is not given twice."""
    before = Spent(replica_seconds=1700.0, seconds=1700.0, rows=5)
    account = spending(before, max_cost=1.0)
    assert kind(account.notice(101.0, 0, None)) == "spent"
    assert kind(spending(Spent(1800.0), max_cost=1.0).refusal(10)) == "spent"
    assert spending(Spent(1800.0), max_cost=1.0).refusal(0) is None, "with nothing left to do it costs nothing"


def test_what_cannot_fit_is_not_begun() -> None:
    """1,000 rows at one a replica-second are 1,000 replica-seconds: $0.56, and a budget of $0.40 is refused."""
    refusal = spending(max_cost=0.4, rows_per_replica_second=1.0).refusal(1000)
    assert refusal is not None
    assert (refusal.kind, refusal.end) == ("cannot fit", True)
    assert "1000 rows do not fit into the budget at the pace of an earlier run" in refusal.text
    assert spending(max_cost=0.6, rows_per_replica_second=1.0).refusal(1000) is None
    assert spending(max_cost=0.4, rows_per_replica_second=1.0).refusal(None) is None, "nobody counted the rows"
    assert spending(max_cost=0.4).refusal(1000) is None, "nobody measured a pace"


def test_what_turns_out_not_to_fit_is_ended() -> None:
    """Judged by the best half minute, and not before the batch has settled."""
    account = spending(max_cost=0.1)  # 180 replica-seconds
    rows, told = 0, []
    for second in range(91):
        rows += 2 if second < 30 else 5
        told.append(kind(account.notice(float(second), rows, 1000 - rows)))
    # 5 rows a second: 1,000 rows take 209 s, of which 180 are allowed.
    assert [None] * 60 == told[:60]
    assert told[60] == "cannot fit"


def test_a_slow_start_is_not_held_against_it() -> None:
    """The estimate is the best pace seen: a batch that fits at that pace continues."""
    account = spending(max_cost=0.1)
    rows = 0
    for second in range(121):
        rows += 1 if second < 30 else 8
        assert kind(account.notice(float(second), rows, 1000 - rows)) is None


@given(
    changes=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), max_size=20),
    looks=st.lists(st.floats(0, 100), max_size=20),
)
def test_looking_changes_nothing(changes: list[tuple[float, int]], looks: list[float]) -> None:
    """However often it is asked in between, a moment's sum is the same."""
    events = sorted(changes, key=lambda change: change[0])
    plain, watched = spending(max_cost=1e9), spending(max_cost=1e9)
    for at, replicas in events:
        plain.replicas_changed(replicas, at)
    pending = sorted(looks)
    for at, replicas in events:
        while pending and pending[0] <= at:
            watched.notice(pending.pop(0), 1, None)
        watched.replicas_changed(replicas, at)
    assert watched.spent(200.0, 1).replica_seconds == pytest.approx(plain.spent(200.0, 1).replica_seconds)


def test_the_report_has_the_figures() -> None:
    """Dollars by rows and tokens, and the pace by which the next run can be judged."""
    account = spending()
    account.replicas_changed(2, 0.0)
    report = account.report(account.spent(1800.0, 1000), tokens=500_000)
    assert (60.0, 2.0, 2.0, 4.0) == tuple(
        report[name] for name in ("replica_minutes", "usd", "usd_per_1000_rows", "usd_per_million_tokens")
    )
    assert report["rows_per_replica_second"] == pytest.approx(1000 / 3600)
    unpriced = spending(price_per_hour=None).report(Spent(60.0, 60.0, 10), tokens=5)
    assert (1.0, None, None, None) == tuple(
        unpriced[name] for name in ("replica_minutes", "usd", "usd_per_1000_rows", "usd_per_million_tokens")
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_cost": 0}, "max_cost=0 is not valid. Give a positive number"),
        ({"max_runtime": -1}, "max_runtime=-1"),
        ({"max_cost": 1.0, "price_per_hour": None}, "max_cost needs price_per_hour"),
        ({"price_per_hour": -1.0}, "price_per_hour=-1.0"),
        ({"rows_per_replica_second": float("inf")}, "rows_per_replica_second=inf"),
    ],
)
def test_bad_limits(limits: dict[str, Any], words: str) -> None:
    """They are named, with their value."""
    with pytest.raises(ValueError, match=words):
        Budget(**{"price_per_hour": 1.0, **limits})


def shared(price: float | None = 2.0, wall: float = 1000.0, pace: float | None = None, **given: Any) -> Spending:
    """The account at the moment `wall`, of what began at 100."""
    return SharedBudget(**{"name": "budget of all", "began": 100.0, **given}).spending(price, pace, wall, 0.0)


def test_what_is_shared_counts_from_its_beginning() -> None:
    """The reported number until some moment, and one replica since; one replica all the time without a report."""
    assert Spent(1800.0 + 60.0, 900.0) == shared(max_cost=5.0, usd=1.0, at=940.0).spent(0.0, 0)
    assert Spent(900.0, 900.0) == shared(max_cost=5.0).spent(0.0, 0)
    assert Spent(0.0, 0.0) == shared(max_cost=5.0, began=2000.0).spent(0.0, 0), "the clocks of two machines differ"
    assert kind(shared(max_runtime=900.0, price=None).refusal(7)) == "spent"


def test_the_pace_of_one_of_several_says_nothing_of_the_end() -> None:
    """Others slow it down for a time that is not known; what an earlier run did alone is the best that it can do."""
    alone, together = spending(max_cost=1.0), shared(max_cost=1.0, began=1000.0)
    for account in (alone, together):
        account.notice(31.0, 60, 10_000)
    assert ["cannot fit", None] == [kind(each.notice(61.0, 120, 10_000)) for each in (alone, together)]
    refusal = shared(max_cost=1.0, began=1000.0, pace=1.0).refusal(10_000)
    assert refusal is not None
    assert "do not fit into the budget of all" in refusal.text


def test_a_shared_budget_without_a_price_refuses() -> None:
    """With what is missing."""
    told = SharedBudget(name="budget of all", began=0.0, max_cost=1.0).refusal(None, 10.0)
    assert told is not None
    assert "does not list the price" in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        '{"key": "k"}',
        '{"key": "k", "spent": [1]}',
        '{"key": "k", "spent": {"seconds": "x"}}',
        "[" * 5000,
    ],
)
def test_an_account_that_cannot_be_read_starts_again(tmp_path: Path, text: str) -> None:
    """Whatever the file contains: the log has a warning, and the batch continues."""
    path = UPath(tmp_path / "budget.json")
    path.write_text(text)
    assert Spent() == load(path, "k")
    save(path, "k", Spent(1.5, 2.5, 3))
    assert (Spent(1.5, 2.5, 3), Spent()) == (load(path, "k"), load(path, "other"))
