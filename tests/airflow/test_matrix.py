"""A few cells of `benchmarks/matrix.py`, which tries them all: ends of a use that `test_use.py` does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from benchmarks.matrix import Trial, play
from benchmarks.matrix_cells import cells
from benchmarks.matrix_meter import Meters
from dev.local_airflow import LocalAirflow
from tests.airflow.cases import STILL, Case

pytestmark = pytest.mark.extended

CHOSEN = (
    ("worker SIGKILL: the task", "shared"),
    ("timeout of the work", "found running"),
    ("triggerer SIGKILL, deferred work", "resumed"),
)


def test_cells_of_the_matrix(
    airflow: LocalAirflow, still: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The endpoint is left as the policy says, under nobody who still uses it, and the reported cost is the meter's."""
    trials = []
    for (row, column), name in zip(CHOSEN, STILL, strict=True):
        (cell,) = cells(row, column)
        trials.append(Trial(cell, Case(f"{row}, {column}", name, airflow, still), tmp_path))
    with Meters(still, [trial.case.endpoint for trial in trials]) as meters:
        fine = play(trials, meters)
    assert fine, capsys.readouterr().out
