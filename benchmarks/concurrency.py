"""What `max_concurrency="auto"` reaches on simulated fleets, against the best fixed number found by search.

A table with a row for each fleet and history, `!` marking a bar that is missed, then the worst fleet for each bar.
Simulated time and fixed seeds: the same figures each time. A refusal is a 429. The limit treats a 503 alike; the gate
also pauses when an endpoint that says 503 takes nothing in the place of what it answered.

Where eight slots grow from one replica to four, one seed says little: which limit the search settles on decides
whether it is as fast as a hundred in flight or waits little, so read the median of several.

`--others` adds what AIMD on refusals, Vegas and gradient2 come to. `--seeds 9` runs each fleet with so many lengths
and chances of routing, prints a figure's median with its worst below it, and holds the medians against the bars;
`--jobs 2` uses so many processes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from benchmarks.bars import Bar, line
from benchmarks.limiters import OTHERS
from tests.unit.inference.fleet import Change, Outcome, Replica, on_each, simulate

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
        return [(120.0, on_each("slowness", 3.0)), (300.0, on_each("slowness", 1.0))]

    def _outage(self) -> list[Change]:
        return [(OUTAGE[0], on_each("refuses", 5.0)), (OUTAGE[1], on_each("refuses", None))]


def fleets() -> Iterator[Fleet]:
    """Every fleet with every history."""
    for slots in (8, 64, 256):
        for kind in ("header", "silent", "refusing"):
            for history in ("steady", "1-4-2", "slow"):
                yield Fleet(slots, kind, history)


def bars_of(fleet: Fleet) -> dict[str, Bar]:
    """What a fleet's figures are measured against, by their names in `Figures`."""
    bars = {
        "share": Bar(0.90 if fleet.kind == "silent" else 0.95, at_most=False),
        "waiting": Bar(0.15),
        "refused": Bar(0.01),
        "minutes": Bar(1.05),
        "hundred": Bar(0.98, at_most=False),
    }
    return bars | ({"start": Bar(20)} if fleet.history == "1-4-2" else {})


FORMS = {"share": ".3f", "waiting": ".3f", "refused": ".4f", "start": ".1f", "minutes": ".3f", "hundred": ".3f"}
WIDTHS = {"share": 8, "waiting": 9, "refused": 9, "start": 8, "minutes": 8, "hundred": 7}
WORDS = {
    "share": "rows/s by the best fixed number's",
    "waiting": "waiting by running",
    "refused": "refused once settled",
    "start": "seconds until a new replica is in full use",
    "minutes": "replica-minutes by the best fixed number's",
    "hundred": "rows/s by a fixed 100's",
}


def cell(figure: float, bar: Bar | None, form: str, width: int) -> str:
    """A figure, marked where it misses its bar."""
    text = "-" if bar is None else f"{figure:{form}}{' ' if bar.met(figure) else '!'}"
    return f"{text:>{width}}"


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


def summary(seeds: Sequence[Figures], *, worst: bool) -> dict[str, float]:
    """The median of each figure over the seeds, or the worst of each."""
    found = {}
    for name, bar in bars_of(seeds[0].fleet).items():
        values = [getattr(each, name) for each in seeds]
        found[name] = (max if bar.at_most else min)(values) if worst else statistics.median(values)
    return found


def cells(fleet: Fleet, figures: Mapping[str, float]) -> str:
    """A line of the table, if it has bars."""
    bars = bars_of(fleet)
    return " ".join(cell(figures.get(name, 0.0), bars.get(name), FORMS[name], WIDTHS[name]) for name in FORMS)


def row(seeds: Sequence[Figures]) -> str:
    """A fleet's line, and with several seeds a second one with the worst of each figure."""
    first, most = seeds[0], max(each.most for each in seeds)
    text = (
        f"{first.fleet.name} {first.best:6d} {first.best_waiting:8.2f} "
        f"{statistics.median(each.seconds for each in seeds):7.0f} "
        f"{cells(first.fleet, summary(seeds, worst=False))} {most:5d} {first.last:6d}"
    )
    if len(seeds) > 1:
        text += f"\n{'worst':>46} {cells(first.fleet, summary(seeds, worst=True))}"
    return text


class Worst:
    """Of all fleets the worst of each figure, beside its bar."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Bar], tuple[float, Fleet]] = {}

    def add(self, fleet: Fleet, figures: Mapping[str, float]) -> None:
        """A fleet's figures."""
        for name, bar in bars_of(fleet).items():
            figure = figures[name]
            before = self._found.get((name, bar), (figure, fleet))[0]
            if figure == before or (figure > before) == bar.at_most:
                self._found[name, bar] = (figure, fleet)

    def show(self) -> None:
        """A line each."""
        for (name, bar), (figure, fleet) in self._found.items():
            kind = "" if name != "share" else ", silent" if fleet.kind == "silent" else ", with a signal"
            where = " ".join(fleet.name.split())
            line(f"{WORDS[name]}{kind}, worst fleet ({where})", figure, bar, form=FORMS[name])


def outage(fleet: Fleet) -> tuple[int, dict[str, tuple[float, Bar, str]]]:
    """30 s of 429 with `Retry-After: 5`, in the middle of a batch: how many were in flight, and each figure."""
    slots, outcome = fleet.slots, fleet.run(Limiter(fleet.slots))
    during = [at for at in outcome.sent if OUTAGE[0] <= at < OUTAGE[1]]
    # A refusal counts from when it arrives; what was on its way then counts as no fault.
    early = sum(any(said < at < said + 5.0 for said in outcome.refusals) for at in during)
    usual = sum(20.0 <= at < OUTAGE[0] for at in outcome.answers) / (OUTAGE[0] - 20.0)
    full = next((at for at in outcome.sent if at >= OUTAGE[1] and _out(outcome, at) >= 0.9 * slots), None)
    after = sum(OUTAGE[1] + 5 <= at < OUTAGE[1] + 45 for at in outcome.answers) / 40.0
    return slots, {
        "requests": (len(during), Bar(slots * 1.1), ".0f"),
        "requests before their time": (early, Bar(0), ".0f"),
        "seconds until 90 % of it is in use": ((full or outcome.seconds) - OUTAGE[1], Bar(5.0), ".2f"),
        "throughput 5 to 45 s after by before": (after / usual, Bar(0.9, at_most=False), ".2f"),
    }


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
    print(
        "slots fleet            best fixed, its   seconds    share   waiting   refused   in use  minutes  vs 100  most"
        "  last\n                       number  waiting             of best  by runn.  settled       s    by best"
        "         ref.  limit"
    )
    figures = each(measure, [replace(fleet, seed=seed) for fleet in fleets() for seed in range(1, seeds + 1)])
    worst = Worst()
    while seeded := list(islice(figures, seeds)):
        print(row(seeded), flush=True)
        worst.add(seeded[0].fleet, summary(seeded, worst=False))
    print()
    worst.show()
    print()
    for slots, found in each(outage, [Fleet(slots, "silent", "outage") for slots in (32, 64, 256)]):
        for words, (figure, bar, form) in found.items():
            line(f"429 with Retry-After for 30 s, {slots} in flight: {words}", figure, bar, form=form)
    if others:
        print("\nother controllers: share of best, waiting by running\n")
        for text in each(others_row, fleets()):
            print(text, flush=True)


if __name__ == "__main__":
    main()
