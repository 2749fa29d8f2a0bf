"""Batches in hostile worlds: whatever rows, answers and stores do, the promises of a batch hold.

`benchmarks/hostile.py` runs the same worlds for as long as one likes.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.hostile.cases import Case, cases
from tests.hostile.invariants import problems
from tests.hostile.world import live

WORLDS = 80  # a round; all rounds together take two minutes of one core


@pytest.mark.parametrize("number", range(8))
def test_a_batch_in_a_hostile_world(number: int) -> None:
    """No row is lost, doubled or changed, no run ends untyped, and nothing done is sent again."""

    @seed(number)
    @settings(max_examples=WORLDS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def check(case: Case) -> None:
        assert [] == problems(live(case))

    check()
