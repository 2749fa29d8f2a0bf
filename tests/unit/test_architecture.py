"""The arrows between the rooms, by what their files import: each room may know only those behind it.

The emulator must not agree with the client by sharing its mistakes, and both planes must run without Airflow.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import airflow_provider_hf_endpoints
from airflow_provider_hf_endpoints import inference

pytestmark = pytest.mark.once

PACKAGE = "airflow_provider_hf_endpoints"
ROOT = Path(airflow_provider_hf_endpoints.__file__).parent

# What each room (a folder, or a file at the top of the package or of a large room) may import of ours besides itself.
# The package's own `__init__`, which holds nothing but the version, is free for all.
MAY_IMPORT: dict[str, set[str]] = {
    "_http": set(),
    "_redact": set(),
    "_money": set(),
    "_packages": set(),
    "_options": set(),
    "_airflow": set(),
    "get_provider_info": set(),
    "batch": {"command"},
    "command": {"_options", "_redact", "inference"},
    "waits": {"_redact", "endpoints"},
    "kept": set(),
    "hooks": {"_redact", "kept", "_airflow", "endpoints", "inference", "waits", "get_provider_info"},
    "fs": {"_http", "_packages", "hooks"},
    "links": {"_http", "_airflow", "endpoints", "hooks"},
    "assets": {"endpoints"},
    "leases": {"_airflow", "endpoints", "kept"},
    "ownership": {"_airflow", "endpoints", "kept", "leases"},
    "triggers": {"_http", "_airflow", "endpoints", "hooks", "kept", "waits", "links", "leases", "ownership"},
    "tables": {"_packages", "_redact", "inference"},
    "sensors": {
        *("_http", "_airflow", "endpoints", "waits", "hooks", "links", "triggers", "operators", "ownership"),
    },
    "common_ai": {"_packages", "endpoints", "hooks", "inference", "operators"},
    "lineage": {"endpoints", "inference"},
    "decorators": {"_airflow", "endpoints", "inference", "operators"},
    "task_groups": {"_airflow", "endpoints", "hooks", "inference", "operators"},
}

# --- The data plane, by floors: what all rooms stand on, the rooms in the order of a row's way, and what joins them.
GROUND = {f"inference.{name}" for name in ("wire", "errors", "fastjson", "given", "input_errors", "backoff", "stores")}
MAY_IMPORT |= {
    "inference.wire": set(),
    "inference.errors": {"_redact", "inference.wire"},
    "inference.fastjson": set(),
    "inference.given": set(),
    "inference.input_errors": set(),
    "inference.stores": {"_packages", "inference.errors", "inference.input_errors"},
    "inference.backoff": {"inference.errors", "inference.wire"},
    "inference.engines": {"_http", *GROUND},
    "inference.http": {"_http", *GROUND},
    "inference.limit": GROUND,
    "inference.inputs": {"_packages", *GROUND},
    "inference.media": {*GROUND, "_packages", "inference.inputs.lines", "inference.inputs.patterns"},
    "inference.requests": {*GROUND, "inference.engines", "inference.inputs.lines", "inference.media"},
    "inference.journal": {*GROUND, "inference.inputs.lines"},
}
_JOB = {*GROUND, "_redact", "_money", "inference.engines", "inference.inputs", "inference.requests"}
_JOB |= {"inference.http.address", "inference.media"}
_OUTPUT = {*GROUND, "_packages", "inference.inputs", "inference.journal", "inference.job"}
_SENDING = {*_JOB, "inference.http", "inference.limit", "inference.journal", "inference.job.report"}
_RUN = {*_SENDING, *(f"inference.{room}" for room in ("job", "output", "shards", "sending"))}
MAY_IMPORT |= {
    "inference.job": _JOB,
    "inference.output": _OUTPUT,
    "inference.shards": {*_OUTPUT, "inference.output"},
    "inference.sending": _SENDING,
    "inference.runs": _RUN,
    "inference.run": {*_RUN, "inference.runs"},
    # Names that users import.
    "inference.batch_errors": {"inference.input_errors", "inference.job"},
    "inference.merge": {"inference.shards"},
    "inference.shard_plan": {"inference.shards"},
    "inference.client": {*GROUND, "inference.engines", "inference.http", "inference.requests"},
    "inference.batch": {*_RUN, "inference.runs", "inference.run"},
    "inference.snapshot": {*_OUTPUT, "inference.output"},
    "inference.results": {*_OUTPUT, "inference.output"},
    "inference.__init__": {*GROUND, "inference.client"},
}

# --- The control plane.
_SAID = {
    "_http",
    "_redact",
    "_money",
    *(
        f"endpoints.{name}"
        for name in ("models", "errors", "images", "names", "spec", "spec_errors", "durations", "concealing")
    ),
}
_CLIENT = {*_SAID, *(f"endpoints.{room}" for room in ("api", "waiting", "costs", "upkeep"))}
MAY_IMPORT |= {
    "endpoints.models": {"endpoints.concealing", "endpoints.tolerant_fields"},
    "endpoints.tolerant_fields": set(),
    "endpoints.durations": set(),
    "endpoints.errors": {"_http", "_redact"},
    "endpoints.images": {"endpoints.errors"},
    "endpoints.names": {"endpoints.errors"},
    "endpoints.spec": {f"endpoints.{name}" for name in ("errors", "images", "models", "names", "spec_errors")},
    "endpoints.spec_errors": set(),
    "endpoints.api": _SAID,
    "endpoints.costs": {*_SAID, "endpoints.api"},
    "endpoints.upkeep": {*_SAID, "endpoints.api", "endpoints.costs"},
    "endpoints.waiting": {*_SAID, "endpoints.api"},
    "endpoints.async_client": _CLIENT,
    "endpoints.client": {*_CLIENT, "endpoints.async_client"},
    "endpoints.concealing": {"_redact"},
    "endpoints.health_checks": {*_CLIENT, "endpoints.async_client", "endpoints.client"},
    "endpoints.poller": {*_CLIENT, "endpoints.async_client", "endpoints.client", "endpoints.health_checks"},
    "endpoints.__init__": set(),
}

# --- The emulator.
_SMALL = {f"emulator.{name}" for name in ("errors", "http", "settings", "faults", "recorded")}
_APP = {*_SMALL, *(f"emulator.{room}" for room in ("service", "engines", "control", "proxy"))}
MAY_IMPORT |= {
    "emulator.errors": set(),
    "emulator.settings": set(),
    "emulator.faults": set(),
    "emulator.recorded": set(),
    "emulator.http": {"emulator.errors"},
    "emulator.service": {*_SMALL, "endpoints.models"},
    "emulator.engines": {*_SMALL, "emulator.service"},
    "emulator.control": {*_SMALL, "emulator.service"},
    "emulator.proxy": {*_SMALL, "emulator.service", "emulator.engines", "emulator.control"},
    "emulator.app": _APP,
    "emulator.http_server": set(),
    "emulator.ready_made": set(),
    "emulator.server": {*_APP, "emulator.app", "emulator.http_server", "emulator.ready_made"},
    "emulator.__main__": {"_options", "emulator.server", "emulator.settings"},
    "emulator.__init__": {*_SMALL, "emulator.service", "emulator.server"},
}
# --- The operators.
_AIRFLOW = {"_redact", "_money", "_airflow", "endpoints", "waits", "hooks", "links", "triggers"}
_AIRFLOW |= {"assets", "leases", "kept"}
_COMMON = {*_AIRFLOW, "ownership", "inference", "operators.checking", "operators.common"}
MAY_IMPORT |= {
    # The names of tasks, and the endings of results files.
    "operators.checking": {"_airflow", "_redact", "_packages", "endpoints", "inference.engines", "inference.job"},
    "operators.common": _COMMON - {"operators.common"},
    "operators.changing": _COMMON,
    "operators.using": _COMMON,
    "operators.starting": {*_COMMON, "operators.using"},
    "operators.requesting": {*_COMMON, "lineage", "operators.using", "_packages", "tables"},
    # Names that users import.
    "operators.endpoints": {"operators.common", "operators.changing", "operators.starting"},
    "operators.inference": {"operators.requesting"},
    "operators.sweep": _COMMON,
    "operators.approval": _COMMON,
    "operators.__init__": set(),
}
#: Classes that each plane has, because neither knows the other.
IN_BOTH_PLANES = {"Transport", "EndpointFailedError", "AuthenticationError", "PermissionDeniedError"}
IN_BOTH_PLANES |= {"PaymentRequiredError", "BadRequestError"}
#: Large rooms, whose own rooms and files have a line each.
DIVIDED = ("inference", "endpoints", "emulator", "operators")
MOST_FILES = 14  # in a folder, its `__init__` not counted; a dozen is what a reader can take in
WITHOUT_AIRFLOW = {"_http", "_redact", "_money", "_packages", "get_provider_info"}
WITHOUT_AIRFLOW |= {"endpoints", "inference", "batch", "command", "emulator", "waits"}
#: Files that import by a name that the code makes, and only from their own room: see `test_imports_can_be_read`.
BY_NAME = {"inference/__init__.py", "inference/inputs/read.py"}
#: Words by which a folder's docstring says what does not belong there.
NOT_HERE = re.compile(r"\b(No|Nothing|no|not|nothing|never|elsewhere|[Tt]he callers|except)\b|\b(is|are) (in|above)\b")
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
THIN |= {"decorators", "common_ai", "lineage", "tables"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def top_of(path: Path) -> str:
    """The room of the package in which a file is: its first folder, or its own name at the top."""
    inside = path.relative_to(ROOT)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def room_of(path: Path) -> str:
    """The same, and in a large room which of its rooms or files."""
    inside = path.relative_to(ROOT)
    if inside.parts[0] not in DIVIDED:
        return top_of(path)
    return f"{inside.parts[0]}.{Path(inside.parts[1]).stem}"


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, at the top, in functions and for type checkers, by its full name."""
    here = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = ".".join([*here[: len(here) - level], *([module] if module else [])]) if level else module or ""
                # `from package import name`: the name may be a module.
                yield from (f"{base}.{each.name}" for each in names)


