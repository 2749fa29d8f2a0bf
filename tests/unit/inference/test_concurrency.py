"""How many requests are in flight: on simulated fleets, and by single decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.engines.load import read_load
from airflow_provider_hf_endpoints.inference.limit.hillclimb import HillClimb
from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.wire import Load
from tests.unit.inference import fleet as fleet_module
from tests.unit.inference.fleet import Change, Replica, on_each, simulate

pytestmark = pytest.mark.once

SLOTS = (8, 64, 256)


def rows(slots: int) -> int:
    """Enough to settle."""
    return 2500 if slots == 8 else 10_000


def scaled(slots: int, queue: int | None = None) -> list[Change]:
    def to_four(fleet: list[Replica]) -> None:
        while len(fleet) < 4:
            fleet.append(Replica(slots, queue, clock=fleet[0].clock))

    def to_two(fleet: list[Replica]) -> None:
        del fleet[2:]

    return [(60.0, to_four), (200.0, to_two)]


def slowed() -> list[Change]:
    return [(100.0, on_each("slowness", 3.0)), (250.0, on_each("slowness", 1.0))]


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("slow", [False, True])
def test_an_engine_that_tells_its_queue_is_kept_busy_with_hardly_any_waiting(slots: int, slow: bool) -> None:
    """Nearly the throughput of the best fixed number, with a small queue, also where it slows to a third meanwhile."""
    changes = slowed() if slow else []
    best = simulate(Limiter(slots), rows(slots), slots=slots, changes=changes)
    found = simulate(Limiter(), rows(slots), slots=slots, header=True, changes=changes)
    assert best.seconds / found.seconds >= 0.95
    assert found.waiting_share <= 0.15


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("slow", [False, True])
def test_a_silent_engine_is_kept_busy_by_what_it_brings(slots: int, slow: bool) -> None:
    """Without any signal nine tenths at least, and not slower than a hundred; the queue costs no throughput."""
    changes = slowed() if slow else []
    best = simulate(Limiter(slots), rows(slots), slots=slots, changes=changes)
    found = simulate(Limiter(), rows(slots), slots=slots, changes=changes)
    hundred = simulate(Limiter(100), rows(slots), slots=slots, changes=changes)
    assert best.seconds / found.seconds >= 0.95
    assert found.seconds <= hundred.seconds * 1.03
    # Short runs, in which the first settings weigh more than in benchmarks/.
    assert found.waiting_share <= (0.3 if slow else 0.2)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_few_slots_are_found_by_whatever_rows_come_first(seed: int) -> None:
    """Eight slots, of which a few dozen answers tell: neither a long queue for all of the batch nor empty slots."""
    best = simulate(Limiter(8), 1500, slots=8, seed=seed)
    silent = simulate(Limiter(), 1500, slots=8, seed=seed)
    assert best.seconds / silent.seconds >= 0.96
    assert silent.waiting_share <= 0.15


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_few_slots_on_several_replicas(seed: int) -> None:
    """One, four, two replicas with eight slots each, silent: nearly as much as a hundred in flight bring, with a queue
    that is not."""
    changes = [(120.0, scaled(8)[0][1]), (400.0, scaled(8)[1][1])]
    found = simulate(Limiter(), 5000, slots=8, changes=changes, seed=seed)
    hundred = simulate(Limiter(100), 5000, slots=8, changes=changes, seed=seed)
    assert hundred.seconds / found.seconds >= 0.94
    assert found.waiting_share <= 0.2


@pytest.mark.parametrize("slots", [8, 64])
@pytest.mark.parametrize("prompt", [60.0, 150.0])
def test_time_that_prompts_take_is_not_taken_for_a_queue(slots: int, prompt: float) -> None:
    """Two thirds of an answer's time do not grow with it, and nothing waits."""
    best = simulate(Limiter(slots), rows(slots), slots=slots, prompt=prompt)
    found = simulate(Limiter(), rows(slots), slots=slots, prompt=prompt)
    assert best.seconds / found.seconds >= 0.92


@pytest.mark.parametrize("slots", SLOTS)
def test_rows_of_one_length_are_enough_to_find_it(slots: int) -> None:
    """Where no line can be fitted, halving finds the way."""
    options: dict[str, Any] = {"slots": slots, "tokens": lambda _: 90.0}
    found = simulate(Limiter(), rows(slots), **options)
    assert simulate(Limiter(slots), rows(slots), **options).seconds / found.seconds >= 0.9


