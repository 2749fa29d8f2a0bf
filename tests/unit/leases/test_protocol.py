"""What the steps of holders do, one case each: a live one has its endpoint, and the last one switches it off.

That this holds in any order is in `test_orders.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.protocol import (
    Shared,
    SwitchedOff,
    SwitchOff,
    SwitchOn,
    UndecidedError,
    Write,
    leave,
    take,
)
from airflow_provider_hf_endpoints.leases.records import CLOCK_SKEW, KEPT_FOR, READ_LAG, Lease, new_lease
from tests.unit.leases.protocol_play import HOUR, World, becomes

pytestmark = pytest.mark.once


def test_alone() -> None:
    """Found paused, used, paused again, and no record is left."""
    world = World()
    mine = world.begin("a")
    assert (mine.found, world.state) == ("paused", "running")
    assert world.release(mine) == SwitchedOff("paused")
    assert (world.state, world.store.read()) == ("paused", [])


def test_the_first_to_leave_leaves_it_on_and_the_last_switches_it_off() -> None:
    """The second one found it running because of the first: that is not how it was before them."""
    world = World()
    first, second = world.begin("a"), world.begin("b")
    assert (first.found, second.found) == ("paused", "running")
    assert world.release(first) == Shared(("b",))
    assert world.state == "running"
    assert world.release(second) == SwitchedOff("paused")
    assert (world.state, world.store.read()) == ("paused", [])


def test_a_crashed_holder_holds_until_its_lease_expires() -> None:
    """Not longer, and how it had found the endpoint is remembered beyond."""
    world = World()
    world.begin("crashed", seconds=HOUR)
    second = world.begin("b", seconds=9 * HOUR)
    world.now += HOUR + CLOCK_SKEW - 1
    assert isinstance(world.release(second), Shared)
    third = world.begin("c", seconds=9 * HOUR)
    world.now += 2
    assert world.release(third) == SwitchedOff("paused")
    assert world.state == "paused"


def test_renewed_a_lease_goes_on() -> None:
    """From the moment of the renewal for as long as it was taken."""
    world = World()
    working = world.begin("a")
    world.now += 2 * HOUR
    world.store.write(replace(working, expires=working.renewed(world.now).expires))
    other = world.begin("b")
    assert isinstance(world.release(other), Shared)


def test_a_release_works_where_the_lease_was_swept() -> None:
    """What the task itself knows of its lease is enough."""
    world = World()
    mine = world.begin("a")
    world.store.remove([mine.holder])
    assert world.release(mine) == SwitchedOff("paused")
    assert (world.state, world.store.read()) == ("paused", [])


def test_a_cleared_holder_remembers_how_it_found_the_endpoint() -> None:
    """Its first attempt started it; the second one sees it running, and is the same holder."""
    world = World()
    world.begin("a")
    again = world.begin("a")
    assert again.found == "paused"
    assert world.release(again) == SwitchedOff("paused")


def test_a_cleared_holder_that_had_left_remembers_it_while_others_stay() -> None:
    """It comes again, finds the endpoint running because of itself and the other, and is the last one out."""
    world = World()
    first, second = world.begin("a"), world.begin("b")
    world.release(first)
    again = world.begin("a")
    world.release(second)
    assert world.release(again) == SwitchedOff("paused")


def test_a_record_of_long_ago_says_nothing_once_the_endpoint_has_stopped() -> None:
    """Somebody who crashed found it running; since then it was paused, and that is how it is found now."""
    world = World(state="running")
    world.begin("crashed")
    world.now += 10 * HOUR
    world.state = "paused"
    mine = world.begin("b")
    assert world.release(mine) == SwitchedOff("paused")


def test_a_killed_release_is_made_good_by_its_retry() -> None:
    """It was killed right after it had switched the endpoint off under somebody who had just come."""
    world = World()
    mine = world.begin("a")
    flow = leave(mine, world.clock, becomes)
    answer: Any = None
    while not isinstance(step := flow.send(answer), SwitchOff):
        answer = world.do(step)
    world.play(take(new_lease("b", world.now, HOUR), world.clock))  # sees it running, and starts nothing
    world.do(step)
    flow.close()
    assert world.state == "paused"
    assert isinstance(world.release(mine, again=True), Shared)
    assert world.state == "running"


def test_the_mark_of_who_leaves_is_written_before_anything_is_read() -> None:
    """Whatever fails after that: this holder blocks no other."""
    world = World()
    mine, other = world.begin("a"), world.begin("b")
    flow = leave(mine, world.clock, becomes)
    step = next(flow)
    assert Write(replace(mine, left=True)) == step
    world.do(step)
    with pytest.raises(StoreError):
        flow.throw(StoreError("the read after it fails"))
    assert world.release(other) == SwitchedOff("paused")


def test_a_lease_whose_run_has_ended_counts_for_nobody() -> None:
    """Its worker was killed by SIGKILL; its record is removed with those of the others."""
    world = World()
    crashed, other = world.begin("crashed"), world.begin("b")
    world.ended.add(crashed.holder)
    assert world.release(other) == SwitchedOff("paused")
    assert (world.state, world.store.read()) == ("paused", [])


def test_uses_that_overlap_for_ever_leave_no_more_than_one_old_record() -> None:
    """A hundred of them, five hours each, a new one every four: what is a day old goes, how it was found stays."""
    world = World()
    last = world.begin("use 0", seconds=5 * HOUR)
    most = 0
    for number in range(1, 100):
        world.now += 4 * HOUR
        lease = world.begin(f"use {number}", seconds=5 * HOUR)
        assert isinstance(world.release(last), Shared)
        last, most = lease, max(most, len(world.store.read()))
    assert most <= 1 + (KEPT_FOR + 5 * HOUR) / (4 * HOUR) + 2
    assert world.release(last) == SwitchedOff("paused")


@pytest.mark.parametrize("after", [0.0, 4.0])
def test_a_newcomer_knows_of_a_stop_that_it_does_not_see_yet(after: float) -> None:
    """It looks within the lag of a stop, and sees the endpoint running: that is not how it found it."""
    world = World(lag=5.0)
    mine = world.begin("a")
    world.now += HOUR
    world.release(mine, seen=False)
    world.now += after
    assert "running" == world.seen
    newcomer = world.begin("b")
    assert "paused" == newcomer.found
    world.now += HOUR
    assert SwitchedOff("paused") == world.release(newcomer)
    assert ("paused", []) == (world.state, world.store.read())


def test_a_newcomer_whose_first_look_at_the_leases_was_before_the_stop_knows_of_it_too() -> None:
    """It writes its own after the last look of who leaves, and reads the others' again after the endpoint's state."""
    world = World(lag=5.0)
    mine = world.begin("a")
    world.now += HOUR
    flow = take(new_lease("b", world.now, HOUR), world.clock)
    read = flow.send(None)
    seen = world.do(read)
    world.release(mine, seen=False)
    assert "paused" == world.play(flow, seen).found


def test_a_stop_that_a_read_has_shown_is_forgotten() -> None:
    """A run that finds the endpoint running after that finds what another run has resumed, and leaves it running."""
    world = World()
    world.release(world.begin("a"))
    world.do(SwitchOn())
    newcomer = world.begin("b")
    assert ("running", SwitchedOff("running"), "running") == (newcomer.found, world.release(newcomer), world.state)


def test_a_stop_of_long_ago_says_nothing() -> None:
    """No release has seen it; what a look shows minutes later is how the endpoint is."""
    world = World()
    world.release(world.begin("a"), seen=False)
    world.do(SwitchOn())
    world.now += READ_LAG + CLOCK_SKEW + 1
    assert "running" == world.begin("b").found


def test_a_stop_that_is_undone_for_a_newcomer_is_no_stop() -> None:
    """Who comes after that finds the endpoint running because of the newcomer."""
    world = World()
    flow, answer = leave(world.begin("a"), world.clock, becomes), None
    while not isinstance(step := flow.send(answer), SwitchOff):
        answer = world.do(step)
    world.do(step)
    world.begin("b")
    assert Shared(("b",)) == world.play(flow)
    assert [] == [each.holder for each in world.store.read() if each.stopped]


def test_who_never_finds_out_says_so() -> None:
    """Others come and go at each look: neither "released" nor "in use" can be said."""
    world = World()
    flow = leave(world.begin("a"), world.clock, becomes)
    newcomer = new_lease("b", world.now, HOUR)

    def play() -> None:
        answer: Any = None
        while True:
            match step := flow.send(answer):
                case SwitchOff():
                    world.store.write(newcomer)
                case SwitchOn():
                    world.store.remove([newcomer.holder])
            answer = world.do(step)

    with pytest.raises(UndecidedError, match="20 times"):
        play()


def test_a_lease_is_read_as_it_was_written() -> None:
    """And a record that is not a lease is ignored."""
    lease = replace(new_lease("a", 1.0, 2.0), found="paused")
    assert Lease.of(lease.stored()) == lease
    assert [None] * 4 == [Lease.of(each) for each in (None, "x", {}, {**lease.stored(), "expires": "soon"})]
