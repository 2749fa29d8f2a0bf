"""All uses of Airflow beside its public API are in one file, so that a new Airflow means one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_architecture import identify, imports, sources

#: Airflow's public API, as far as this package uses it.
PUBLIC = (
    "airflow.sdk",
    "airflow.providers.common.compat",
    "airflow.providers.common.ai.hooks",
    "airflow.providers.openlineage.extractors",
    "airflow.providers.common.sql.hooks.sql",  # the base of all hooks of databases
    "airflow.providers.standard.operators.hitl",
    "airflow.triggers.base",
)
#: Of `airflow.sdk` only what it lists itself is public.
PRIVATE = (
    "airflow.sdk.api",
    "airflow.sdk.bases",
    "airflow.sdk.definitions",
    "airflow.sdk.exceptions",
    "airflow.sdk.execution_time",
    "airflow.sdk.log",
)
#: Names that reach behind it without an import.
NAMES = (
    *("RuntimeTaskInstance", "SUPERVISOR_COMMS", "AssetNameRef", "AssetUriRef", "__fail__", "_by_name"),
    *("partial_kwargs", "expand_input", "_expand_called", "_BaseOperator__from_mapped"),
)
#: States of a task that only Airflow gives: sets of states stand in one file, too.
STATES = ("upstream_failed",)


def is_below(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in modules)


@pytest.mark.parametrize("path", [each for each in sources() if identify(each) != "_airflow.py"], ids=identify)
def test_the_private_api_stands_in_one_file(path: Path) -> None:
    """No other file imports a private module of Airflow, calls what is behind it by name, or lists its states."""
    airflow = [name for name in imports(path) if name.split(".")[0] == "airflow"]
    assert [] == [name for name in airflow if not is_below(name, PUBLIC) or is_below(name, PRIVATE)]
    code = [line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    used = [name for name in NAMES for line in code if f"{name}(" in line or f'"{name}"' in line or f".{name}" in line]
    assert [] == used
    assert [] == [state for state in STATES for line in code if f'"{state}"' in line]
    assert [] == [line for line in code if "XCom." in line and "(" in line.partition("XCom.")[2]]
