"""The example that goes from a table into a table, played on each database that needs no server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.operators_play import FAST, connected, state
from tests.contract.pages_play import play
from tests.contract.tables_play import EMBEDDED, database
from tests.unit.test_examples import TICKETS, load


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        yield running


@pytest.mark.parametrize("kind", EMBEDDED)
def test_tickets_become_summaries(
    emulator: Emulator, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ticket has a row in the new table or in that of the failures, and the endpoint is paused."""
    warehouse = database(kind, tmp_path, monkeypatch)
    dag = load("example_table_to_table")
    env = jinja2.Environment()
    params: Any = {"params": {"output_folder": str(tmp_path)}, "run_id": "run:1"}
    tasks: list[Any] = [*dag.task_dict.values()]
    for task in tasks:
        if hasattr(task, "poll_interval"):
            task.poll_interval = FAST["poll_interval"]
        if hasattr(task, "output_path"):
            task.output_path = env.from_string(task.output_path).render(params)
        if hasattr(task, "results"):
            task.results = env.from_string(task.results).render(params)
    fill: Any = dag.task_dict["fill"]
    fill.python_callable()
    assert {"load", "airflow-example.summarise"} <= {*play(dag)}
    tickets = [json.loads(line)["id"] for line in TICKETS.read_text(encoding="utf-8").splitlines()]
    good = warehouse.rows("select id, summary, urgency from ticket_summaries order by id")
    bad = warehouse.rows("select id from ticket_failures")
    assert sorted(tickets) == sorted(row[0] for row in (*good, *bad))
    assert good
    assert {row[2] for row in good} <= {"low", "medium", "high"}
    assert "paused" == state(emulator, "airflow-example")
