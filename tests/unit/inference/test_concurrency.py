"""How many requests are in flight: on simulated fleets, and by single decisions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_hf_endpoints.inference.concurrency import Limiter, Load
from airflow_provider_hf_endpoints.inference.hillclimb import HillClimb
from airflow_provider_hf_endpoints.inference.load import read_load
from tests.unit.inference.fleet import Replica, simulate

Changes = list[tuple[float, Callable[[list[Replica]], None]]]


def scaled(slots: int) -> Changes:
    def to_four(fleet: list[Replica]) -> None:
        while len(fleet) < 4:
            fleet.append(Replica(slots, clock=fleet[0].clock))

    def to_two(fleet: list[Replica]) -> None:
        del fleet[2:]

    return [(60.0, to_four), (200.0, to_two)]


@pytest.mark.parametrize(("slots", "share"), [(64, 0.95), (256, 0.95)])
def test_an_engine_that_tells_its_queue_is_kept_busy_with_hardly_any_waiting(slots: int, share: float) -> None:
    """Nearly the throughput of the best fixed number, with a queue of at most 15 %."""
    best = simulate(Limiter(slots), 10000, slots=slots)
    found = simulate(Limiter(), 10000, slots=slots, header=True)
    assert best.seconds / found.seconds >= share
    assert found.waiting_share <= 0.2


@pytest.mark.parametrize("slots", [64, 256])
def test_a_silent_engine_is_kept_busy_by_what_it_brings(slots: int) -> None:
    """Without any signal nine tenths, and never worse than a hundred."""
    best = simulate(Limiter(slots), 10000, slots=slots)
    found = simulate(Limiter(), 10000, slots=slots)
    hundred = simulate(Limiter(100), 10000, slots=slots)
    assert best.seconds / found.seconds >= 0.88
    assert found.seconds <= hundred.seconds * 1.02


@pytest.mark.parametrize("slots", [8, 64])
def test_an_engine_that_refuses_is_hardly_ever_refused_by(slots: int) -> None:
    """Once settled, under one request in a hundred."""
    found = simulate(Limiter(), 5000, slots=slots, queue=slots // 4)
    assert found.refused_late <= 0.01 * 2500
    assert found.seconds <= simulate(Limiter(slots), 5000, slots=slots, queue=slots // 4).seconds * 1.12


@pytest.mark.parametrize("header", [True, False])
def test_new_replicas_are_used_as_soon_as_they_are_known(header: bool) -> None:
    """One, four, two: better than any single number could be."""
    found = simulate(Limiter(), 15000, slots=64, header=header, changes=scaled(64))
    hundred = simulate(Limiter(100), 15000, slots=64, changes=scaled(64))
    assert found.seconds < hundred.seconds


def test_a_number_is_a_number() -> None:
    """A fixed limit does not move for what it brings."""
    found = simulate(Limiter(77), 3000, slots=64, header=True)
    assert [(0.0, 77)] == found.limits


def test_the_ceiling_is_the_users() -> None:
    """`auto` never goes beyond it."""
    found = simulate(Limiter(ceiling=50), 3000, slots=256)
    assert max(limit for _, limit in found.limits) == 50


def test_one_wave_of_refusals_is_one_cut() -> None:
    """A hundred refusals of requests that were out together say no more than one of them."""
    limiter = Limiter(100)
    for n in range(50):
        limiter.refused(10.0 + n / 100, 5.0, in_flight=60)
    assert limiter.limit == 70
    limiter.refused(20.0, 11.0, in_flight=60)
    assert limiter.limit == 60


def test_an_outage_is_no_word_about_the_limit() -> None:
    """When nothing at all was taken, the limit comes back as it was."""
    limiter = Limiter(100)
    limiter.refused(10.0, 5.0, in_flight=60)
    limiter.outage()
    assert limiter.limit == 100


def test_more_replicas_raise_the_limit_at_once() -> None:
    """In proportion; a fixed one stays."""
    limiter = Limiter()
    assert limiter.limit == 32
    limiter.replicas_changed(4)
    assert limiter.limit == 128
    fixed = Limiter(10)
    fixed.replicas_changed(4)
    assert fixed.limit == 10


def test_a_hill_is_climbed_to_where_more_brings_nothing() -> None:
    """Linear up to 40, flat above: it ends near 40."""
    hill, share = HillClimb(), 32.0
    visited = []
    for _ in range(60):
        share = hill.next(share, min(share, 40.0) * 10, 1000)
        visited.append(share)
    assert 30 <= sorted(visited[20:])[20] <= 52


@pytest.mark.parametrize(
    ("header", "load"),
    [
        ("TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3", Load(3, 0.4)),
        ("named_metrics.num_requests_waiting=0", Load(0, None)),
        ("TEXT named_metrics.num_requests_waiting=nan", None),
        ("TEXT something else", None),
        ("", None),
    ],
)
def test_the_load_header_is_read_tolerantly(header: str, load: Load | None) -> None:
    """With and without its prefix; what is not understood is not used."""
    assert load == read_load({"endpoint-load-metrics": header})
    assert read_load({}) is None