def named_by_text(path: Path) -> Iterator[str]:
    """Modules of ours, and what is in them, that a text of the file names, as Airflow is told of a trigger's class."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Constant(value=str(text)) if re.fullmatch(rf"{PACKAGE}(\.\w+)+", text):
                yield text


@cache
def ours(name: str) -> str | None:
    """The part of a module's name behind the package's, None for what is not ours or the package itself."""
    if not name.startswith(f"{PACKAGE}."):
        return None
    rest = name.removeprefix(f"{PACKAGE}.")
    return None if rest.startswith("__") else rest


def allowed(inside: str, room: str) -> bool:
    return any(inside == each or inside.startswith(f"{each}.") for each in {room, *MAY_IMPORT[room]})


@cache
def file_of(module: str) -> Path | None:
    """The file of ours that an imported name is in: a module, or a folder's `__init__`."""
    parts = module.split(".")
    while parts:
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
        parts = parts[:-1]
    return None


def files_behind(path: Path) -> set[Path]:
    """The files of ours that a file imports."""
    found = {file_of(inside) for name in imports(path) if (inside := ours(name))}
    return {each for each in found if each is not None and each != path}


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
    names = [*imports(path), *named_by_text(path)]
    assert [name for name in names if (inside := ours(name)) and not allowed(inside, room)] == []


