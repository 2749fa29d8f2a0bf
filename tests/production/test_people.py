"""A person clears or marks, over the REST API, what runs, waits or is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.production.cases import Production, Run

Act = Callable[[Run], None]


def mark(task: str, state: str) -> Act:
    """Mark a task."""
    return lambda run: run.production.airflow.api.set_task_state(run.dag, run.id, f"use.{task}", state)


def clear(task: str) -> Act:
    """Clear a task."""
    return lambda run: run.production.airflow.api.clear(run.dag, run.id, f"use.{task}")


def mark_run(state: str) -> Act:
    """Mark the run."""
    return lambda run: run.production.airflow.api.set_run_state(run.dag, run.id, state)


BATCHES: dict[str, tuple[Act, str]] = {
    "clear the batch": (clear("batch"), "success"),
    "mark the batch failed": (mark("batch", "failed"), "failed"),
    "mark the batch success": (mark("batch", "success"), "success"),
    "mark the run failed": (mark_run("failed"), "failed"),
    "mark the run success": (mark_run("success"), "success"),
}
STARTS: dict[str, tuple[Act, str]] = {
    "clear the start": (clear("start"), "success"),
    "mark the start failed": (mark("start", "failed"), "failed"),
}


@pytest.mark.extended
def test_a_batch_that_runs(production: Production) -> None:
    """Whatever a person does, the endpoint is paused; where the batch goes on, each row is there once."""
    runs = {case: production.batch("person-" + case.replace(" ", "-")) for case in BATCHES}
    for case, (act, _) in BATCHES.items():
        act(runs[case])
        runs[case].hurry()
    for case, (_, end) in BATCHES.items():
        runs[case].expect_paused_in_the_end(case, end)
    runs["clear the batch"].expect_all_rows()


@pytest.mark.extended
def test_a_start_that_waits(production: Production) -> None:
    """The same of a wait in a triggerer."""
    runs = {case: production.start("person-" + case.replace(" ", "-")) for case in STARTS}
    for case, (act, _) in STARTS.items():
        act(runs[case])
    production.wait_for_a_look(runs["clear the start"])
    runs["clear the start"].ready()
    for case, (_, end) in STARTS.items():
        runs[case].expect_paused_in_the_end(case, end)


@pytest.mark.extended
def test_a_release_that_is_done(production: Production) -> None:
    """Cleared or marked failed: the endpoint is paused as before. Airflow judges no run anew that has ended (3.3.2)."""
    cases = {"clear the release": clear("release"), "mark the release failed": mark("release", "failed")}
    for case, act in cases.items():
        run = production.use("default", "person-" + case.replace(" ", "-"))
        assert run.end() == "success", run.messages()
        act(run)
        run.expect_paused_in_the_end(case, "success")
