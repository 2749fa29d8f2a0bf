"""Each case that the search has found, played again: it holds, or is marked with why it does not yet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.generated.found import FOUND, Found
from tests.generated.play import play
from tests.generated.shapes import Case, Dag, Group, Task, read


def _cases() -> list[Any]:
    return [
        pytest.param(
            each, id=each.name, marks=pytest.mark.xfail(reason=each.open, strict=True) if each.open is not None else ()
        )
        for each in FOUND
    ]


@pytest.mark.parametrize("found", _cases())
def test_what_was_found(found: Found) -> None:
    """The case breaks nothing; or its DAG is refused at parse, which is an answer too."""
    played = play(found.case)
    assert [] == played.faults, read(found.case)


def test_a_plain_case_breaks_nothing() -> None:
    """The simulation itself adds no fault: one group, one run, one create, one pause."""
    played = play(Case())
    assert ([], {"success": 1}, {"create": 1, "pause": 1}) == (played.faults, played.runs, played.actions)


def test_the_same_case_plays_the_same() -> None:
    """A seed is enough to see a case again: every attempt, action and state at the same moment."""
    case = Case(dags=(Dag(parts=(Group(tasks=(Task(), Task(mapped=2))),), runs=(0, 30)),), seed=3)
    assert play(case, story=True).story == play(case, story=True).story
