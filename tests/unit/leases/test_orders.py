"""Any order of the steps of several holders, also where steps fail or holders are killed: a live one has its endpoint,
and the last one switches it off."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.kept import KeptAt
from airflow_provider_hf_endpoints.leases.protocol import (
    SwitchedOff,
    SwitchOn,
    forget,
    leave,
    take,
)
from airflow_provider_hf_endpoints.leases.records import Lease, new_lease
from airflow_provider_hf_endpoints.leases.store import LeaseStore, store_for
from tests.unit.leases.protocol_play import HOUR, Memory, World, becomes

pytestmark = pytest.mark.once


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
        store = make() if make else store_for(KeptAt(f"file://{folder}"), "acme", f"e{next(examples)}")
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
        store = make() if make else store_for(KeptAt(f"file://{folder}"), "acme", f"e{next(examples)}")
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