@pytest.mark.parametrize("path", sources(), ids=identify)
def test_imports_can_be_read(path: Path) -> None:
    """No import escapes the tests of this file: none has a name that the code makes, but for two in their own room."""
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    called = {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in calls}
    found = called & {"import_module", "__import__", "exec_module", "import_string", "run_module", "run_path"}
    assert ({"import_module"} if identify(path) in BY_NAME else set()) == found


@pytest.mark.parametrize("path", sources(), ids=identify)
def test_what_another_file_needs_is_not_private(path: Path) -> None:
    """No name with an underscore is imported from another file, and no module with one from another folder, but the
    leaves at the top of the package."""
    for inside in filter(None, map(ours, imports(path))):
        file = file_of(inside)
        assert file is not None
        module = file.relative_to(ROOT).with_suffix("").parts
        names = inside.split(".")[len(module) - (module[-1] == "__init__") :]
        assert [] == [name for name in names if name.startswith("_") and not name.startswith("__")], inside
        assert file.parent in (ROOT, path.parent) or file.stem == "__init__" or not file.stem.startswith("_"), inside


def circle_in(arrows: dict[str, set[str]]) -> list[str] | None:
    """The nodes of a circle; None without a circle."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_rooms_stand_in_no_circle() -> None:
    """What rooms may import leads down: the table above allows no two of them to need each other, by any detour."""
    # A large room as a whole is all of its own.
    large = {name: {room for room in MAY_IMPORT if room.startswith(f"{name}.")} for name in DIVIDED}
    # A single file of a room, which a line may name, knows what its room may know.
    named = {name for line in MAY_IMPORT.values() for name in line} - MAY_IMPORT.keys() - large.keys()
    single = {name: {name.rpartition(".")[0]} for name in named}
    assert None is circle_in({**large, **single, **MAY_IMPORT})


def test_files_stand_in_no_circle() -> None:
    """No two files import each other, by any detour, for type checkers included."""
    arrows = {identify(path): {identify(each) for each in files_behind(path)} for path in sources()}
    assert None is circle_in(arrows)


@pytest.mark.parametrize("folder", sorted({path.parent for path in sources()}), ids=identify)
def test_folders_are_small_and_say_what_they_hold(folder: Path) -> None:
    """A folder has at most a dozen files or two more, and its `__init__` says what belongs there and what does not."""
    files = [path for path in folder.glob("*.py") if path.stem != "__init__"]
    assert len(files) <= MOST_FILES, f"{folder.relative_to(ROOT)} has {len(files)} files: find rooms for them"
    said = ast.get_docstring(tree(folder / "__init__.py"))
    assert said
    assert NOT_HERE.search(said), f"{identify(folder)}/__init__.py: say what does not belong here, and where it is"


def test_two_classes_have_no_name_in_common() -> None:
    """A name means one class. Both planes have the same errors, and the emulator the service's names, by intention."""
    found: dict[str, list[str]] = {}
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(room_of(path))
    twins = {name: [room for room in rooms if not room.startswith("emulator")] for name, rooms in found.items()}
    assert {} == {name: rooms for name, rooms in twins.items() if len(rooms) > 1 and name not in IN_BOTH_PLANES}


