"""A short search with a fixed seed: no kind of fault that is not known. `GENERATED_SECONDS` says how long."""

from __future__ import annotations

import os

from tests.generated.found import KNOWN
from tests.generated.search import search
from tests.generated.shapes import read

SECONDS = float(os.environ.get("GENERATED_SECONDS", "120"))


def test_nothing_new_is_found() -> None:
    """Whatever DAG is drawn around endpoints, and whatever happens to it, the invariants hold."""
    report = search(SECONDS, 0, KNOWN)
    print(report)
    shown = "\n\n".join(f"=== {kind}\n{words}\n{read(case)}" for kind, (case, words) in report.found.items())
    assert {} == report.found, shown
