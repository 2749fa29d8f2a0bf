"""Budgets of whole batches over real HTTP: spent, continued by the next run, refused where the rows can't fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Clock
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted, BudgetExceeded
from airflow_provider_hf_endpoints.inference.job import spending
from airflow_provider_hf_endpoints.inference.job.budget import SharedBudget
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.clock import owned_clock, ticking
from tests.contract.inference_server import Reply, Request, echo, serving

ROWS = 150
#: Two cents a second: a budget of a cent is half a second of one replica.
PRICE = 72.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moved by the looks at the budget; the server's delays pass by it."""
    clock = owned_clock(monkeypatch)
    ticking(monkeypatch, clock)
    return clock


def slow(request: Request) -> Reply:
    return replace(echo(request), delay=0.05)


def job_of(url: str, folder: Path, **options: Any) -> BatchJob:
    rows = folder / "in.jsonl"
    if not rows.exists():
        rows.write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(ROWS)))
    settings: dict[str, Any] = {
        "url": url,
        "task": "chat-completion",
        "engine": "tgi",
        "input_path": rows,
        "output_path": folder / "out",
        "prompt": "{text}",
        "max_concurrency": 4,
        "price_per_hour": PRICE,
    }
    return BatchJob(**{**settings, **options})


def test_a_spent_budget_ends_the_batch_and_keeps_what_is_done(tmp_path: Path, clock: Clock) -> None:
    """150 rows at 80 a second take 2 s; a budget of half a second ends them, and the next run under it sends none."""
    with serving(slow, sleep=clock.sleep) as server:
        with pytest.raises(BudgetExceeded, match=r"the budget is spent: \$0\.01.* of max_cost \$0\.01") as caught:
            run_batch(job_of(server.url, tmp_path, max_cost=0.01))
        done = caught.value.report.rows
        assert 0 < done < ROWS
        lines = (tmp_path / "out" / "results-00000.jsonl").read_text().splitlines()
        assert done == sum(json.loads(line)["error"] is None for line in lines)
        sent = len(server.posts)
        with pytest.raises(BudgetExceeded, match="budget is spent"):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01))
        assert sent == len(server.posts)
        report = run_batch(job_of(server.url, tmp_path, max_cost=1.0))
        assert (ROWS, ROWS) == (report.rows, len(server.posts))
    assert report.cost is not None
    assert report.cost["usd"] > 0.01, "what the first run spent is in the account"
    assert report.cost["usd_per_1000_rows"] == pytest.approx(report.cost["usd"] * 1000 / ROWS)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["report"]["cost"] == report.cost


def test_another_key_begins_anew(tmp_path: Path, clock: Clock) -> None:
    """A task that is cleared gets a new budget; what is done stays done."""
    with serving(slow, sleep=clock.sleep) as server:
        with pytest.raises(BudgetExceeded):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01, budget_key="first"))
        with pytest.raises(BudgetExceeded):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01, budget_key="second"))
        assert 0 < len(server.posts) <= ROWS
        before = len(server.posts)
        run_batch(job_of(server.url, tmp_path, max_runtime=60.0, budget_key="third"))
        assert ROWS == len(server.posts) > before


def test_more_replicas_spend_faster(tmp_path: Path, clock: Clock) -> None:
    """What counts is what the service says is ready."""
    with serving(slow, sleep=clock.sleep) as server:
        with pytest.raises(BudgetExceeded) as caught:
            run_batch(job_of(server.url, tmp_path, max_cost=0.04), ready_replicas=lambda: 4)
        cost = caught.value.report.cost
    assert cost is not None
    assert cost["usd"] >= 0.04
    assert cost["replica_minutes"] * 60 >= 2


def test_what_cannot_fit_is_refused_before_a_row_is_sent(tmp_path: Path, clock: Clock) -> None:
    """At the pace of an earlier run, as its report has it."""
    with serving(slow, sleep=clock.sleep) as server:
        with pytest.raises(BudgetExceeded, match="150 rows do not fit into the budget at the pace of an earlier"):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01, rows_per_replica_second=10.0))
        assert [] == server.posts


