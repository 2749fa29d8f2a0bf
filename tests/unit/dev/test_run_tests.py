"""What `make test` tells at its end, from the report of a pytest that really ran."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dev.run_tests import ALL, ROOT, Counts, Result, Suite, read, run, settled, slowest

TESTS = """
import pytest

def test_good():
    pass

def test_bad():
    assert False

def test_left_out():
    pytest.skip("not here")

def test_without_its_fixture(missing):
    pass
"""


def test_a_report_is_counted(tmp_path: Path) -> None:
    """What failed, an error in a fixture included; each test with its seconds."""
    (tmp_path / "test_sample.py").write_text(TESTS)
    report = tmp_path / "junit.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={report}",
        "test_sample.py",
    ]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    result = read(report, ended.returncode, 7.0)
    assert (Counts(passed=1, failed=2, skipped=1), 7.0) == (result.counts, result.seconds)
    assert {"test_good", "test_bad", "test_left_out", "test_without_its_fixture"} == {name for _, name in result.took}
    assert ("test_sample.py::test_bad", "test_sample.py::test_without_its_fixture") == result.failed


def test_a_second_run_counts_and_its_first_is_told() -> None:
    """One of two failed tests failed again: that one has failed, the other is named."""
    first = Result(Counts(passed=40, failed=2, skipped=1), 500.0, failed=("a.py::test_x", "a.py::test_y"))
    again = Result(Counts(passed=1, failed=1), 60.0, failed=("a.py::test_y",))
    both = settled(first, again)
    assert (Counts(passed=41, failed=1, skipped=1), 560.0) == (both.counts, both.seconds)
    assert (("a.py::test_x",), ("a.py::test_y",)) == (both.second, both.failed)


def test_a_second_run_that_breaks_is_no_success() -> None:
    """Its tests have not run: nothing may count as passed."""
    first = Result(Counts(passed=40, failed=1), failed=("a.py::test_x",))
    assert settled(first, Result(Counts(broken=True))).counts.broken


def test_no_report_is_a_crash(tmp_path: Path) -> None:
    """As if nothing had been tested."""
    assert Counts(broken=True) == read(tmp_path / "junit.xml", 3).counts


def test_what_takes_longest_is_summed_over_the_suites() -> None:
    """Files and tests, the longest first, as many as asked for."""
    one = Result(Counts(), took={("tests.unit.test_a", "test_x"): 1.5, ("tests.unit.test_a", "test_y"): 0.25})
    two = Result(Counts(), took={("tests.unit.test_a", "test_x"): 1.5, ("tests.unit.test_b", "test_z"): 3.5})
    assert [
        "slowest files:",
        "     3.5 s  tests.unit.test_b",
        "     3.2 s  tests.unit.test_a",
        "slowest tests:",
        "     3.5 s  tests.unit.test_b::test_z",
        "     3.0 s  tests.unit.test_a::test_x",
    ] == slowest([one, two], most=2)
    assert [] == slowest([])


def _files_of(suite: Suite) -> list[Path]:
    ignored = [ROOT / option.removeprefix("--ignore=") for option in suite.options if option.startswith("--ignore=")]
    roots = [ROOT / path for path in suite.paths]
    found = [file for root in roots for file in ([root] if root.is_file() else root.rglob("test_*.py"))]
    return [file for file in found if not any(file.is_relative_to(path) for path in ignored)]


def test_every_test_file_is_in_one_suite_of_each_environment() -> None:
    """A file that no suite has would never run, and one in two suites would run twice."""
    newest = [file for suite in ALL if suite.environment == ".venv" for file in _files_of(suite)]
    folders = ("unit", "contract", "hostile", "generated", "airflow")
    expected = [file for folder in folders for file in (ROOT / "tests" / folder).rglob("test_*.py")]
    assert sorted(expected) == sorted(newest)


def test_a_suite_without_tests_does_not_pass() -> None:
    """Its paths are probably wrong."""
    assert run(Suite("nothing", sys.prefix, ("tests/nothing",)), []).counts.broken
