"""What refusals say about the limit: by single decisions, on a clock that the test holds."""

from __future__ import annotations

import pytest

from airflow_provider_hf_endpoints.inference.limit.refusals import STEADY, TRUSTED, Refusals


def refused(refusals: Refusals, now: float, in_flight: int, limit: float) -> float:
    """The limit after a wave of two."""
    for n in range(2):
        limit = refusals.refused(now + n / 100, now - 1.0, in_flight, limit) or limit
    return limit


def steady(limit: float) -> Refusals:
    """That limit for some windows without a refusal."""
    refusals = Refusals(steady=False)
    for n in range(STEADY):
        assert refusals.window(float(n), limit) is None
    return refusals


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [(99, 90.0), (94, 90.0), (80, 80.0), (40, 70.0)],
    ids=["filled", "nearly", "took eighty", "took forty"],
)
def test_a_first_cut_is_to_what_was_taken(in_flight: int, expected: float) -> None:
    """A tenth at least, three tenths at most."""
    assert refused(Refusals(steady=False), 10.0, in_flight, 100.0) == expected
    assert refused(steady(100.0), 10.0, in_flight, 100.0) == expected


def test_a_limit_that_was_taken_before_is_cut_once_while_it_is_filled() -> None:
    """However many others are refused in that time; an unknown limit is reduced each time."""
    known, unknown = steady(100.0), Refusals(steady=False)
    limits = [100.0, 100.0]
    for second in range(10, 20):
        limits = [refused(known, second, int(limits[0]) - 1, limits[0]), refused(unknown, second, 99, limits[1])]
    assert limits[0] == 90.0
    assert limits[1] < 40.0


def test_it_comes_back_with_a_window_without_a_refusal() -> None:
    """And growth is free again up to there, and beyond."""
    refusals = steady(100.0)
    limit = refused(refusals, 10.0, 99, 100.0)
    assert refusals.window(5.0, limit) is None
    assert refusals.window(11.0, limit) == 100.0
    assert refusals.allowed(12.0) > 1000.0
    assert refusals.window(12.0, 100.0) is None


def test_refused_where_it_came_back_to_it_is_believed() -> None:
    """The endpoint takes eighty now: one try at a hundred."""
    refusals, limit, now, tries = steady(100.0), 100.0, 10.0, []
    for _ in range(12):
        first = True
        while limit > 80.0:
            # The first of a wave finds the others of it still out.
            limit = refused(refusals, now, int(limit) - 1 if first else 80, limit)
            first, now = False, now + 1.0
        back = refusals.window(now, limit)
        if back is not None:
            tries.append(round(back))
            limit = back
        now += 10.0
    assert tries == [100]
    assert limit <= 80.0


def test_a_limit_that_has_just_been_raised_is_not_known() -> None:
    """That less was taken for long says nothing about it."""
    refusals = steady(100.0)
    limit = refused(refusals, 10.0, 124, 125.0)
    assert limit < 125.0
    assert refusals.window(11.0, limit) is None


def test_nothing_is_trusted_for_ever() -> None:
    """Refusals that do not end are about the limit after all."""
    refusals = steady(100.0)
    limit = refused(refusals, 10.0, 99, 100.0)
    assert refused(refusals, 10.0 + TRUSTED - 1.0, 89, limit) == limit
    assert refused(refusals, 10.0 + TRUSTED + 1.0, 89, limit) < limit


def test_an_outage_gives_back_what_was_known_too() -> None:
    """The limit before the wave, and that it was steady."""
    refusals = steady(100.0)
    assert refused(refusals, 10.0, 60, 100.0) == 70.0
    assert refusals.outage() == 100.0
    assert refusals.outage() is None
    assert refusals.allowed(11.0) > 1000.0
    assert refused(refusals, 12.0, 60, 100.0) == 70.0
    assert refusals.window(13.0, 70.0) == 100.0