def test_every_line_of_the_table_is_of_a_room_that_is_there() -> None:
    """The table names rooms and files that exist, so that it can't pass by being out of date."""
    assert {room_of(path) for path in sources()} - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", sources(), ids=identify)
def test_both_planes_know_nothing_of_airflow(path: Path) -> None:
    """Control plane, data plane, emulator and what decides purely import no Airflow, not even in a function."""
    if top_of(path) in WITHOUT_AIRFLOW or identify(path) in PURE_FILES:
        assert [name for name in imports(path) if name.split(".")[0] == "airflow"] == []


@pytest.mark.parametrize("path", [path for path in sources() if top_of(path) in THIN], ids=identify)
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


def test_a_batch_imports_nothing_that_it_may_not_need() -> None:
    """Starting a batch, over TLS too, loads no HTTP library with its command-line tool, nothing for schemas, Parquet,
    single calls."""
    libraries = {"httpx", "httpx._main", "rich", "click", "jsonschema", "pydantic", "pyarrow"}
    code = f"import sys, {PACKAGE}.inference.batch; from {PACKAGE}.inference.http.streams import StreamsTransport; "
    code += "StreamsTransport('https://127.0.0.1', {}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set() == {*libraries, f"{PACKAGE}.inference.client"} & set(result.stdout.split())


def test_public_names_of_the_data_plane_are_there() -> None:
    """The package's names are loaded when they are asked for, and a name that it does not have is an error."""
    assert {*inference.__all__} <= {*dir(inference)}
    assert {*inference.__all__} == {getattr(inference, name).__name__ for name in inference.__all__}
    with pytest.raises(AttributeError, match="no attribute 'Client'"):
        _ = inference.Client
