"""What `max_concurrency="auto"` reaches on simulated fleets, against the best fixed number found by search.

One table, a row for each fleet and history, every bar a column; `!` marks a bar that is missed. Simulated time and
fixed seeds: the same figures each time. A refusal is a 429 or a 503: limit and gate treat them alike.
`--others` adds what AIMD on refusals, Vegas and gradient2 come to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hf_endpoints.inference.concurrency import Limiter
from benchmarks.limiters import OTHERS
from tests.unit.inference.fleet import Change, Outcome, Replica, simulate

FIXED = (7, 8, 9, 10, 12, 16, 24, 32, 48, 64, 72, 80, 100, 128, 192, 256, 288, 384, 512, 768, 1000)
TO_SETTLE = 60.0  # seconds after the start and after each change, or if that is longer:
LATENCIES_TO_SETTLE = 10.0  # of a full replica
OUTAGE = (60.0, 90.0)  # seconds: refused all the while, asking for 5 s


@dataclass(frozen=True)
class Fleet:
    """What the batch meets."""

    slots: int
    kind: str  # header, silent or refusing
    history: str  # steady, 1-4-2, slow or outage

    @property
    def rows(self) -> int:
        return 20_000 if self.slots > 8 else 5_000

    @property
    def queue(self) -> int | None:
        return self.slots // 4 if self.kind == "refusing" else None

    def changes(self) -> list[Change]:
        return {"steady": list, "1-4-2": self._grow, "slow": self._slow, "outage": self._outage}[self.history]()

    def run(self, limiter: Limiter) -> Outcome:
        return simulate(
            limiter,
            self.rows,
            slots=self.slots,
            queue=self.queue,
            header=self.kind == "header",
            changes=self.changes(),
        )

    def _grow(self) -> list[Change]:
        def to_four(fleet: list[Replica]) -> None:
            while len(fleet) < 4:
                fleet.append(Replica(self.slots, self.queue, clock=fleet[0].clock))

        def to_two(fleet: list[Replica]) -> None:
            del fleet[2:]

        return [(120.0, to_four), (300.0 if self.slots > 64 else 400.0, to_two)]

    def _slow(self) -> list[Change]:
        return [(120.0, _each("slowness", 3.0)), (300.0, _each("slowness", 1.0))]

    def _outage(self) -> list[Change]:
        return [(OUTAGE[0], _each("refuses", 5.0)), (OUTAGE[1], _each("refuses", None))]


def _each(name: str, value: float | None) -> Callable[[list[Replica]], None]:
    def change(fleet: list[Replica]) -> None:
        for replica in fleet:
            setattr(replica, name, value)

    return change


def fleets() -> Iterator[Fleet]:
    """Every fleet with every history."""
    for slots in (8, 64, 256):
        for kind in ("header", "silent", "refusing"):
            for history in ("steady", "1-4-2", "slow"):
                yield Fleet(slots, kind, history)


def bar(value: float, met: bool, form: str) -> str:
    """A figure, marked where it misses its bar."""
    return f"{value:{form}}{' ' if met else '!'}"


def late(fleet: Fleet, outcome: Outcome) -> float:
    """The share of requests refused once settled."""
    moments = [0.0, *(at for at, _ in fleet.changes())]

    latency = 92 * (0.02 + 0.0005 * fleet.slots)
    long = max(TO_SETTLE, LATENCIES_TO_SETTLE * latency)

    def settled(at: float) -> bool:
        return not any(moment <= at < moment + long for moment in moments)

    sent = sum(settled(at) for at in outcome.sent)
    return sum(settled(at) for at in outcome.refusals) / max(sent, 1)


def row(fleet: Fleet) -> str:
    """A line of the table, with its bars."""
    fixed = {n: fleet.run(Limiter(n)) for n in FIXED}
    best = min(fixed, key=lambda n: fixed[n].seconds)
    auto = fleet.run(Limiter())
    share, hundred = fixed[best].seconds / auto.seconds, fixed[100].seconds / auto.seconds
    minutes = auto.replica_minutes / fixed[best].replica_minutes
    refused = late(fleet, auto)
    wanted = 0.90 if fleet.kind == "silent" else 0.95
    start = bar(auto.slowest_start, auto.slowest_start <= 20, "7.1f") if fleet.history == "1-4-2" else "      - "
    return (
        f"{fleet.slots:5d} {fleet.kind:9}{fleet.history:7} {best:6d} {fixed[best].waiting_share:8.2f} "
        f"{auto.seconds:7.0f} "
        f"{bar(share, share >= wanted, '8.3f')} {bar(auto.waiting_share, auto.waiting_share <= 0.15, '8.3f')} "
        f"{bar(refused, refused < 0.01, '8.4f')} {start} {bar(minutes, minutes <= 1.05, '8.3f')} "
        f"{bar(hundred, hundred >= 0.98, '7.3f')} {auto.most_refusals:5d} {auto.limits[-1][1]:6d}"
    )


def outage_row(slots: int) -> str:
    """A line about 30 s of 429 with `Retry-After: 5`, in the middle of a batch."""
    fleet = Fleet(slots, "silent", "outage")
    outcome = fleet.run(Limiter(slots))
    during = [at for at in outcome.sent if OUTAGE[0] <= at < OUTAGE[1]]
    # A refusal counts from when it arrives; what was on its way then is nobody's fault.
    early = sum(any(said < at < said + 5.0 for said in outcome.refusals) for at in during)
    usual = sum(20.0 <= at < OUTAGE[0] for at in outcome.answers) / (OUTAGE[0] - 20.0)
    full = next((at for at in outcome.sent if at >= OUTAGE[1] and _out(outcome, at) >= 0.9 * slots), None)
    after = sum(OUTAGE[1] + 5 <= at < OUTAGE[1] + 45 for at in outcome.answers) / 40.0
    back = (full or outcome.seconds) - OUTAGE[1]
    return (
        f"{slots:6d} {bar(len(during), len(during) <= slots * 1.1, '8d')} {bar(early, early == 0, '5d')} "
        f"{bar(back, back <= 5, '10.2f')} {bar(after / usual, after >= 0.9 * usual, '10.2f')}"
    )


def _out(outcome: Outcome, at: float) -> int:
    return sum(t <= at for t in outcome.sent) - sum(t <= at for t in (*outcome.answers, *outcome.refusals))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", action="store_true", help="the other controllers too")
    options = parser.parse_args()
    print("bars: share of the best fixed >= .95 (silent .90); waiting <= .15 of running; refused once settled < .01;")
    print("a new replica in full use <= 20 s; replica-minutes <= 1.05 of best; as fast as a fixed 100 (within .02)\n")
    print(
        "slots fleet            best fixed, its   seconds    share   waiting   refused  in use  minutes  vs 100  most"
        "  last\n                       number  waiting             of best  by runn.  settled     s    by best"
        "          ref.  limit"
    )
    for fleet in fleets():
        print(row(fleet), flush=True)
    print("\n30 s of 429 with Retry-After: 5; bars: requests <= in flight + 10 %, none early, 90 % of it within 5 s\n")
    print("flight requests early  in use, s throughput 5-45 s after by before")
    for slots in (32, 64, 256):
        print(outage_row(slots))
    if options.others:
        print("\nother controllers: share of best, waiting by running\n")
        for fleet in fleets():
            best = min(fleet.run(Limiter(n)).seconds for n in FIXED)
            cells = []
            for name, make in OTHERS.items():
                outcome = fleet.run(make())
                cells.append(f"{name} {best / outcome.seconds:5.2f} {outcome.waiting_share:6.2f}")
            print(f"{fleet.slots:5d} {fleet.kind:9}{fleet.history:7} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
