"""Budgets and sums of costs under a real Airflow: over retries, clears and runs, with nothing set up for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.local_airflow import LocalAirflow
from tests.airflow.cases import actions, state
from tests.airflow.test_live import AN_HOUR

pytestmark = pytest.mark.extended

A_START = 10.0  # seconds; one that is over at once meets a race of Airflow's


def messages(airflow: LocalAirflow, dag: str, run: str, task: str) -> str:
    return "\n".join(airflow.task_messages(dag, run, task))


def test_a_use_ends_with_its_budget_and_its_cost_is_summed(
    airflow: LocalAirflow, emulator: Emulator, tmp_path: Path
) -> None:
    """The batch stops with what is done, once in spite of its retries; the release pauses, and tells its cost."""
    emulator.behave("budget-use", initializing_seconds=A_START, latency_seconds=0.1)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(3000)))
    airflow.wait_for_dag("live_budget")
    given = {"endpoint": "budget-use", "folder": str(tmp_path)}
    run = airflow.api.trigger("live_budget", given)
    assert airflow.wait_for_run("live_budget", run) == "failed"
    said = messages(airflow, "live_budget", run, "use.batch")
    assert "budget of the endpoint's group is spent" in said, said
    tasks = {each.task_id: each for each in airflow.api.tasks("live_budget", run)}
    assert ("failed", 1) == (tasks["use.batch"].state, tasks["use.batch"].try_number)
    assert ("success", "success") == (tasks["use.start"].state, tasks["use.release"].state)
    assert (["pause"], "paused") == (actions(emulator, "budget-use"), state(emulator, "budget-use"))
    done = (tmp_path / "out" / "results-00000.jsonl").read_text().splitlines()
    assert 0 < len(done) < 300
    assert all(json.loads(line)["error"] is None for line in done)

    airflow.wait_for_dag("live_budget_sum")
    run = airflow.api.trigger("live_budget_sum", given)
    assert airflow.wait_for_run("live_budget_sum", run) == "success", messages(airflow, "live_budget_sum", run, "total")
    total = json.loads((tmp_path / "sum.json").read_text())
    assert total["runs"] == 1
    assert total["usd"] == pytest.approx(emulator.meter("budget-use")["usd"], rel=0.03)


def test_retries_of_a_start_share_a_budget_and_a_clear_begins_a_new_one(
    airflow: LocalAirflow, emulator: Emulator
) -> None:
    """Four retries of five seconds are more than the twenty that all may take: the last ones are not begun."""
    emulator.behave("budget-start", initializing_seconds=AN_HOUR)
    dag = "live_budget_of_start"
    airflow.wait_for_dag(dag)
    run = airflow.api.trigger(dag, {"endpoint": "budget-start"})
    assert airflow.wait_for_run(dag, run) == "failed"
    (task,) = airflow.api.tasks(dag, run)
    said = messages(airflow, dag, run, "create")
    assert "of max_runtime 20 s" in said, said
    assert task.try_number in (2, 3, 4)
    assert state(emulator, "budget-start") == "paused"
    before = actions(emulator, "budget-start").count("resume")
    airflow.api.clear(dag, run, "create")
    airflow.wait_until(
        lambda: actions(emulator, "budget-start").count("resume") > before, "the cleared task starts it again"
    )
    assert airflow.wait_for_run(dag, run) == "failed"
    assert state(emulator, "budget-start") == "paused"
