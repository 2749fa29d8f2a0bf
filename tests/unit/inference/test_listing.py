"""A folder as an input: which files are rows, in which order, with what; the same on a disk and on stores."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.check import check_rows
from airflow_provider_hf_endpoints.inference.inputs.files import Input, find_input
from airflow_provider_hf_endpoints.inference.inputs.read import count_lines, read_lines
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.inputs.versions import RowsDigest
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch, read_plan

pytestmark = pytest.mark.once
TREE = ("b.png", "a.png", "a/2.png", "a/1.jpg", "a-b/x.png", "_SUCCESS", ".hidden", "a/_tmp/y.png", "c/d/e.png")


def rows(source: Input) -> list[dict[str, Any]]:
    return [json.loads(line.raw) for line in read_lines(source)]


def names(*entries: Any) -> list[str]:
    return [row["name"] for row in rows(find_input(list(entries), "files"))]


@pytest.fixture(scope="module")
def bucket() -> Iterator[UPath]:
    from tests.contract.s3_server import s3_server  # needs moto, which the oldest Airflow's environment lacks

    with s3_server() as server:
        yield server.folder


@pytest.fixture(params=["disk", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """The tree, on each kind of store."""
    base = {"disk": lambda: UPath(tmp_path), "memory": lambda: UPath(f"memory://{tmp_path.name}")}.get(request.param)
    root = base() / "in" if base else request.getfixturevalue("bucket") / tmp_path.name / "in"
    for name in TREE:
        path = root / name
        if request.param != "s3":
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.png", "b.png"]),
        ("*.png", ["a.png", "b.png"]),
        ("b*", ["b.png"]),
        ("a/*", ["1.jpg", "2.png"]),
        ("*/*.png", ["a-b/x.png", "a/2.png"]),
        ("**/*.png", ["a-b/x.png", "a.png", "a/2.png", "b.png", "c/d/e.png"]),
        ("**/e.*", ["c/d/e.png"]),
        ("nothing-*", []),
    ],
)
def test_files_are_rows_in_one_order(folder: UPath, pattern: str, expected: list[str]) -> None:
    """The order of the paths as text, on every store; hidden names are left out, and so are folders not asked for."""
    assert expected == names(folder / pattern if pattern else folder)


def test_a_row_has_what_tells_the_file(folder: UPath) -> None:
    """Its path, which can be opened again, its size, and a version that changes with the content."""
    [row] = rows(find_input(folder / "b*", "files"))
    assert {"path", "name", "size", "version"} == set(row)
    assert (str(folder / "b.png"), 5, b"b.png") == (row["path"], row["size"], (folder / row["name"]).read_bytes())
    (folder / "b.png").write_bytes(b"other content")
    [again] = rows(find_input(folder / "b*", "files"))
    assert (13, False) == (again["size"], again["version"] == row["version"])


def test_a_file_that_two_entries_name_is_one_row(folder: UPath) -> None:
    """At the first of them. A single file is an entry, too."""
    assert ["a.png", "b.png", "a-b/x.png", "a/2.png", "c/d/e.png"] == names(folder, folder / "**/*.png")
    assert ["a.png", "b.png"] == names(folder / "a.png", folder)


def test_parts_of_a_folder_have_every_file_once(folder: UPath, tmp_path: Path) -> None:
    """A shard reads a range of the files. One more file is a change that the plan sees."""
    given = folder / "**/*.png"
    plan_batch(given, tmp_path / "out", shards=3, input_format="files")
    plan = read_plan(OutputLayout.of(tmp_path / "out"))
    assert plan is not None
    source = find_input(given, "files")
    found = []
    for pieces in plan.shards:
        part = tuple(replace(source.files[0], start=piece.start, end=piece.end) for piece in pieces)
        found.append([row["name"] for row in rows(replace(source, files=part))])
    assert 3 == len(found)
    assert names(given) == [name for part in found for name in part]
    with pytest.raises(ValueError, match="bytes_per_shard=5 does not apply"):
        plan_batch(given, tmp_path / "out", bytes_per_shard=5, input_format="files")


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    """A missing folder is an error; a folder without a file is an empty input."""
    with pytest.raises(BatchInputError, match=r"input folder .*/no does not exist"):
        names(tmp_path / "no")
    with pytest.raises(BatchInputError, match=r"in/\*\*x is not valid"):
        names(tmp_path / "in/**x")
    with pytest.raises(BatchInputError, match=f"input {tmp_path} contains no file"):
        check_rows(find_input(tmp_path, "files"), ["path"], stop_on_bad=False, may_be_empty=False)


def test_the_output_is_not_written_among_the_files(tmp_path: Path) -> None:
    """A later run would send it."""
    (tmp_path / "a.png").write_bytes(b"a")
    with pytest.raises(BatchInputError, match="is inside input_path"):
        find_input(tmp_path, "files").refuse_output(UPath(tmp_path / "out.jsonl"))
    find_input(tmp_path, "files").refuse_output(UPath(tmp_path / "out/results-00000.jsonl"))


def test_a_link_to_nothing_is_a_row(tmp_path: Path) -> None:
    """Its size is unknown; the row is an error when the file is read, and not missing from the output."""
    os.symlink(tmp_path / "gone.png", tmp_path / "a.png")
    assert [("a.png", None)] == [(row["name"], row["size"]) for row in rows(find_input(tmp_path, "files"))]


def test_a_name_that_is_not_utf8_leads_to_its_file(tmp_path: Path) -> None:
    """The path in the row opens the file."""
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"odd")
    [row] = rows(find_input(tmp_path, "files"))
    assert b"odd" == Path(row["path"]).read_bytes()


def test_folders_are_not_followed_in_a_circle(tmp_path: Path) -> None:
    """`**` does not go through links to folders."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"1")
    os.symlink(tmp_path, tmp_path / "a/back")
    assert ["a/1.png"] == names(tmp_path / "**/*")


NAMES = st.sets(st.text(st.sampled_from("ab-./0é"), min_size=1, max_size=4), max_size=12)


@given(given=NAMES)
def test_a_disk_lists_as_a_store_of_keys(tmp_path_factory: pytest.TempPathFactory, given: set[str]) -> None:
    """The order is that of the keys, so that a batch that moves to S3 has its rows at the same places."""
    root = tmp_path_factory.mktemp("in")
    for name in given:
        path = root / name.strip("./")
        if name.strip("./") and "//" not in name and "./" not in name:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
            except OSError:
                continue  # another name is its folder
    found = names(root / "**/*")
    assert sorted(found) == found
    assert len(found) == count_lines(find_input(root / "**/*", "files"))


def test_a_listing_that_is_begun_again_must_be_the_same(tmp_path: Path) -> None:
    """After a failure of the store, the files before the position are compared: none may be missing or doubled."""
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(b"x")
    source = find_input(tmp_path, "files")
    lines = LineSource(source)
    try:
        lines._lines = iter(list(read_lines(source))[:10])
        assert 10 == lines._next_block()[1]
        assert [f"{number:02}.png" for number in range(10, 20)] == [
            json.loads(line.raw)["name"] for line in lines._opened_again()
        ]
        (tmp_path / "05.png").unlink()
        with pytest.raises(BatchInputError, match="were changed while the batch listed them"):
            lines._opened_again()
    finally:
        lines._lines = read_lines(source)
        lines.close()


def test_digests_do_not_depend_on_how_rows_are_divided() -> None:
    """They count the rows, too."""
    digest = RowsDigest()
    digest.add_all(iter(()))
    assert 0 == digest.rows
