"""A short search with a fixed seed: no kind of fault that is not known.

Bounded by the number of cases, so that a slow machine plays the same ones. `GENERATED_CASES` says how many; a search as
long as one likes is `benchmarks/dags.py`.
"""

from __future__ import annotations

import os

from tests.generated.found import KNOWN
from tests.generated.search import search
from tests.generated.written import read

CASES = int(os.environ.get("GENERATED_CASES", "30"))


def test_nothing_new_is_found() -> None:
    """Whatever DAG is drawn around endpoints, and whatever happens to it, the invariants hold."""
    report = search(0, KNOWN, most=CASES)
    print(report)
    shown = "\n\n".join(f"=== {kind}\n{words}\n{read(case)}" for kind, (case, words) in report.found.items())
    assert {} == report.found, shown
