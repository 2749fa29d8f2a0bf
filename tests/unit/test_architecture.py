"""The arrows between the rooms, by what their files import: each room may know only those behind it.

The emulator must not agree with the client by sharing its mistakes, and both planes must run without Airflow.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_hf_endpoints

PACKAGE = "airflow_provider_hf_endpoints"
ROOT = Path(airflow_provider_hf_endpoints.__file__).parent

# What each room (a folder, or a file at the top) may import of ours besides itself. The package's own `__init__`,
# which holds nothing but the version, is free for all.
MAY_IMPORT: dict[str, set[str]] = {
    "_http": set(),
    "_airflow": set(),
    "get_provider_info": set(),
    "endpoints": {"_http"},
    "inference": {"_http"},
    "batch": {"inference"},
    "emulator": {"endpoints.models"},
    "waits": {"_http", "endpoints"},
    "kept": set(),
    "hooks": {"_http", "kept", "_airflow", "endpoints", "inference", "waits", "get_provider_info"},
    "fs": {"_http", "hooks"},
    "links": {"_http", "_airflow", "endpoints", "hooks"},
    "assets": {"endpoints"},
    "leases": {"endpoints", "kept"},
    "triggers": {"_http", "_airflow", "endpoints", "hooks", "waits", "links", "leases"},
    "operators": {
        *(
            "_http",
            "_airflow",
            "endpoints",
            "inference",
            "waits",
            "hooks",
            "links",
            "triggers",
            "assets",
            "leases",
            "kept",
        ),
    },
    "sensors": {"_http", "_airflow", "endpoints", "waits", "hooks", "links", "triggers", "operators"},
    "task_groups": {"endpoints", "hooks", "operators"},
}
WITHOUT_AIRFLOW = {"_http", "get_provider_info", "endpoints", "inference", "batch", "emulator", "waits"}
# Files of the Airflow rooms whose docstring promises that they import no Airflow either.
PURE_FILES = {
    "leases/records.py",
    "leases/protocol.py",
    "hooks/connection.py",
    "hooks/handle.py",
    "hooks/diagnosis.py",
    "hooks/form.py",
}
# Airflow rooms are thin: they speak HTTP and retry through the two clients only.
HTTP = {"httpx", "requests", "aiohttp", "urllib3", "urllib.request", "http.client", "tenacity", "socket"}
THIN = {"hooks", "leases", "links", "assets", "triggers", "operators", "sensors", "task_groups", "waits", "kept"}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room of a file: its folder, or its own name at the top."""
    inside = path.relative_to(ROOT)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, at the top, in functions and for type checkers, by its full name."""
    here = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = ".".join([*here[: len(here) - level], *([module] if module else [])]) if level else module or ""
                # `from package import name`: the name may be a module.
                yield from (f"{base}.{each.name}" for each in names)


def ours(name: str) -> str | None:
    """The part of a module's name behind the package's, None for what is not ours or the package itself."""
    if not name.startswith(f"{PACKAGE}."):
        return None
    rest = name.removeprefix(f"{PACKAGE}.")
    return None if rest.startswith("__") else rest


def allowed(inside: str, room: str) -> bool:
    return any(inside == each or inside.startswith(f"{each}.") for each in {room, *MAY_IMPORT[room]})


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(), ids=identify)
def test_arrows_point_one_way(path: Path) -> None:
    """A file imports of ours only what its room may know."""
    room = room_of(path)
    if room == "__init__":
        assert [name for name in imports(path) if ours(name)] == []
        return
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may know"
    assert [name for name in imports(path) if (inside := ours(name)) and not allowed(inside, room)] == []


@pytest.mark.parametrize("path", sources(), ids=identify)
def test_both_planes_know_nothing_of_airflow(path: Path) -> None:
    """Control plane, data plane, emulator and what decides purely import no Airflow, not even in a function."""
    if room_of(path) in WITHOUT_AIRFLOW or identify(path) in PURE_FILES:
        assert [name for name in imports(path) if name.split(".")[0] == "airflow"] == []


@pytest.mark.parametrize("path", [path for path in sources() if room_of(path) in THIN], ids=identify)
def test_airflow_rooms_are_thin(path: Path) -> None:
    """Operators, hooks and their like send no request themselves."""
    found = [name for name in imports(path) if any(name == each or name.startswith(f"{each}.") for each in HTTP)]
    assert found == []


def test_the_pure_files_are_there() -> None:
    """The list above names files that exist, so that it can't pass by being out of date."""
    assert {identify(path) for path in sources()} >= PURE_FILES


@pytest.mark.parametrize("module", ["endpoints.client", "inference.client", "inference.batch", "hooks.handle"])
def test_it_runs_without_airflow(module: str) -> None:
    """Importing a plane brings no Airflow into the process, by no detour."""
    code = f"import sys, {PACKAGE}.{module}; print('airflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"
