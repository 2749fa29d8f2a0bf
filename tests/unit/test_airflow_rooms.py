"""The arrows between the rooms of `operators/`, circles in the whole package, and Airflow's private API in one file."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.test_architecture import ROOT, identify, imports, ours, sources

OPERATORS = ROOT / "operators"
MOST_FILES = 14

# What each room of `operators/` may import of the others. The files at the top are the public names, and may all.
MAY_IMPORT: dict[str, set[str]] = {
    "common": set(),
    "changing": {"common"},
    "using": {"common"},
    "starting": {"common", "using"},
    "requesting": {"common", "using"},
}

# Airflow's public API, as far as this package uses it; the rest is private, and stands behind `_airflow.py`.
PUBLIC = (
    "airflow.sdk",
    "airflow.providers.common.compat",
    "airflow.providers.standard.operators.hitl",
    "airflow.triggers.base",
)
# Of `airflow.sdk` only what it lists itself is public.
PRIVATE = ("airflow.sdk.execution_time", "airflow.sdk.definitions", "airflow.sdk.exceptions", "airflow.sdk.bases")
PRIVATE_NAMES = ("RuntimeTaskInstance", "SUPERVISOR_COMMS", "AssetNameRef", "AssetUriRef", "__fail__", "_by_name")


@pytest.mark.parametrize("path", [path for path in sources() if OPERATORS in path.parents], ids=identify)
def test_arrows_in_operators_point_one_way(path: Path) -> None:
    """A room of `operators/` knows only those below it, and none of the public names above."""
    if path.parent == OPERATORS:
        return
    room = path.parent.name
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may know"
    inside = [found for name in imports(path) if (found := ours(name)) and found.startswith("operators.")]
    rooms = {each.split(".")[1] for each in inside}
    assert set() == rooms - {room} - MAY_IMPORT[room]


def test_every_room_of_operators_says_what_belongs_there() -> None:
    """Each has at most a dozen files or two more, and a docstring that says what it holds."""
    for room in MAY_IMPORT:
        files = [each for each in (OPERATORS / room).glob("*.py") if each.stem != "__init__"]
        assert 0 < len(files) <= MOST_FILES
        assert ast.get_docstring(ast.parse((OPERATORS / room / "__init__.py").read_text(encoding="utf-8")))


def file_of(module: str) -> Path | None:
    """The file of ours that an imported name is in."""
    parts = module.split(".")
    while parts:
        path = ROOT.joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
        parts.pop()
    return None


def test_no_files_import_each_other() -> None:
    """In the whole package no two files need each other, by any detour, for type checkers included."""
    arrows = {
        path: {found for name in imports(path) if (inside := ours(name)) and (found := file_of(inside)) != path}
        for path in sources()
    }
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(identify(each) for each in error.args[1]))


def is_below(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in modules)


@pytest.mark.parametrize("path", sources(), ids=identify)
def test_airflow_s_private_api_stands_in_one_file(path: Path) -> None:
    """A new Airflow means a look at `_airflow.py`, and at nothing else."""
    if identify(path) == "_airflow.py":
        return
    airflow = [name for name in imports(path) if name.split(".")[0] == "airflow"]
    assert [] == [name for name in airflow if not is_below(name, PUBLIC) or is_below(name, PRIVATE)]
    text = path.read_text(encoding="utf-8")
    assert [] == [name for name in PRIVATE_NAMES if f"{name}(" in text or f".{name}" in text or f'"{name}"' in text]
