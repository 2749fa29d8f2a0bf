"""Searches for cases that break something: draws them by hypothesis, and shrinks the first of each new kind.

A kind of fault that is known already does not end the search, so that it goes on behind it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.generated.play import Played, play
from tests.generated.shapes import Case
from tests.generated.strategies import cases

BATCH = 100  # cases that are drawn with one seed


@dataclass
class Report:
    """What a search did and found."""

    cases: int = 0
    refused: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    hours: float = 0.0
    lost_starts: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    found: dict[str, tuple[Case, str]] = field(default_factory=dict)  # the smallest case of each new kind, its words

    def add(self, played: Played) -> None:
        """Count one case."""
        self.cases += 1
        self.refused += played.refused is not None
        self.runs += played.runs
        self.ends += played.ends
        self.actions += played.actions
        self.requests += played.requests
        self.hours += played.hours
        self.lost_starts += played.lost_starts
        self.kinds.update({fault.kind for fault in played.faults})

    def __str__(self) -> str:
        runs = sum(self.runs.values())
        lines = [
            f"{self.cases} cases, {self.refused} refused at parse, {runs} DAG runs ({_counts(self.runs)})",
            f"ends of tasks: {_counts(self.ends)}",
            f"actions on endpoints: {_counts(self.actions)}; {self.requests} requests",
            f"stand-alone starts ended before the first step of their trigger: {self.lost_starts}",
            f"{self.hours:.0f} simulated hours in {self.seconds:.0f} s ({self.cpu:.0f} s of CPU): "
            f"{runs / max(self.cpu, 1e-9):.1f} DAG runs per second of CPU",
            f"cases with a fault, by its kind: {_counts(self.kinds) or 'none'}",
        ]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


class _Broken(Exception):
    """A case that breaks something of a kind that is searched for."""


def search(
    number: int,
    known: Collection[str] = (),
    *,
    seconds: float = float("inf"),
    most: float = float("inf"),
    shrink: bool = True,
    tell: Callable[[Report, str], None] = lambda report, kind: None,
) -> Report:
    """Draw and play cases; with the same `number` the same ones.

    :param known: kinds of fault that are counted and not reported
    :param seconds: how long
    :param tell: called with each new kind of fault, when its smallest case is there
    :param most: how many cases, the same ones on every machine; what shrinking a fault plays is not counted
    """
    report, began, cpu = Report(), time.perf_counter(), time.process_time()
    batch = 0
    while time.perf_counter() - began < seconds and report.cases < most:
        examples = int(min(BATCH, most - report.cases))
        before = {*report.found}
        _one_batch(report, began + seconds, number + batch, {*known, *report.found}, shrink, examples)
        for kind in report.found.keys() - before:
            tell(report, kind)
        batch += 1000
    report.seconds, report.cpu = time.perf_counter() - began, time.process_time() - cpu
    return report


def _one_batch(report: Report, until: float, number: int, known: set[str], shrink: bool, examples: int) -> None:
    """Up to a new kind of fault, or until time is up."""
    smallest: list[tuple[str, Case, str]] = []
    wanted: str | None = None

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    @given(cases())
    def each(case: Case) -> None:
        nonlocal wanted
        if time.perf_counter() > until:
            return  # time is up: what is left of the batch is nothing
        played = play(case)
        if wanted is None:
            report.add(played)
        for fault in played.faults:
            if fault.kind not in known and wanted in (None, fault.kind):
                wanted = fault.kind
                smallest.append((fault.kind, case, fault.words))
                raise _Broken(fault.kind)

    try:
        each()
    except (_Broken, ExceptionGroup):
        if not smallest:
            raise  # a fault of the simulation's own
        kind, case, words = smallest[-1]
        report.found[kind] = (case, words)
    except Exception as error:
        if type(error).__name__ != "Flaky" and not smallest:
            raise
        kind, case, words = smallest[-1]
        report.found[kind] = (case, words)
