"""A mistake that the text of a path shows is found when the DAG is parsed; no password gets into a path."""

from __future__ import annotations

from pathlib import Path
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
        if name == "input_path" or not path.startswith("hf://"):
            made(kind, **{name: path})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s4://bucket/a.jsonl", "no installed package reads s4://. Check the scheme of the path (did you mean s3://?)"),
        ("htps://host/a.jsonl", "no installed package reads htps://"),
        ("S3://bucket/a.jsonl", "Write 's3://bucket/a.jsonl'"),
        ("FILE:///data/a.jsonl", "Write 'file:///data/a.jsonl'"),
        ("s3:/bucket/a.jsonl", "lacks '//' after s3:"),
        (Path("s3://bucket/a.jsonl"), "a pathlib.Path makes one slash of two"),
        ("gs:bucket/a.jsonl", "lacks '//' after gs:. Write 'gs://bucket/a.jsonl'"),
        ("s3://", "names no bucket. Write 's3://BUCKET/…'"),
        ("s3:///a.jsonl", "names no bucket"),
        ("s3://my_aws@/a.jsonl", "names no bucket"),
        ("abfs:///a.jsonl", "names no container"),
        ("~/a.jsonl", "begins with '~', which only a shell replaces"),
        ("$HOME/a.jsonl", "os.path.expandvars(…)"),
        ("C:\\data\\a.jsonl", "a path of Windows"),
        ("s3://bucket/{run_id}.jsonl", "write '{{ run_id }}'"),
        ("/data/a.jsonl\n", "ends with a blank or a line break"),
    ],
)
def test_a_path_that_cannot_be_meant(path: Any, words: str) -> None:
    """By every operator that has paths, also in a list, mapped, and after rendering. The error has the value."""
    for kind, name in PATHS:
        with pytest.raises(ValueError, match=f"^{name}[= ]") as caught:
            made(kind, **{name: path})
        assert words in str(caught.value)
        assert repr(str(path))[1:-1] in str(caught.value)
        operator = made(kind, **{name: "{{ params.path }}"})
        setattr(operator, name, str(path))
        with pytest.raises(ValueError, match="after rendering"):
            check_rendered(operator)
        if name == "input_path":
            with pytest.raises(ValueError, match=r"^input_path\[1\][= ]"):
                made(kind, input_path=["a.jsonl", path])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://host/a.jsonl", "is a web address"),
        ("hf://datasets/a/b/c.jsonl", "is on the Hub"),
        ("/data/a.csv", "has a suffix that results do not support. Use .jsonl"),
        (Path("/data/a.csv"), "has a suffix that results do not support"),
        ("/data/a.jsonl/", "ends with '/', as a folder"),
        ("/data/*.jsonl", "is a pattern"),
        ("/data/.jsonl", "Write a name before it: 'results.jsonl'"),
    ],
)
def test_a_place_where_no_output_can_be(path: Any, words: str) -> None:
    """The merge of shards included. The same path may be an input."""
    for kind in (kind for kind, name in PATHS if name == "output_path"):
        with pytest.raises(ValueError, match="output_path") as caught:
            made(kind, output_path=path)
        assert words in str(caught.value)


BESIDE = [kind for kind, name in PATHS if name == "input_path"]


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("/data/a.jsonl", "/data/a.jsonl"),
        ("/data/a.jsonl", "file:///data/../data/./a.jsonl"),
        (["/data/b.jsonl", Path("/data/a.jsonl")], "/data/a.jsonl"),
        ("s3://my_aws@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("/data", "/data/a.jsonl"),
        ("/data/", "/data"),
        ("s3://bucket/in/*.jsonl", "s3://bucket/in/out.jsonl"),
        ("/data/*.errors.jsonl", "/data/out.jsonl"),
    ],
)
@pytest.mark.parametrize("kind", BESIDE)
def test_an_output_that_is_the_input(kind: Any, read: Any, written: Any) -> None:
    """The error has both paths, also where a mapped task has them in `partial`."""
    with pytest.raises(ValueError, match=r"output_path='.*' is the same as input_path='.*', or inside it"):
        made(kind, input_path=read, output_path=written)
    with pytest.raises(ValueError, match="Choose another output_path"):
        kind.partial(task_id="task", input_path=read, output_path=written)


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("/data/a.jsonl", "/data"),
        ("/data", "/data/out/"),
        ("/data", "/data/_out.jsonl"),
        ("/data/*.csv", "/data/out.jsonl"),
        ("s3://bucket/a.jsonl", "gs://bucket/a.jsonl"),
        ("s3://minio@bucket/a.jsonl", "s3://my_aws@bucket/a.jsonl"),
        ("abfs://raw@account.dfs.core.windows.net/rows", "abfs://clean@account.dfs.core.windows.net/rows"),
        ("oss://bucket/a.jsonl", "lakefs://repository/main/out.jsonl"),  # their packages are not installed here
        ("{{ params.path }}", "{{ params.path }}"),
        ("/data/{{ ds }}.jsonl", "/data/{{ ds }}.csv"),
        ("https://host/a.jsonl", "memory://a.jsonl"),
        ("hf://datasets/a/b/c.jsonl", "/data/$x/a b.jsonl"),
    ],
)
@pytest.mark.parametrize("kind", BESIDE)
def test_paths_that_may_be_meant(kind: Any, read: str, written: str) -> None:
    """An output beside its input, and whatever is known only when the task runs."""
    made(kind, input_path=read, output_path=written)
