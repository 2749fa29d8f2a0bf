"""Budgets of whole batches over real HTTP: spent, continued by the next run, refused where the rows can't fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference import spending
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BudgetExceeded
from tests.contract.inference_server import Reply, Request, echo, serving

ROWS = 150
#: Two cents a second: a budget of a cent is half a second of one replica.
PRICE = 72.0


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "TICK", 0.02)


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


def test_a_spent_budget_ends_the_batch_and_keeps_what_is_done(tmp_path: Path) -> None:
    """150 rows at 80 a second take 2 s; a budget of half a second ends them, and the next run under it sends none."""
    with serving(slow) as server:
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


def test_another_key_begins_anew(tmp_path: Path) -> None:
    """A task that is cleared gets a new budget; what is done stays done."""
    with serving(slow) as server:
        with pytest.raises(BudgetExceeded):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01, budget_key="first"))
        with pytest.raises(BudgetExceeded):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01, budget_key="second"))
        assert 0 < len(server.posts) <= ROWS
        before = len(server.posts)
        run_batch(job_of(server.url, tmp_path, max_runtime=60.0, budget_key="third"))
        assert ROWS == len(server.posts) > before


def test_more_replicas_spend_faster(tmp_path: Path) -> None:
    """What counts is what the service says is ready."""
    with serving(slow) as server:
        with pytest.raises(BudgetExceeded) as caught:
            run_batch(job_of(server.url, tmp_path, max_cost=0.04), ready_replicas=lambda: 4)
        cost = caught.value.report.cost
    assert cost is not None
    assert cost["usd"] >= 0.04
    assert cost["replica_minutes"] * 60 >= 2


def test_what_cannot_fit_is_refused_before_a_row_is_sent(tmp_path: Path) -> None:
    """At the pace of an earlier run, as its report has it."""
    with serving(slow) as server:
        with pytest.raises(BudgetExceeded, match="150 rows can't be done within the budget at the pace of an earlier"):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01, rows_per_replica_second=10.0))
        assert [] == server.posts


def test_an_overwritten_output_keeps_its_account(tmp_path: Path) -> None:
    """`overwrite` throws rows away, and not what they have cost."""
    with serving(slow) as server:
        with pytest.raises(BudgetExceeded):
            run_batch(job_of(server.url, tmp_path, max_cost=0.01))
        sent = len(server.posts)
        for _ in range(2):
            with pytest.raises(BudgetExceeded):
                run_batch(job_of(server.url, tmp_path, max_cost=0.01, on_existing="overwrite"))
        assert sent == len(server.posts)
