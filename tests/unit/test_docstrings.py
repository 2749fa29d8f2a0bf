"""The parameters that docstrings name exist: the pages of the API are made of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "airflow_provider_hf_endpoints"
Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(node: Documented) -> set[str]:
    """The names after `:param`, of which one line may have several."""
    found = re.findall(r"^:param ([^:]+):", ast.get_docstring(node) or "", re.MULTILINE)
    return {name.strip() for names in found for name in names.split(",")}


def arguments(node: Documented) -> set[str] | None:
    """What it takes; None for a class that takes what its base takes."""
    if not isinstance(node, ast.ClassDef):
        given = node.args
        extra = [each for each in (given.vararg, given.kwarg) if each is not None]
        return {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, *extra)}
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return arguments(each)
    fields = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return None if node.bases or not fields else fields


def strangers(root: Path) -> Iterator[str]:
    """Documented parameters that are not there."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Documented) and (taken := arguments(node)) is not None:
                yield from (f"{path.relative_to(root)}: {node.name}: {each}" for each in documented(node) - taken)


def test_every_documented_parameter_exists() -> None:
    """A parameter of a base class is documented there, or is an argument here, too."""
    assert [] == list(strangers(PACKAGE))


def test_a_documented_parameter_that_does_not_exist_is_found(tmp_path: Path) -> None:
    """So that the test above cannot pass by looking at nothing."""
    (tmp_path / "one.py").write_text(
        'class A(B):\n    """A.\n\n    :param a, b: two\n    """\n    def __init__(self, a): ...\n'
    )
    assert ["one.py: A: b"] == list(strangers(tmp_path))
