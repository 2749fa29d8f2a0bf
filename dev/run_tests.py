"""Runs the test suites, each with the Airflow that it is for, and adds up their counts.

Four at a time, the longest first: the live tests mostly wait for Airflow, the contract tests for servers and processes,
the unit tests compute. (With three at a time, two cores were idle for a third of 1,000 s.) A suite's output is shown
when it has ended, so that two do not mix. All run even when one fails. At the end stands what took longest, and as the
last line the sum: `tests: N passed, N failed, …`.

Two cores serve two Airflows of six processes each and two other lanes, and Airflow has its own races. A few live tests
that failed are therefore run a second time, alone and in a new Airflow. What fails twice has failed; what passes the
second time is named in the summary, with the whole output of its first failure above.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTHING_COLLECTED = 5  # pytest's exit status when it found no test
A_FEW = 3  # failed tests; more cannot be chance


@dataclass(frozen=True)
class Suite:
    """Tests that run in one environment."""

    name: str
    environment: str
    paths: tuple[str, ...]
    options: tuple[str, ...] = ()
    twice: bool = False  # whether a few that failed are tried again, alone


UNIT = Suite("unit, newest Airflow", ".venv", ("tests/unit",))
UNIT_OLDEST = Suite("unit, oldest Airflow", ".venv-oldest", ("tests/unit",), ("-m", "not once"))
# In four parts, so that no suite is much longer than the others.
CONTRACT = Suite(
    "contract of endpoints, newest Airflow",
    ".venv",
    ("tests/contract",),
    tuple(f"--ignore=tests/contract/{other}" for other in ("batch", "operators", "test_leases_stores.py")),
)
CONTRACT_OF_BATCH, CONTRACT_OF_LEASES, CONTRACT_OF_OPERATORS = (
    Suite(f"contract of {what}, newest Airflow", ".venv", (f"tests/contract/{where}",))
    for what, where in (("the batch", "batch"), ("leases", "test_leases_stores.py"), ("operators", "operators"))
)
HOSTILE, GENERATED = (
    Suite(f"generated {what}, newest Airflow", ".venv", (f"tests/{folder}",))
    for what, folder in (("worlds of a batch", "hostile"), ("DAGs", "generated"))
)
# The live cases that every change has to pass; `--live` runs all of them, which takes much longer.
CORE = ("-m", "not extended")
LIVE, LIVE_OLDEST = (
    Suite(f"live, {which} Airflow", environment, ("tests/airflow",), twice=True)
    for which, environment in (("newest", ".venv"), ("oldest", ".venv-oldest"))
)
PRODUCTION = Suite("production, newest Airflow", ".venv-production", ("tests/production",), twice=True)
# The longest first: what is short fills the end.
QUICK = (CONTRACT_OF_OPERATORS, CONTRACT, UNIT, CONTRACT_OF_BATCH, GENERATED, HOSTILE, CONTRACT_OF_LEASES)
ALL = (replace(LIVE, options=CORE), replace(LIVE_OLDEST, options=CORE), *QUICK, UNIT_OLDEST)


@dataclass(frozen=True)
class Counts:
    """How many tests ended how; `broken`: pytest itself did not end well (a crash, no test to run)."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: bool = False

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.broken or other.broken,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Result:
    """How one suite ended.

    :param seconds: how long it took, pytest's own start included
    :param cpu: the CPU seconds in that time, of pytest and of every process under it that has ended
    :param took: seconds of each test with its fixtures, by `tests.unit.test_x` and the test's name
    :param failed: the failed tests, as pytest takes them: `tests/airflow/test_x.py::test_y`
    :param second: those that failed at first and passed when they were tried again
    """

    counts: Counts
    seconds: float = 0.0
    cpu: float = 0.0
    took: dict[tuple[str, str], float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    second: tuple[str, ...] = ()


def read(report: Path, returncode: int, seconds: float = 0.0, cpu: float = 0.0) -> Result:
    """Read pytest's JUnit report. An error in a fixture counts as a failure; a missing report as a crash."""
    if not report.is_file():
        return Result(Counts(broken=True), seconds, cpu)
    root = ET.parse(report).getroot()
    total, failed, skipped = 0, 0, 0
    for suite in root.iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    broken = returncode not in (0, 1) or (returncode == 1 and failed == 0)
    took: dict[tuple[str, str], float] = defaultdict(float)
    bad: dict[str, None] = {}  # in order; a test and the end of its fixture can fail both
    for case in root.iter("testcase"):
        file, name = case.get("classname", ""), case.get("name", "")
        took[file, name] += float(case.get("time", 0))
        if case.find("failure") is not None or case.find("error") is not None:
            bad[f"{file.replace('.', '/')}.py::{name}"] = None
    counts = Counts(max(0, total - failed - skipped), failed, skipped, broken)
    return Result(counts, seconds, cpu, took, failed=tuple(bad))


def settled(first: Result, again: Result) -> Result:
    """What a suite came to whose failed tests were tried again: the second run of a test counts."""
    counts = replace(
        first.counts,
        passed=first.counts.passed + again.counts.passed,
        failed=again.counts.failed,
        skipped=first.counts.skipped + again.counts.skipped,
        broken=first.counts.broken or again.counts.broken,
    )
    second = tuple(test for test in first.failed if test not in again.failed)
    seconds, cpu = first.seconds + again.seconds, first.cpu + again.cpu
    return replace(first, counts=counts, seconds=seconds, cpu=cpu, failed=again.failed, second=second)


def _longest(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda each: each[1], reverse=True)


def slowest(results: Iterable[Result], most: int = 10) -> list[str]:
    """What took longest, over all suites: files, then single tests."""
    tests: dict[str, float] = defaultdict(float)
    files: dict[str, float] = defaultdict(float)
    for result in results:
        for (file, name), seconds in result.took.items():
            tests[f"{file}::{name}"] += seconds
            files[file] += seconds
    rows = [("files", files), ("tests", tests)]
    return [
        line
        for what, seconds in rows
        if seconds
        for line in (f"slowest {what}:", *(f"{each:8.1f} s  {name}" for name, each in _longest(seconds)[:most]))
    ]


def run(suite: Suite, extra: list[str]) -> Result:
    """Run one suite and show its output when it has ended."""
    if suite.environment != ".venv" and not (ROOT / suite.environment).is_dir():
        print(f"\n=== {suite.name}: this Python cannot run it, left out ===", flush=True)
        return Result(Counts())
    print(f"=== {suite.name}: started ===", flush=True)
    with tempfile.TemporaryDirectory(prefix="hf-endpoints-tests-") as folder:
        report = Path(folder) / "junit.xml"
        python = ROOT / suite.environment / "bin" / "python"
        command = [str(python), "-m", "pytest", f"--junit-xml={report}", "-q", *suite.options, *extra, *suite.paths]
        began = time.monotonic()
        output = Path(folder) / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)  # subprocess itself does not say what CPU was used
        process.returncode = os.waitstatus_to_exitcode(status)
        print(f"\n=== {suite.name} ===\n{output.read_text(errors='replace')}", flush=True)
        seconds = time.monotonic() - began
        return read(report, process.returncode, seconds, usage.ru_utime + usage.ru_stime)


