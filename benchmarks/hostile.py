"""Batches in hostile worlds for as long as one likes: `python benchmarks/hostile.py --seconds 3600 --seed 1`.

Rows, answers and stores are drawn by the generator of `tests/hostile`, time is simulated. Prints how many worlds were
tried, what happened in them, and each kind of problem with the smallest world that shows it. Exit status 1 where there
is one.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.hostile.cases import Case, cases
from tests.hostile.invariants import problems
from tests.hostile.world import Outcome, live

ROUND = 200  # worlds between two looks at the clock


class Findings:
    """What was tried and what was wrong, by kind."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.smallest: dict[str, tuple[Case, str]] = {}

    def add(self, outcome: Outcome) -> None:
        """The outcome of a world."""
        case = outcome.case
        self.seen += Counter(
            worlds=1,
            runs=len(outcome.runs),
            rows=len(case.rows),
            requests=len(outcome.server.exchanges),
            odd_answers=len(case.answers),
            store_faults_met=outcome.faults.met,
        )
        self.seen["simulated_seconds"] += int(sum(run.seconds for run in outcome.runs))
        for words in problems(outcome):
            kind = re.sub(r"[0-9a-f]{6,}|\d+", "#", words)[:120]
            self.kinds[kind] += 1
            if kind not in self.smallest or len(repr(case)) < len(repr(self.smallest[kind][0])):
                self.smallest[kind] = (case, words)


def main() -> int:
    """Run rounds until the time is over, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each further one adds 1 (default: 1)")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    findings = Findings()
    began, number = time.monotonic(), options.seed
    while time.monotonic() - began < options.seconds:
        _round(findings, number)
        number += 1
    print(f"seeds {options.seed} to {number - 1}, {time.monotonic() - began:.0f} s")
    for name, count in findings.seen.items():
        print(f"  {name.replace('_', ' '):20} {count:>12,}")
    for kind, count in findings.kinds.most_common():
        case, words = findings.smallest[kind]
        print(f"\n{count} x {kind}\n  {words}\n  {case!r}")
    print("\nno problem" if not findings.kinds else f"\n{len(findings.kinds)} kinds of problems")
    return 1 if findings.kinds else 0


def _round(findings: Findings, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def once(case: Case) -> None:
        findings.add(live(case))

    once()


if __name__ == "__main__":
    sys.exit(main())
