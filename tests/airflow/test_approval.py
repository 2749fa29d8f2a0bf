"""A person's approval before dear hardware, on a live Airflow that has a human in the loop."""

from __future__ import annotations

from typing import Any

import pytest

from dev.local_airflow import LocalAirflow

pytest.importorskip(
    "airflow.sdk.execution_time.hitl", reason="this Airflow has no human in the loop", exc_type=ImportError
)

DAG = "live_approval"
pytestmark = pytest.mark.extended


def questions(airflow: LocalAirflow, run: str) -> list[dict[str, Any]]:
    """What a person is asked, of one DAG run."""
    return list(airflow.api.call("GET", f"{run}/hitlDetails")["hitl_details"])


@pytest.mark.parametrize(("answer", "expected"), [("Approve", "success"), ("Reject", "skipped")])
def test_a_person_is_asked_above_the_price_only(airflow: LocalAirflow, answer: str, expected: str) -> None:
    """Two T4 at $0.5 are within $1, so nobody is asked; an L4 at $0.8 is above $0.7, and waits for an answer."""
    airflow.wait_for_dag(DAG)
    run = airflow.api.trigger(DAG)
    airflow.wait_for_task(DAG, run, "cheap", "success")
    base = f"/dags/{DAG}/dagRuns/{run}"
    airflow.wait_for_handover(DAG, run, "dear", "awaiting_input", "deferred")
    [question] = questions(airflow, base)
    assert question["task_instance"]["task_id"] == "dear"
    assert "for up to $0.8 an hour" in question["body"]
    assert "aws/us-east-1/nvidia-l4/x1" in question["body"]
    airflow.api.call(
        "PATCH", f"{base}/taskInstances/dear/-1/hitlDetails", json={"chosen_options": [answer], "params_input": {}}
    )
    airflow.wait_for_run(DAG, run)
    [start] = [task for task in airflow.api.tasks(DAG, run) if task.task_id == "start"]
    assert start.state == expected, airflow.task_messages(DAG, run, "dear")