def run_again(suite: Suite, first: Result, extra: list[str]) -> Result:
    """Where a few tests failed of a suite for which that is allowed, run these once more."""
    if not suite.twice or first.counts.broken or not 0 < len(first.failed) <= A_FEW:
        return first
    alone = replace(suite, name=f"{suite.name}, a second time", paths=first.failed)
    return settled(first, run(alone, extra))


def main() -> int:
    """Run the suites and print the sum; 0 when every test passed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only what starts no Airflow, on the newest one")
    parser.add_argument("--production", action="store_true", help="only PostgreSQL, Celery, Redis, two of everything")
    parser.add_argument("--core", action="store_true", help="of `--production`, what every change has to pass")
    parser.add_argument("--live", action="store_true", help="only what starts an Airflow, and all of that")
    arguments, extra = parser.parse_known_args()
    suites: tuple[Suite, ...] = ALL
    at_once = 4
    if arguments.quick:
        suites, at_once = QUICK, 2
    elif arguments.live:
        suites, at_once = (LIVE, LIVE_OLDEST), 1
    elif arguments.production:
        suites, at_once = (replace(PRODUCTION, options=CORE) if arguments.core else PRODUCTION,), 1
    with ThreadPoolExecutor(at_once) as pool:
        results = list(zip(suites, pool.map(lambda suite: run(suite, extra), suites), strict=True))
    results = [(suite, run_again(suite, result, extra)) for suite, result in results]
    print("", *slowest(result for _, result in results), "", sep="\n")
    for suite, result in results:
        ended = " (pytest did not end well)" if result.counts.broken else ""
        print(f"{suite.name}: {result.counts} in {result.seconds:.0f} s ({result.cpu:.0f} s of CPU){ended}")
        for test in result.second:
            print(f"    failed at first and passed the second time: {test}")
    total = sum((result.counts for _, result in results), Counts())
    print(f"tests: {total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed or total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