def test_an_overwritten_output_keeps_its_account(tmp_path: Path, clock: Clock) -> None:
    """`overwrite` throws rows away, and not what they have cost."""
    with serving(slow, sleep=clock.sleep) as server:
        with pytest.raises(BudgetExceeded):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01))
        sent = len(server.posts)
        for _ in range(2):
            with pytest.raises(BudgetExceeded):
                run_batch(job_of(server.url, tmp_path, max_cost=0.01, on_existing="overwrite"))
        assert sent == len(server.posts)


def test_shards_stop_at_the_same_moment(tmp_path: Path, clock: Clock) -> None:
    """Counted from the plan on, for one replica if no number is reported: the second shard sends nothing."""
    with serving(slow, sleep=clock.sleep) as server:
        whole = job_of(server.url, tmp_path)
        shards = plan_batch(whole.input_path, whole.output_path, shards=2)
        began = clock()
        limits: dict[str, Any] = {"max_cost": 1.0 / 3600 * PRICE}
        first, second = (replace(whole, shard=replace(shard, began=began), **limits) for shard in shards)
        with pytest.raises(
            BudgetExceeded, match=r"budget of all shards is spent: \$0\.02.* of max_cost \$0\.02"
        ) as caught:
            run_batch(first)
        assert 0 < caught.value.report.rows < ROWS / 2
        assert caught.value.budget == "budget of all shards"
        sent = len(server.posts)
        with pytest.raises(BudgetExceeded, match="budget of all shards is spent"):
            run_batch(second)
        assert sent == len(server.posts)
        report = run_batch(replace(second, shard=replace(shards[1], began=clock()), max_cost=1.0))
    manifest = json.loads(Path(report.manifest_path).read_text())
    assert "began" not in manifest["shard"], "which shard it is, whenever it was planned"


def paused_after(seconds: float, clock: Clock) -> Any:
    """Each answer takes a twentieth of a second of the clock."""
    moment = clock() + seconds

    def answer(request: Request) -> Reply:
        clock.advance(0.05)
        if clock() < moment:
            return echo(request)
        return Reply(400, {"error": "Bad Request: The endpoint is paused, ask a maintainer to restart it"})

    return answer


@pytest.mark.parametrize(("seconds", "error"), [(1.5, BudgetExceeded), (60.0, BatchAborted)])
def test_an_endpoint_that_another_one_has_paused_for_the_same_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, error: type[Exception]
) -> None:
    """Who has not looked at the budget yet says that it is spent; a pause long before is a pause."""
    clock = owned_clock(monkeypatch)
    monkeypatch.setattr(spending, "TICK", 2.0)
    with serving(paused_after(0.7, clock)) as server:
        shared = SharedBudget(name="budget of the group", began=clock(), max_runtime=seconds)
        with pytest.raises(error):
            run_batch(job_of(server.url, tmp_path, shared_budgets=(shared,)))


def test_two_budgets_end_a_batch_by_whichever_is_spent_first(tmp_path: Path, clock: Clock) -> None:
    """Its own, and one that it shares."""
    with serving(slow, sleep=clock.sleep) as server:
        shared = SharedBudget(name="budget of the group", began=clock() - 5.0, max_runtime=5.5)
        with pytest.raises(
            BudgetExceeded, match=r"the budget of the group is spent: \d s of max_runtime 5\.5 s"
        ) as caught:
            run_batch(job_of(server.url, tmp_path, shared_budgets=(shared,), max_cost=1.0))
        assert caught.value.report.cost is not None
        assert caught.value.report.cost["usd"] < 5 / 3600 * PRICE, "of this batch alone"
        shared = replace(shared, began=clock(), max_runtime=60.0)
        with pytest.raises(BudgetExceeded, match=r"the budget is spent"):
            run_batch(job_of(server.url, tmp_path, shared_budgets=(shared,), max_cost=0.02))
