"""The limit where the engine says how many requests a replica works on at a time: nothing is searched for."""

from __future__ import annotations

import pytest

from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from tests.unit.inference.fleet import Change, Replica, on_each, simulate


def knowing(slots: int, **options: int) -> Limiter:
    limiter = Limiter(**options)
    limiter.knows_slots(slots)
    return limiter


@pytest.mark.parametrize(("slots", "limit"), [(1, 2), (4, 5), (8, 9), (64, 70)])
def test_the_slots_are_filled_and_a_few_wait(slots: int, limit: int) -> None:
    """A tenth of them, at least one."""
    limiter = knowing(slots)
    assert (limiter.limit, limiter.reason) == (limit, f"{slots} slots")


def test_it_follows_the_replicas_and_keeps_to_what_the_user_set() -> None:
    """A ceiling stays one, several senders share, and a number that was given is left alone."""
    limiter = knowing(4)
    limiter.replicas_changed(4, 0.0)
    assert limiter.limit == 21
    limiter.replicas_changed(1, 60.0)
    assert limiter.limit == 5
    assert knowing(64, ceiling=32).limit == 32
    assert knowing(64, senders=4).limit == 17
    assert knowing(64, fixed=7).limit == 7


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_it_is_as_fast_as_the_best_number_from_the_first_second(slots: int) -> None:
    """With one replica, and with four of them from a minute on."""

    def to_four(fleet: list[Replica]) -> None:
        fleet += [Replica(slots, clock=fleet[0].clock) for _ in range(3)]

    changes: list[Change] = [(60.0, to_four)]
    best = min(simulate(Limiter(n), 60 * slots, slots=slots).seconds for n in (slots, slots + 1, 2 * slots))
    assert best / simulate(knowing(slots), 60 * slots, slots=slots).seconds >= 0.99
    grown = simulate(knowing(slots), 150 * slots, slots=slots, changes=changes)
    assert grown.seconds <= 1.1 * simulate(Limiter(8 * slots), 150 * slots, slots=slots, changes=changes).seconds
    assert {limit for at, limit in grown.limits if at < 60} <= {16, knowing(slots).limit}


def test_refusals_cut_it_and_it_comes_back() -> None:
    """Half of the requests are refused for a while."""
    changes: list[Change] = [(60.0, on_each("refuses_each", 2)), (110.0, on_each("refuses_each", 0))]
    found = simulate(knowing(64), 6000, slots=64, changes=changes)
    assert min(limit for _, limit in found.limits) < 70
    assert found.limits[-1][1] == 70
