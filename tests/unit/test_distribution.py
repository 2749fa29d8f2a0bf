"""What is uploaded: the wheel has the examples, and the source distribution has all that the tests read."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the build backend is among the tools of the newest environment")
ROOT = Path(__file__).resolve().parents[2]


def built(kind: str, folder: Path) -> Path:
    """The distribution of that kind, built by the project's own backend."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    (file,) = folder.iterdir()
    return file


def test_the_examples_are_modules_of_the_wheel(tmp_path: Path) -> None:
    """Each example is found under the package's name where the wheel is installed, with the data that it reads."""
    with zipfile.ZipFile(built("wheel", tmp_path / "built")) as wheel:
        wheel.extractall(tmp_path / "installed")
    names = sorted(path.stem for path in (ROOT / "example_dags").glob("*.py"))
    code = (
        "import importlib.util, sys;"
        "found = [importlib.util.find_spec(f'airflow_provider_hf_endpoints.example_dags.{n}') for n in sys.argv[1:]];"
        "print(*(spec.origin for spec in found), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=tmp_path / "installed", capture_output=True, text=True, check=True
    )
    folder = tmp_path / "installed" / "airflow_provider_hf_endpoints" / "example_dags"
    assert [str(folder / f"{name}.py") for name in names] == done.stdout.split()
    assert (folder / "data" / "support_tickets.jsonl").is_file()


def test_the_source_has_what_the_tests_read(tmp_path: Path) -> None:
    """Every folder and page that tests of the repository open is in the archive, and nothing that a build left."""
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"benchmarks/README.md", "dev/setup.py", "docs/index.md", "mkdocs.yml", "Makefile"} <= names
    assert {"tests/unit/test_distribution.py", "example_dags/data/support_tickets.jsonl"} <= names
    assert [] == [name for name in names if "__pycache__" in name or name.startswith(".venv")]
