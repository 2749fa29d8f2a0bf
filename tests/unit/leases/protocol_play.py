"""An endpoint, its leases and a clock, on which the steps of holders are played."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.leases.protocol import (
    Ended,
    Look,
    Read,
    Remove,
    SwitchedOff,
    SwitchOff,
    SwitchOn,
    Write,
    forget,
    leave,
    take,
)
from airflow_provider_hf_endpoints.leases.records import Lease, new_lease
from airflow_provider_hf_endpoints.leases.store import LeaseStore

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
