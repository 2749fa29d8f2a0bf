"""The batch's HTTP/1.1 parser against h11 on random answers: `python benchmarks/http_fuzz.py --answers 1000000`.

Both readers get each answer, ours in pieces. Where they differ, the case is made small and printed. `--seed` begins
another series. Each block of ten thousand answers has its own seed, so that `--jobs` processes can share the work.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bars import Bar, line

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.unit.inference.http_answers import NOTHING, Case, answers, by_h11, fault, shrink

BLOCK = 10_000  # answers
SHOWN = 12  # cases of each kind


def block(seed: int, count: int) -> tuple[Counter[str], list[tuple[str, Case]]]:
    """Counts of one block, and the cases in which the readers differ, the first of each kind made small."""
    counts: Counter[str] = Counter()
    found: list[tuple[str, Case]] = []
    for case in answers(seed, count):
        counts["refused" if by_h11(case) == NOTHING else "taken"] += 1
        kind = fault(case)
        if kind is not None:
            counts["faults"] += 1
            counts[f"  {kind}"] += 1
            if counts[f"  {kind}"] <= SHOWN:
                found.append((kind, shrink(case, lambda other, kind=kind: fault(other) == kind)))
    return counts, found


def main() -> None:
    """Run the series and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + max(1, options.answers // BLOCK))
    started = time.monotonic()
    total: Counter[str] = Counter()
    small: dict[tuple[str, bytes, str], Case] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for counts, found in pool.map(block, seeds, [min(BLOCK, options.answers)] * len(seeds)):
            total += counts
            small |= {(kind, case.raw, case.method): case for kind, case in found}
    for kind, case in sorted(((key[0], case) for key, case in small.items()), key=lambda each: (each[0], each[1].raw)):
        print(f"{kind:32} {case.method} {case.raw!r}{' by bytes' if len(case.cuts) > 1 else ''}")
    for name, count in sorted(total.items()):
        print(f"{name:40} {count:9d}")
    done = total["taken"] + total["refused"]
    print(f"{done} answers in {time.monotonic() - started:.0f} s")
    line("answers on which ours and h11 differ", total["faults"], Bar(0), form=".0f")


if __name__ == "__main__":
    main()
