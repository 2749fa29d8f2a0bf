"""Reads that lag: a start right after a stop does not take for running what was stopped a moment ago."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import pytest

from tests.generated.play import play
from tests.generated.shapes import Alone, Case, Dag, Person
from tests.generated.written import read


@functools.cache
def _paused_after(create: bool) -> int:
    """Seconds until a first run pauses the endpoint: other ones with each version of Airflow."""
    story = play(_runs(create, 0), story=True).story
    return next(int(float(found[1])) for line in story if (found := re.match(r"\s*([\d.]+)     pause demo", line)))


def _runs(create: bool, *moments: int) -> Case:
    return Case(dags=(Dag(parts=(Alone(create=create, deferrable=False),), runs=moments),), lag=20.0)


def _two_runs(create: bool, *people: Person) -> Case:
    """The start of the second reads `running`, and the first run has paused the endpoint some seconds before."""
    return replace(_runs(create, 0, _paused_after(create)), people=people)


@pytest.mark.parametrize("create", [True, False])
def test_a_start_right_after_a_pause_resumes_the_endpoint(create: bool) -> None:
    """Both runs succeed, and each pauses the endpoint."""
    case = _two_runs(create)
    played = play(case, story=True)
    assert {"success": 2} == played.runs, (read(case), played.story)
    assert (2, 1 if create else 2) == (played.actions["pause"], played.actions["resume"]), played.story


def test_what_is_resumed_on_a_lagging_read_is_released_at_a_bad_end() -> None:
    """The second start is marked failed while it waits. The endpoint is its own, whatever the read said."""
    case = _two_runs(False, Person(deed="fail", run=1, task=0, after=5.0))
    played = play(case, story=True)
    assert [] == played.faults, (read(case), played.story)
    assert any("pause demo" in line and "run1/start1" in line for line in played.story), played.story
