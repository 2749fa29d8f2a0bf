"""Plays generated DAGs around endpoints in virtual time, and prints what they broke.

`python benchmarks/dags.py --seconds 600 --seed 1` says how many cases, ends of tasks and actions that were, and prints
the smallest case of each kind of fault as the Python of its DAGs. Ends with 1 where a fault is new.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Search, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to search; default 120")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other cases; default 0")
    parser.add_argument("--all", action="store_true", help="report the kinds of fault that are known as well")
    parser.add_argument("--no-shrink", action="store_true", help="print the first case of each kind, not the smallest")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    with tempfile.TemporaryDirectory(prefix="hf-endpoints-dags-", ignore_cleanup_errors=True) as home:
        # Before anything imports Airflow, which reads its configuration then.
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        from tests.generated.found import KNOWN
        from tests.generated.search import Report, search
        from tests.generated.written import read

        def tell(report: Report, kind: str) -> None:
            case, words = report.found[kind]
            print(f"\n=== {kind} (after {report.cases} cases)\n{words}\n{read(case)}", flush=True)

        known = () if arguments.all else KNOWN
        report = search(arguments.seed, known, seconds=arguments.seconds, shrink=not arguments.no_shrink, tell=tell)
    print(f"\n{report}")
    return 1 if report.found else 0


if __name__ == "__main__":
    sys.exit(main())
