"""Whatever the order of several holders' steps: a live one has its endpoint, and the last one switches it off."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.protocol import (
    Ended,
    Look,
    Read,
    Remove,
    Shared,
    SwitchedOff,
    SwitchOff,
    SwitchOn,
    UndecidedError,
    Write,
    forget,
    leave,
    take,
)
from airflow_provider_hf_endpoints.leases.records import CLOCK_SKEW, KEPT_FOR, READ_LAG, Lease, new_lease
from airflow_provider_hf_endpoints.leases.store import LeaseStore, store_for

pytestmark = pytest.mark.once

HOUR = 3600.0


class Memory(LeaseStore):
    """A store that does every operation at once."""

    def __init__(self) -> None:
        self.records: dict[str, Lease] = {}

    def read(self) -> list[Lease]:
        return list(self.records.values())

    def write(self, lease: Lease) -> None:
        self.records[lease.holder] = lease

    def renew(self, lease: Lease) -> None:
        raise NotImplementedError

    def remove(self, holders: Iterable[str]) -> None:
        for holder in holders:
            self.records.pop(holder, None)


def becomes(found: str | None) -> str | None:
    """The default policy: back to how it was found."""
    return "running" if found == "running" else "paused"


@dataclass
class World:
    """An endpoint, its leases, and a clock."""

    store: LeaseStore = field(default_factory=Memory)
    state: str | None = "paused"
    now: float = 1000.0
    lag: float = 0.0  # seconds by which a look is behind
    before: tuple[float, str | None] = (0.0, None)  # until when a look shows the state before, and which
    ended: set[str] = field(default_factory=set)  # holders whose DAG run is over

    def clock(self) -> float:
        return self.now

    def do(self, step: Any) -> Any:
        """One step, as the driver does it. The policy is the default one: back to how it was found."""
        match step:
            case Write(lease=lease):
                self.store.write(lease)
            case Read():
                return self.store.read()
            case Remove(holders=holders):
                self.store.remove(holders)
            case Ended(leases=leases):
                return {each.holder for each in leases} & self.ended
            case Look():
                return self.seen
            case SwitchOff(found=found):
                self._come_to(becomes(found) if becomes(found) == "paused" else self.state)
            case SwitchOn():
                self._come_to("running" if self.state == "paused" else self.state)
        return None

    @property
    def seen(self) -> str | None:
        """What a look shows."""
        until, before = self.before
        return before if self.now < until else self.state

    def _come_to(self, state: str | None) -> None:
        if state != self.state and self.lag:
            self.before = (self.now + self.lag, self.state)
        self.state = state

    def play(self, flow: Generator[Any, Any, Any], answer: Any = None) -> Any:
        """A whole flow at once, or from the answer to a step on."""
        while True:
            try:
                answer = self.do(flow.send(answer))
            except StopIteration as stop:
                return stop.value

    def release(self, mine: Lease, *, again: bool = False, seen: bool = True) -> Any:
        """Leave a lease, and forget it where a read shows the endpoint as it was left, as the release does."""
        outcome = self.play(leave(mine, self.clock, becomes, again=again))
        if seen and isinstance(outcome, SwitchedOff):
            self.play(forget(mine, self.clock))
        return outcome

    def begin(self, who: str, seconds: float = HOUR) -> Lease:
        """Take a lease, then start the endpoint where it is paused, as the task after it does."""
        mine: Lease = self.play(take(new_lease(who, self.now, seconds), self.clock))
        self.do(SwitchOn())
        return mine


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


@dataclass
class Holder:
    """One use, a step at a time: take the lease, start the endpoint where it is paused, and at some time leave."""

    world: World
    who: str
    patience: int
    visits: int = 1
    flow: Generator[Any, Any, Any] | None = None
    answer: Any = None
    mine: Lease | None = None
    phase: str = "out"
    left_before: bool = False
    seconds: float = HOUR
    outcome: Any = None  # of the last flow

    def step(self) -> None:
        """The next step of whatever it is doing."""
        match self.phase:
            case "out":
                lease = new_lease(self.who, self.world.now, self.seconds)
                self.flow, self.answer, self.phase = take(lease, self.world.clock), None, "taking"
            case "taking":
                self._advance("starting")
            case "starting":
                self.world.do(SwitchOn())
                self.phase = "using"
            case "using":
                self.patience -= 1
                if self.patience <= 0:
                    assert self.mine is not None
                    flow = leave(self.mine, self.world.clock, becomes, again=self.left_before)
                    self.flow, self.answer, self.phase, self.left_before = flow, None, "leaving", True
            case "leaving":
                self._advance("forgetting")
            case "forgetting":
                assert self.mine is not None
                if isinstance(self.outcome, SwitchedOff) and self.world.seen == "paused":
                    self.world.play(forget(self.mine, self.world.clock))
                self.phase = "done" if self.visits == 1 else "again"
            case "again":  # cleared after it had left
                self.phase, self.patience, self.visits, self.left_before = "out", 1, self.visits - 1, False

    def _advance(self, then: str) -> None:
        assert self.flow is not None
        try:
            self.answer = self.world.do(self.flow.send(self.answer))
        except StopIteration as stop:
            if self.phase == "taking":
                self.mine = stop.value
            self.outcome = stop.value
            self.phase = then


def play_turns(world: World, holders: list[Holder], turns: list[int]) -> None:
    """Every holder's steps in the order of `turns`, then each to the end of what it is in the middle of."""
    for turn in turns:
        holders[turn % len(holders)].step()


