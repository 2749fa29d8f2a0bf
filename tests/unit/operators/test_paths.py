"""No password gets into the path of a batch, which Airflow stores and shows."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered
from tests.unit.operators.test_arguments import OPERATORS, annotated, made

SECRET = "wJalr/XUtnFEMI4711"
PATHS = [(kind, name) for kind in OPERATORS for name in ("input_path", "output_path") if name in annotated(kind)]


@pytest.mark.parametrize(("kind", "name"), PATHS)
@pytest.mark.parametrize("user", ["key", "AKIAIOSFODNN7EXAMPLE", ""])
def test_a_password_in_a_path_is_refused_and_not_shown(kind: Any, name: str, user: str) -> None:
    """By every operator that has paths, also mapped, and where a template puts the password in."""
    path = f"s3://{user}:{SECRET}@bucket/rows.jsonl"
    with pytest.raises(ValueError, match=rf"{name}='s3://\*\*\*@bucket/rows\.jsonl' contains a password") as caught:
        made(kind, **{name: path})
    needed = {each: getattr(made(kind), each) for each in annotated(kind) if each in ("endpoint", "task")}
    partial = kind.partial(task_id="task", **needed)
    with pytest.raises(ValueError, match=rf"expand\({name}=…\), element 1: {name}='s3://\*\*\*@"):
        partial.expand(**{name: ["in.jsonl", path]})
    operator = made(kind, **{name: "s3://{{ conn.lake.login }}@bucket/rows.jsonl"})
    setattr(operator, name, path)
    with pytest.raises(ValueError, match="contains a password"):
        check_rendered(operator)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind, name in PATHS if name == "input_path"])
def test_a_password_in_a_list_of_paths_is_refused(kind: Any) -> None:
    """With its place in the list."""
    with pytest.raises(ValueError, match=r"input_path\[1\]='s3://\*\*\*@bucket/b' contains a password"):
        made(kind, input_path=["a.jsonl", f"s3://key:{SECRET}@bucket/b"])


@pytest.mark.parametrize(
    "path", ["s3://conn_id@bucket/a", "s3://bucket/token=abc/a:b@c", "/data/secret=1/a", "hf://datasets/a@refs/pr:1/b"]
)
def test_other_paths_pass(path: str) -> None:
    """A connection's id, and names that only look like more."""
    for kind, name in PATHS:
        made(kind, **{name: path})
