"""What `max_concurrency="auto"` reaches on simulated fleets, against the best fixed number found by search.

One table, a row for each fleet and history, every bar a column; `!` marks a bar that is missed. Simulated time and
fixed seeds: the same figures each time. A refusal is a 429. The limit treats a 503 alike; the gate also pauses
when an endpoint that says 503 takes nothing in the place of what it answered.

Two bars exclude each other where a fleet of eight slots grows from one replica to four: the limiter hears of a replica
ten seconds late, and a hundred in flight need not hear of it. Even nine requests for each replica from the first second
to the last, which no limiter can know, brought .965 to .980 of what a hundred did (six seeds, silent), with waiting at
.152; eight and a half brought .956 to .969 with .091. Heard of at once, nine brought .992 to 1.003 with .137.

`--others` adds what AIMD on refusals, Vegas and gradient2 come to. `--seeds 5` runs each fleet with so many lengths
and chances of routing, and prints a figure's median with its worst below it; `--jobs 2` uses so many processes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hf_endpoints.inference.concurrency import Limiter
from benchmarks.limiters import OTHERS
from tests.unit.inference.fleet import Change, Outcome, Replica, simulate

FIXED = (7, 8, 9, 10, 12, 16, 24, 32, 48, 64, 72, 80, 100, 128, 192, 256, 288, 384, 512, 768, 1000)
TO_SETTLE = 60.0  # seconds after the start and after each change
OUTAGE = (60.0, 90.0)  # seconds: refused all the while, asking for 5 s


@dataclass(frozen=True)
class Fleet:
    """What the batch meets."""

    slots: int
    kind: str  # header, silent or refusing
    history: str  # steady, 1-4-2, slow or outage
    seed: int = 1

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
            seed=self.seed,
        )

    @property
    def name(self) -> str:
        """Its first columns."""
        return f"{self.slots:5d} {self.kind:9}{self.history:7}"

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

    def settled(at: float) -> bool:
        return not any(moment <= at < moment + TO_SETTLE for moment in moments)

    sent = sum(settled(at) for at in outcome.sent)
    return sum(settled(at) for at in outcome.refusals) / max(sent, 1)


@dataclass(frozen=True)
class Figures:
    """What came of one fleet, with one seed."""

    fleet: Fleet
    best: int  # fixed number
    best_waiting: float
    seconds: float
    share: float
    waiting: float
    refused: float
    start: float
    minutes: float
    hundred: float
    most: int
    last: int


def measure(fleet: Fleet) -> Figures:
    """Every fixed number, and the limiter."""
    fixed = {n: fleet.run(Limiter(n)) for n in FIXED}
    best = min(fixed, key=lambda n: fixed[n].seconds)
    auto = fleet.run(Limiter())
    return Figures(
        fleet,
        best,
        fixed[best].waiting_share,
        auto.seconds,
        share=fixed[best].seconds / auto.seconds,
        waiting=auto.waiting_share,
        refused=late(fleet, auto),
        start=auto.slowest_start,
        minutes=auto.replica_minutes / fixed[best].replica_minutes,
        hundred=fixed[100].seconds / auto.seconds,
        most=auto.most_refusals,
        last=auto.limits[-1][1],
    )


Summary = Callable[[Iterable[float]], float]


def line(seeds: Sequence[Figures], lowest: Summary, highest: Summary) -> str:
    """A line of the table, with its bars.

    :param lowest: makes one of the figures of which more is better
    :param highest: the same where less is better
    """
    fleet = seeds[0].fleet
    share, hundred = lowest(each.share for each in seeds), lowest(each.hundred for each in seeds)
    waiting, refused = highest(each.waiting for each in seeds), highest(each.refused for each in seeds)
    start, minutes = highest(each.start for each in seeds), highest(each.minutes for each in seeds)
    wanted = 0.90 if fleet.kind == "silent" else 0.95
    in_use = bar(start, start <= 20, "7.1f") if fleet.history == "1-4-2" else "      - "
    return (
        f"{bar(share, share >= wanted, '8.3f')} {bar(waiting, waiting <= 0.15, '8.3f')} "
        f"{bar(refused, refused < 0.01, '8.4f')} {in_use} {bar(minutes, minutes <= 1.05, '8.3f')} "
        f"{bar(hundred, hundred >= 0.98, '7.3f')}"
    )


def row(seeds: Sequence[Figures]) -> str:
    """A fleet's line, and with several seeds a second one with the worst of each figure."""
    first, most = seeds[0], max(each.most for each in seeds)
    text = (
        f"{first.fleet.name} {first.best:6d} {first.best_waiting:8.2f} "
        f"{statistics.median(each.seconds for each in seeds):7.0f} "
        f"{line(seeds, statistics.median, statistics.median)} {most:5d} {first.last:6d}"
    )
    if len(seeds) > 1:
        text += f"\n{'worst':>46} {line(seeds, min, max)}"
    return text


def outage_row(fleet: Fleet) -> str:
    """A line about 30 s of 429 with `Retry-After: 5`, in the middle of a batch."""
    slots, outcome = fleet.slots, fleet.run(Limiter(fleet.slots))
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


def others_row(fleet: Fleet) -> str:
    """What other controllers come to."""
    best = min(fleet.run(Limiter(n)).seconds for n in FIXED)
    cells = []
    for name, make in OTHERS.items():
        outcome = fleet.run(make())
        cells.append(f"{name} {best / outcome.seconds:5.2f} {outcome.waiting_share:6.2f}")
    return f"{fleet.name} {'   '.join(cells)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", action="store_true", help="the other controllers too")
    parser.add_argument("--seeds", type=int, default=1, help="of each fleet: median and worst of so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs) if options.jobs > 1 else nullcontext() as pool:
        tables(map if pool is None else pool.map, options.seeds, options.others)


def tables(each: Callable[..., Iterator[Any]], seeds: int, others: bool) -> None:
    """Print them.

    :param each: `map`, by however many processes
    """
    print("bars: share of the best fixed >= .95 (silent .90); waiting <= .15 of running; refused once settled < .01;")
    print("a new replica in full use <= 20 s; replica-minutes <= 1.05 of best; as fast as a fixed 100 (within .02)\n")
    print(
        "slots fleet            best fixed, its   seconds    share   waiting   refused  in use  minutes  vs 100  most"
        "  last\n                       number  waiting             of best  by runn.  settled     s    by best"
        "          ref.  limit"
    )
    figures = each(measure, [replace(fleet, seed=seed) for fleet in fleets() for seed in range(1, seeds + 1)])
    while seeded := list(islice(figures, seeds)):
        print(row(seeded), flush=True)
    print("\n30 s of 429 with Retry-After: 5; bars: requests <= in flight + 10 %, none early, 90 % of it within 5 s\n")
    print("flight requests early  in use, s throughput 5-45 s after by before")
    for text in each(outage_row, [Fleet(slots, "silent", "outage") for slots in (32, 64, 256)]):
        print(text)
    if others:
        print("\nother controllers: share of best, waiting by running\n")
        for text in each(others_row, fleets()):
            print(text, flush=True)


if __name__ == "__main__":
    main()