@pytest.mark.parametrize("slots", SLOTS)
def test_an_engine_that_refuses_is_hardly_ever_refused_by(slots: int) -> None:
    """Once settled, under one request in a hundred, and no row so often that it would fail."""
    found = simulate(Limiter(), rows(slots), slots=slots, queue=slots // 4)
    assert found.refused_late <= 0.01 * rows(slots) / 2
    assert found.most_refusals < 10
    best = simulate(Limiter(slots), rows(slots), slots=slots, queue=slots // 4)
    assert found.seconds <= best.seconds * 1.05


@pytest.mark.parametrize("header", [True, False])
def test_new_replicas_are_used_as_soon_as_they_are_known(header: bool) -> None:
    """One, four, two: better than any single number could be, each in full use within twenty seconds."""
    found = simulate(Limiter(), 15000, slots=64, header=header, changes=scaled(64))
    hundred = simulate(Limiter(100), 15000, slots=64, changes=scaled(64))
    assert found.seconds < hundred.seconds
    assert 0 < found.slowest_start <= 20


def test_an_outage_costs_a_request_now_and_then() -> None:
    """Thirty seconds of 429 with `Retry-After: 5`: a few requests, none early, and the limit is what it was."""

    changes: list[Change] = [(20.0, on_each("refuses", 5.0)), (50.0, on_each("refuses", None))]
    found = simulate(Limiter(64), 3000, slots=64, changes=changes)
    during = [at for at in found.sent if 20 <= at < 50]
    assert 5 <= len(during) <= 12
    assert not [at for at in during for said in found.refusals if said < at < said + 5]
    assert found.limits[-1][1] == 64
    assert len([at for at in found.sent if 50 <= at < 55]) >= 58


@pytest.mark.parametrize("flight", [16, 64, 256])
@pytest.mark.parametrize("refusal", [0.003, 0.2])
def test_an_outage_that_asks_for_nothing_costs_no_flood(
    flight: int, refusal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty seconds of 503 without `Retry-After`, while what was taken before is answered: a few dozen requests,
    however much is in flight, and all of it again soon after."""
    monkeypatch.setattr(fleet_module, "REFUSAL", refusal)

    changes: list[Change] = [(30.0, on_each("refuses", 0.0)), (60.0, on_each("refuses", None))]
    found = simulate(Limiter(flight), 20 * flight, slots=flight, changes=changes)
    assert len([at for at in found.sent if 30 <= at < 60]) <= 40
    assert found.limits[-1][1] == flight
    # A probe, its answer, and everything.
    assert len([at for at in found.sent if 60 <= at < 80]) >= flight


def test_an_outage_amid_a_burst_of_answers_costs_no_second_burst() -> None:
    """Rows of nearly one length end together; whatever share of them is out when it begins, few are sent into it."""

    flight, sent = 64, []
    for tenths in range(0, 60, 3):
        at = 30.0 + tenths / 10
        changes: list[Change] = [(at, on_each("refuses", 0.0)), (at + 30.0, on_each("refuses", None))]
        tokens = lambda chance: 100 + 2 * chance.random()  # noqa: E731
        found = simulate(Limiter(flight), 12 * flight, slots=flight, changes=changes, tokens=tokens)
        sent.append(len([each for each in found.sent if at <= each < at + 30.0]))
    assert max(sent) <= 50


@pytest.mark.parametrize("flight", [8, 64])
@pytest.mark.parametrize("each", [20, 4, 2])
def test_refusals_that_are_not_about_the_number_cost_little_of_it(flight: int, each: int) -> None:
    """A rolling update: every so many-th request is refused for fifty seconds, however few are in flight. The limit
    stays near what it was, and is the same again when that is over."""

    changes: list[Change] = [(60.0, on_each("refuses_each", each)), (110.0, on_each("refuses_each", 0))]
    found = simulate(Limiter(flight), 13 * flight // 8 * 40, slots=flight, changes=changes)
    usual = len([at for at in found.answers if 10 <= at < 60]) / 50
    assert len([at for at in found.answers if 60 <= at < 110]) / 50 >= 0.75 * usual
    assert found.limits[-1][1] == flight
    assert found.limits[-1][0] <= 145


def test_a_number_that_is_too_high_is_tried_once_more_and_then_believed() -> None:
    """The endpoint takes eighty of a hundred: some waves of refusals, and hardly any once that is known."""
    found = simulate(Limiter(100), 5000, slots=64, queue=16)
    assert found.refused_late <= 0.01 * 2500
    assert found.limits[-1][1] <= 84


def test_an_endpoint_that_refuses_is_known_within_a_minute_even_where_answers_take_long() -> None:
    """256 slots, 14 s for an answer: the doubling is over, and its refusals, before a minute has passed."""
    found = simulate(Limiter(), 6_000, slots=256, queue=64)
    late = [at for at in found.refusals if at >= 60]
    assert len(late) < 0.01 * len([at for at in found.sent if at >= 60])


def test_what_was_cut_because_replicas_had_gone_is_not_cut_once_more() -> None:
    """Refusals or a queue tell of it before the control plane does; what comes later has another reason."""
    limiter = Limiter()
    limiter.replicas_changed(4, 0.0)
    refuse_twice(limiter, 10.0, 5.0, in_flight=34)
    assert limiter.limit == 45
    limiter.replicas_changed(2, 15.0)
    assert limiter.limit == 32
    refuse_twice(limiter, 100.0, 95.0, in_flight=20)
    assert limiter.limit == 22
    limiter.replicas_changed(1, 121.0)
    assert limiter.limit == 11


def test_a_queue_of_the_old_limit_is_no_word_about_the_new_one() -> None:
    """Of four replicas two go; the queue tells at once, the control plane five seconds later: no slot stands empty."""
    found = simulate(Limiter(), 9000, slots=64, header=True, changes=scaled(64))
    after = [limit for at, limit in found.limits if at >= 200 + fleet_module.HEARD]
    assert min(after) >= 2 * 64


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_queue_at_the_start_is_subtracted_once(seed: int) -> None:
    """Eight slots that report their queue: while it is drained, it is not subtracted again."""
    best = simulate(Limiter(8), 1500, slots=8, seed=seed)
    found = simulate(Limiter(), 1500, slots=8, seed=seed, header=True)
    assert best.seconds / found.seconds >= 0.98
    assert min(limit for _, limit in found.limits) >= 6


@settings(max_examples=25, deadline=None)
@given(
    slots=st.integers(1, 300),
    queue=st.none() | st.integers(0, 50),
    header=st.booleans(),
    fixed=st.none() | st.integers(1, 400),
    ceiling=st.integers(1, 500),
    replicas=st.lists(st.integers(1, 5), max_size=3),
    seed=st.integers(0, 1000),
)
def test_every_row_is_answered_within_the_users_bound(
    slots: int, queue: int | None, header: bool, fixed: int | None, ceiling: int, replicas: list[int], seed: int
) -> None:
    """Whatever the fleet does: the batch ends, and the limit stays between one and the user's number."""

    def become(count: int) -> Callable[[list[Replica]], None]:
        def change(fleet: list[Replica]) -> None:
            del fleet[count:]
            while len(fleet) < count:
                fleet.append(Replica(slots, queue, clock=fleet[0].clock))

        return change

    changes = [(5.0 * (n + 1), become(count)) for n, count in enumerate(replicas)]
    found = simulate(
        Limiter(fixed, ceiling=ceiling), 300, slots=slots, queue=queue, header=header, changes=changes, seed=seed
    )
    most = fixed if fixed is not None else ceiling
    assert found.answered == 300
    assert all(1 <= limit <= most for _, limit in found.limits)


def test_a_number_is_a_number() -> None:
    """A fixed limit does not move for what it brings."""
    found = simulate(Limiter(77), 3000, slots=64, header=True)
    assert [(0.0, 77)] == found.limits


def test_the_ceiling_is_the_users() -> None:
    """`auto` never goes beyond it."""
    found = simulate(Limiter(ceiling=50), 3000, slots=256)
    assert max(limit for _, limit in found.limits) == 50


def refuse_twice(limiter: Limiter, now: float, sent_at: float, in_flight: int) -> None:
    """A wave; a single refusal may be chance."""
    for _ in range(2):
        limiter.refused(now, sent_at, in_flight)


def test_one_refusal_among_answers_is_no_reason_for_a_cut() -> None:
    """A replica that comes or goes."""
    limiter = Limiter(100)
    limiter.refused(10.0, 9.0, in_flight=60)
    assert limiter.limit == 100


def test_one_wave_of_refusals_is_one_cut() -> None:
    """A hundred refusals of requests that were out together say no more than one of them."""
    limiter = Limiter(100)
    for n in range(50):
        limiter.refused(10.0 + n / 100, 5.0, in_flight=60)
    assert limiter.limit == 70
    limiter.refused(20.0, 11.0, in_flight=60)
    assert limiter.limit == 60


def test_an_outage_is_no_word_about_the_limit() -> None:
    """When nothing at all was taken, the limit comes back as it was before the first cut."""
    limiter = Limiter(100)
    refuse_twice(limiter, 10.0, 5.0, in_flight=60)
    refuse_twice(limiter, 11.0, 10.5, in_flight=40)
    limiter.outage()
    assert limiter.limit == 100


def test_more_replicas_raise_the_limit_at_once() -> None:
    """In proportion, and 0.4 of a request more for each of several; a fixed one stays."""
    limiter = Limiter()
    assert limiter.limit == 16
    limiter.replicas_changed(4, 0.0)
    assert limiter.limit == 65
    fixed = Limiter(10)
    fixed.replicas_changed(4, 0.0)
    assert fixed.limit == 10


def test_a_hill_is_climbed_to_where_more_brings_nothing() -> None:
    """Linear up to 40, flat above: it ends near 40."""
    hill, share = HillClimb(), 32.0
    visited = []
    for _ in range(60):
        share = hill.next(share, min(share, 40.0) * 10, 1000)
        visited.append(share)
    assert 30 <= sorted(visited[20:])[20] <= 52


def settled_hill() -> HillClimb:
    """Far too high at 32, as answers said, and settled at 9, which is enough; its next setting is a look above."""
    hill = HillClimb()
    assert hill.next(32.0, 100.0, 1000.0, 0.75) == 9.0
    assert hill.next(9.0, 99.0, 1000.0, 0.05) == 9.0
    return hill


def test_a_hint_that_brings_as_much_is_followed() -> None:
    """One more than what runs, then a look above it, and back where that brings nothing."""
    hill = settled_hill()
    above = hill.next(9.0, 99.0, 1000.0, 0.05)
    assert above == pytest.approx(10.25)
    assert hill.next(above, 99.5, 1000.0, 0.1) == 9.0


def test_a_hint_that_brings_less_is_none() -> None:
    """What looked like waiting was not: doubling continues from there, and hints no longer count."""
    hill = HillClimb()
    assert hill.next(32.0, 100.0, 1000.0, 0.5) == 17.0
    assert hill.next(17.0, 60.0, 1000.0, 0.5) == 34.0
    assert hill.next(34.0, 100.0, 1000.0, 0.5) == 68.0


def test_a_look_while_the_fleet_changes_tells_nothing() -> None:
    """More than a setting can bring is the fleet's: no doubling, but another measurement of both."""
    hill = settled_hill()
    above = hill.next(9.0, 99.0, 1000.0)
    assert hill.next(above, 250.0, 1000.0) == 9.0
    assert hill.next(9.0, 297.0, 1000.0) == above
    assert hill.next(above, 297.0, 1000.0) == 9.0


def test_after_refusals_a_look_below_is_next() -> None:
    """What was taken up to the first refusal has a full queue in it."""
    hill = HillClimb()
    assert hill.next(32.0, 100.0, 1000.0) == 64.0
    hill.stop_growing()
    assert hill.next(50.0, 150.0, 1000.0) == 44.0


def test_a_look_below_has_to_bring_as_much() -> None:
    """Each may be followed by another, so two percent less each time would be too much."""
    hill = settled_hill()
    share, rates = 9.0, {9.0: 99.0}
    for _ in range(20):
        share = hill.next(share, rates.get(share, 97.3), 1000.0)
        if share < 9.0:
            break
    assert share < 9.0
    assert hill.next(share, 97.3, 1000.0) == 9.0


def test_a_settled_setting_is_measured_anew_when_replicas_come() -> None:
    """What another has brought at the moment of the look is not used."""
    hill = settled_hill()
    hill.next(9.0, 99.0, 1000.0)
    assert hill.scale(4.0) == 9.0
    assert hill.next(9.0, 300.0, 1000.0) == 9.0
    assert hill.scale(0.5) is None


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