def settle(holders: list[Holder]) -> None:
    """Every run finishes what it is doing; no run begins to leave or to come."""
    for _ in range(200):
        for holder in holders:
            if holder.phase in ("taking", "starting", "leaving", "forgetting"):
                holder.step()


@pytest.mark.parametrize("make", [Memory, None], ids=["memory", "files"])
@pytest.mark.parametrize("found", ["paused", "running"])
def test_any_order_of_the_steps_of_three_holders(
    make: Callable[[], LeaseStore] | None, found: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In the middle: who uses the endpoint has it running. At the end: it is as it was, and no record is left."""
    folder = tmp_path_factory.mktemp("leases")
    examples = iter(range(10_000_000))

    @settings(max_examples=300 if make else 25, deadline=None, database=None)
    @given(
        turns=st.lists(st.integers(0, 2), max_size=80),
        patience=st.lists(st.integers(1, 6), min_size=3, max_size=3),
        visits=st.lists(st.integers(1, 2), min_size=3, max_size=3),
        rest=st.permutations([0, 1, 2]),
    )
    def check(turns: list[int], patience: list[int], visits: list[int], rest: list[int]) -> None:
        store = make() if make else store_for(f"file://{folder}", "acme", f"e{next(examples)}")
        world = World(store=store, state=found)
        holders = [Holder(world, *each) for each in zip("abc", patience, visits, strict=True)]
        play_turns(world, holders, turns)
        settle(holders)
        if any(each.phase == "using" for each in holders):
            assert world.state == "running"
        for each in rest:
            while holders[each].phase != "done":
                holders[each].step()
        assert (world.state, world.store.read()) == (found, [])

    check()


@pytest.mark.parametrize("found", ["paused", "running"])
def test_any_order_where_holders_are_killed_and_try_again(found: str) -> None:
    """A killed attempt starts again from its first step, as Airflow's retries do; the end is the same."""

    @settings(max_examples=300, deadline=None, database=None)
    @given(
        turns=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60),
        patience=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    )
    def check(turns: list[tuple[int, bool]], patience: list[int]) -> None:
        world = World(state=found)
        holders = [Holder(world, who, each) for who, each in zip("abc", patience, strict=True)]
        for turn, killed in turns:
            holder = holders[turn]
            if killed and holder.phase == "taking":
                holder.phase = "out"
            elif killed and holder.phase == "leaving":
                holder.phase, holder.patience = "using", 1
                holder.step()
            else:
                holder.step()
        settle(holders)
        for holder in holders:
            while holder.phase != "done":
                holder.step()
        assert (world.state, world.store.read()) == (found, [])

    check()


