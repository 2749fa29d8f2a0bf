"""Acquiring and releasing an endpoint, step by step, as generators: they yield each step and do no I/O.

The stores have no compare-and-swap, so the order of the steps makes them safe. To acquire an endpoint, a run first
writes its lease and then looks at the endpoint. To release an endpoint, a run first ends its own lease and then reads
the others. If there are none, it stops the endpoint and reads again. If another run acquired the endpoint in between,
the endpoint is started again. The record also says that the endpoint is about to be stopped, until a read of the
service has shown the stop: reads lag, so a run that arrives meanwhile must not trust its own read. If a step fails, the
flow ends and the next attempt repeats it. No flow succeeds without having read the other leases. A test plays every
order of several holders' steps, with attempts that are killed and steps that fail.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_hf_endpoints.leases.records import (
    UNKNOWN,
    Lease,
    as_stopped,
    bills_nothing,
    dead,
    found_before,
    obsolete,
    others,
    was_stopped_lately,
)

_MOST_TURNS = 20  # switching on and off again because others come and go


class UndecidedError(Exception):
    """Other runs acquired and released the endpoint so often that its use is not known."""


@dataclass(frozen=True)
class Write:
    """Store this record."""

    lease: Lease


@dataclass(frozen=True)
class Read:
    """Answer: every record of the endpoint."""


@dataclass(frozen=True)
class Remove:
    """Remove the records of these holders."""

    holders: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """Answer: the holders of these leases whose DAG run has ended, and so neither uses nor releases the endpoint."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True)
class Look:
    """Answer: the endpoint's state; None if there is no endpoint."""


@dataclass(frozen=True)
class SwitchOff:
    """Do what the holder's policy says, by the state that the endpoint was `found` in.

    Answer: False if it was left as it is, because it is not the endpoint that was acquired.
    """

    found: str | None


@dataclass(frozen=True)
class SwitchOn:
    """Resume the endpoint where it is paused."""


Step = Write | Read | Remove | Ended | Look | SwitchOff | SwitchOn
Clock = Callable[[], float]


@dataclass(frozen=True)
class Shared:
    """Others still use it; it is on."""

    by: tuple[str, ...]  # for a person


@dataclass(frozen=True)
class SwitchedOff:
    """This was the last one."""

    found: str | None


def played(flow: Generator[Step, Any, Any], do: Callable[[Step], Any]) -> Any:
    """Do every step of a flow; what the flow returns.

    :param do: does one step, and returns its answer
    """
    answer: Any = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = do(step)


def take(mine: Lease, clock: Clock) -> Generator[Step, Any, Lease]:
    """Become a holder. Returns the lease with how the endpoint was found.

    If an earlier attempt of the same holder has recorded the state, that record counts and not a new look, unless all
    holders have left since.
    """
    records: list[Lease] = yield Read()
    live = yield from _live(records, mine, clock)
    before = next((each for each in records if each.holder == mine.holder), None)
    if before is not None and before.left and not live:
        before = None
    if before is not None and before.found != UNKNOWN:
        mine = replace(mine, acquired=before.acquired, found=before.found)
        yield Write(mine)
        return mine
    yield Write(mine)
    state: str | None = yield Look()
    if not bills_nothing(state):  # or somebody has just stopped it: noted before the look, or meanwhile
        now_there: list[Lease] = yield Read()
        state = as_stopped(state, [*records, *now_there], clock())
    mine = replace(mine, found=state)
    yield Write(mine)
    if bills_nothing(state) and not live:
        # A fresh start: what earlier holders found says nothing any more.
        lately = {each.holder for each in records if each.found == UNKNOWN and was_stopped_lately(each, clock())}
        stale = tuple(each for each in dead(records, clock()) if each != mine.holder and each not in lately)
        if stale:
            yield Remove(stale)
    return mine


def leave(
    mine: Lease, clock: Clock, becomes: Callable[[str | None], str | None], *, again: bool = False
) -> Generator[Step, Any, Shared | SwitchedOff]:
    """Stop being a holder; the last one switches the endpoint off, and calls `forget` when a read has shown that.

    :param mine: as it was taken. The store may have lost it since, or others removed it after it had expired.
    :param becomes: the state in which `SwitchOff` leaves an endpoint that was found in that one
    :param again: whether an earlier attempt may have begun to leave, and have switched off.
    :raises UndecidedError: others came and went all the time
    """
    # Before any step that can fail: from now on this holder blocks no other run, whatever happens next.
    yield Write(mine.leaving())
    off = False
    for turn in range(_MOST_TURNS):
        records: list[Lease] = yield Read()
        live = yield from _live(records, mine, clock)
        if live and (off or (turn == 0 and again)):
            # Switched off under somebody who came in between: by this attempt, or by one that was killed after it.
            yield SwitchOn()
            yield Write(mine.leaving())
            off = False
        elif not live and not off:
            found = found_before(records, mine)
            if bills_nothing(state := becomes(found)):
                yield Write(mine.leaving(clock(), state))
            if (yield SwitchOff(found)) is False:
                yield Write(mine.leaving())
                return SwitchedOff(found)
            off = True
        elif live:
            if gone := tuple(obsolete(records, clock())):
                yield Remove(gone)
            return Shared(tuple(each.who for each in live))
        else:
            found = found_before(records, mine)
            if not bills_nothing(becomes(found)):
                yield Remove(tuple(dict.fromkeys([*(each.holder for each in records), mine.holder])))
            return SwitchedOff(found)
    raise UndecidedError(
        f"Other runs acquired and released the endpoint {_MOST_TURNS} times while this run was releasing it, so it is "
        "not known whether one of them uses it now. A retry looks again."
    )


def forget(mine: Lease, clock: Clock) -> Generator[Step, Any, None]:
    """A read shows the endpoint as it was left. The records of who was there before say nothing any more."""
    records: list[Lease] = yield Read()
    live = yield from _live(records, mine, clock)
    gone = [each.holder for each in records if not live or (each.holder == mine.holder and each.left)]
    if gone:
        yield Remove(tuple(gone))


def _live(records: Sequence[Lease], mine: Lease, clock: Clock) -> Generator[Step, Any, list[Lease]]:
    """The leases of others that count: live ones, but those of a DAG run that has ended."""
    live = others(records, mine.holder, clock())
    if not live:
        return []
    over = yield Ended(tuple(live))
    return [each for each in live if each.holder not in over]
