"""A few cells of `benchmarks/matrix.py`, which tries them all: ends of a use that `test_use.py` does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.matrix import Trial, play
from benchmarks.matrix_cells import cells
from benchmarks.matrix_meter import Meters
from tests.airflow.cases import Cases

pytestmark = pytest.mark.extended

CHOSEN = (
    ("worker SIGKILL: the task", "shared"),
    ("timeout of the work", "found running"),
    ("triggerer SIGKILL, deferred work", "resumed"),
)


def test_cells_of_the_matrix(cases: Cases, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The endpoint is left as the policy says, under nobody who still uses it, and the reported cost is the meter's."""
    trials = []
    for row, column in CHOSEN:
        (cell,) = cells(row, column)
        trials.append(Trial(cell, cases.new(f"{row}, {column}"), tmp_path))
    with Meters(cases.emulator, [trial.case.endpoint for trial in trials]) as meters:
        fine = play(trials, meters)
    assert fine, capsys.readouterr().out