@dataclass
class Unlucky(Holder):
    """A holder whose steps fail, before they have done anything or after it; each failure ends an attempt.

    It tries again, to leave more often than to come; a use that can't begin has not begun, and one that can't leave
    has failed, which ends its run.
    """

    tries: int = 3
    failed: bool = False
    seconds: float = 100 * HOUR  # longer than all turns together

    def fail(self, *, after: bool) -> None:
        """The next step fails; what is not a step of a flow does not."""
        if self.flow is None or self.phase not in ("taking", "leaving"):
            self.step()
            return
        taking, before = self.phase == "taking", self.phase
        if after:
            self.step()
        if self.phase != before:
            return  # it was the last one, and had come to its end
        self.flow.close()
        self.flow, self.answer = None, None
        self.tries -= 1
        if self.tries > 0:
            self.phase, self.patience = ("out", self.patience) if taking else ("using", 1)
            return
        self.phase, self.failed = "done", True
        self.world.ended.add(new_lease(self.who, 0.0, 0.0).holder)


def play_unlucky(world: World, turns: list[tuple[int, str, int]], patience: list[int], rest: list[int]) -> None:
    """Whose turn it is, whether the step fails and when, and the seconds before it; then everybody ends in some order.

    Who uses the endpoint has it running. At the end it is as it was found, or a release has failed:
    it is never running and all green.
    """
    found = world.state
    holders: list[Any] = [Unlucky(world, *each) for each in zip("abcd", patience, strict=True)]
    for turn, failure, passes in turns:
        world.now += passes
        if failure:
            holders[turn].fail(after=failure == "after")
        else:
            holders[turn].step()
    settle(holders)
    for each in holders:
        if each.left_before and each.phase == "using":  # the retry of a release that failed
            each.step()
    settle(holders)
    using = [each for each in holders if each.phase == "using"]
    if using:
        assert world.state == "running" or any(each.failed for each in holders)
    last_was_done = holders[rest[-1]].phase == "done"
    for each in rest:
        while holders[each].phase != "done":
            holders[each].step()
    assert world.state == found or any(each.failed for each in holders)
    assert world.state == found or last_was_done, "the last one has left well, after all others were done"


FAILURES = ["", "", "", "before", "after"]
PASSES = [0, 0, 0, 0, 600]


@pytest.mark.parametrize("make", [Memory, None], ids=["memory", "files"])
def test_any_order_where_steps_fail(
    make: Callable[[], LeaseStore] | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Four holders, steps that fail before or after they have done something, and time that passes."""
    folder = tmp_path_factory.mktemp("leases")
    examples = iter(range(10_000_000))
    step = st.tuples(st.integers(0, 3), st.sampled_from(FAILURES), st.sampled_from(PASSES))

    @settings(max_examples=300 if make else 25, deadline=None, database=None)
    @given(
        found=st.sampled_from(["paused", "running"]),
        turns=st.lists(step, min_size=30, max_size=120),
        patience=st.lists(st.integers(1, 8), min_size=4, max_size=4),
        rest=st.permutations([0, 1, 2, 3]),
    )
    def check(found: str, turns: list[tuple[int, str, int]], patience: list[int], rest: list[int]) -> None:
        store = make() if make else store_for(f"file://{folder}", "acme", f"e{next(examples)}")
        play_unlucky(World(store=store, state=found), turns, patience, rest)

    check()


@pytest.mark.parametrize("seed", range(4))
def test_ten_thousand_orders_where_steps_fail(seed: int) -> None:
    """The same, more of them than a search that shrinks can play: it finds what takes four things in a row."""
    draw = random.Random(seed)
    for _ in range(2500):
        turns = [
            (draw.randrange(4), draw.choice(FAILURES), draw.choice(PASSES)) for _ in range(draw.randrange(20, 120))
        ]
        rest = draw.sample(range(4), 4)
        play_unlucky(World(state="paused"), turns, [draw.randint(1, 8) for _ in range(4)], rest)


def test_a_lease_is_read_as_it_was_written() -> None:
    """And a record that is not a lease is ignored."""
    lease = replace(new_lease("a", 1.0, 2.0), found="paused")
    assert Lease.of(lease.stored()) == lease
    assert [None] * 4 == [Lease.of(each) for each in (None, "x", {}, {**lease.stored(), "expires": "soon"})]
