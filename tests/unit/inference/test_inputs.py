"""Which files an input is, in which order, and their rows one after the other."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError
from airflow_provider_hf_endpoints.inference.inputs import unpack
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile, find_input
from airflow_provider_hf_endpoints.inference.inputs.formats import FILES, SUFFIXES, InputFormat, format_of
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import refusal
from airflow_provider_hf_endpoints.inference.inputs.lines import parse_line
from airflow_provider_hf_endpoints.inference.inputs.read import count_lines, read_lines
from airflow_provider_hf_endpoints.inference.inputs.readers import jsonl
from airflow_provider_hf_endpoints.inference.job.identity import differences
from tests.nobody import as_nobody, open_folder


def make(folder: Path, *names: str, content: str = "{}\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def names_of(source: Input) -> list[str]:
    return [file.name for file in source.files]


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """A folder of files on a disk, and on a file system that is not a disk."""
    names = ("b.jsonl", "a.csv", "c.ndjson.gz", ".hidden.jsonl", "_SUCCESS", "sub/d.jsonl", "sub/_x/e.jsonl")
    folder = UPath(tmp_path) if request.param == "local" else UPath(f"memory://{tmp_path.name}/data")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")
    return folder


def test_a_folder_means_its_files_by_name(base: UPath) -> None:
    """Neither what is hidden nor what is deeper; each file's format by its name."""
    source = find_input(base)
    assert ["a.csv", "b.jsonl", "c.ndjson.gz"] == names_of(source)
    assert [("csv", ""), ("jsonl", ""), ("jsonl", ".gz")] == [(file.format.name, file.packing) for file in source.files]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["b.jsonl"]),
        ("?.*", ["a.csv", "b.jsonl", "c.ndjson.gz"]),
        ("[ab].*", ["a.csv", "b.jsonl"]),
        ("**/*.jsonl", ["b.jsonl", "sub/d.jsonl"]),
        ("s*/*.jsonl", ["sub/d.jsonl"]),
        (".hid*", [".hidden.jsonl"]),
    ],
)
def test_a_pattern_means_what_it_fits(base: UPath, pattern: str, expected: list[str]) -> None:
    """Sorted by name; hidden files where the pattern asks for them."""
    source = find_input(base / pattern)
    assert expected == names_of(source)
    assert ["{}"] == (base / expected[0]).read_text().split()


def test_a_list_keeps_its_order(base: UPath) -> None:
    """An entry may be a file, a pattern or a folder."""
    source = find_input([base / "b.jsonl", str(base / "sub"), base / "[ac]*"])
    assert ["b.jsonl", "d.jsonl", "a.csv", "c.ndjson.gz"] == names_of(source)


def test_a_relative_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes from where the process stands, and keeps the name that it was given."""
    make(tmp_path, "data/b.jsonl", "data/a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert ["data/a.jsonl", "data/b.jsonl"] == find_input("data/*.jsonl").names


def test_signs_of_a_pattern_in_a_file_that_is_there(tmp_path: Path) -> None:
    """The file is meant."""
    make(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert str(tmp_path / "a[1].jsonl") == find_input(tmp_path / "a[1].jsonl").names


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "empty list"),
        ("{}/*.parq", "matches no file"),
        ("{}/nowhere/*.jsonl", "matches no file"),
        ("{}/empty", "contains no input file"),
        (["{}/a.jsonl", "{}/b.jsonl"], "b.jsonl does not exist"),
        (["{}/a.jsonl", "{}/*.jsonl"], "twice"),
        ("{}/docs", "README.md has no known suffix"),
        ("{}/docs/*", "README.md has no known suffix"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, given: str | list[str], words: str) -> None:
    """The error names the path."""
    make(tmp_path, "a.jsonl", "docs/README.md", "empty/_x")
    paths = [each.format(tmp_path) for each in given] if isinstance(given, list) else given.format(tmp_path)
    with pytest.raises(BatchInputError, match=words):
        find_input(paths)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "dots"])
def test_one_file_by_two_paths_is_refused(tmp_path: Path, kind: str) -> None:
    """Its rows would be done twice, under other places."""
    make(tmp_path, "in/a.jsonl", "in/sub/c.jsonl")
    other = tmp_path / "in" / "b.jsonl"
    if kind == "symlink":
        other.symlink_to(tmp_path / "in" / "a.jsonl")
    elif kind == "hardlink":
        other.hardlink_to(tmp_path / "in" / "a.jsonl")
    given = f"{tmp_path}/in/sub/../a.jsonl" if kind == "dots" else other
    with pytest.raises(BatchInputError, match=r"a\.jsonl.* twice|twice.*a\.jsonl"):
        find_input([tmp_path / "in" / "a.jsonl", given])


@pytest.mark.parametrize("text", ["\n\n\n", "{}\n\n\n{}\n", "{}\r\n\r\n{}", " \n{}\n\t\n", "\ufeff\n{}\n", "\n{}"])
def test_blank_lines_are_not_counted(tmp_path: Path, text: str) -> None:
    """The rows that a budget reckons with are those that are read."""
    (tmp_path / "in.jsonl").write_bytes(text.encode())
    source = find_input(tmp_path / "in.jsonl")
    assert len(list(read_lines(source))) == count_lines(source)


def test_every_format_that_may_be_set_is_one() -> None:
    """The names that a job may give, and the table of formats, are the same; another is refused with them."""
    for name in get_args(InputFormat):
        assert (name == "auto") == (format_of("", name) is None)
    named = {format_of("", name) for name in get_args(InputFormat)} - {None}
    assert {format_of(suffix, "auto") for suffix in SUFFIXES} == named - {FILES}
    with pytest.raises(ValueError, match="Use one of auto, jsonl"):
        format_of("", "xlsx")  # type: ignore[arg-type]


def test_a_format_that_is_set_holds_for_every_file(tmp_path: Path) -> None:
    """Then a name need not tell."""
    make(tmp_path, "part-0", "part-1")
    assert {"csv"} == {file.format.name for file in find_input(tmp_path, "csv").files}


@pytest.mark.parametrize(
    ("source", "output", "read"),
    [
        ("in", "in/answers.jsonl", True),
        ("in", "in/out/results-00000.jsonl", False),
        ("in/*.jsonl", "in/answers.jsonl", True),
        ("in/*.jsonl", "in/answers.parquet", False),
        ("in/*.jsonl", "in/out/results-00000.jsonl", False),
        ("in/**/*.jsonl", "in/out/results-00000.jsonl", True),
        ("in/**/*.jsonl", "in/_out/results-00000.jsonl", False),
        ("in/a.jsonl", "in/answers.jsonl", False),
        ("in/a.jsonl", "in/a.jsonl", True),
    ],
)
def test_an_output_among_the_input_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, output: str, read: bool
) -> None:
    """Also where one is given from here and the other in full."""
    make(tmp_path, "in/a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert read == (find_input(source).would_read(UPath(tmp_path / output)) is not None)


# --- rows


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from(["row", "blank"]), max_size=5), min_size=1, max_size=5), st.booleans())
def test_places_go_on_across_files(tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], end: bool) -> None:
    """Every row of every file in order, its place counted from the first file on, its line from its own."""
    folder = tmp_path_factory.mktemp("in")
    expected = []
    for number, lines in enumerate(files):
        name = f"{number}.jsonl"
        text = "\n".join(json.dumps({"f": name, "l": line}) if kind == "row" else "" for line, kind in enumerate(lines))
        (folder / name).write_text(text + "\n" * end)
        expected += [(name, line + 1) for line, kind in enumerate(lines) if kind == "row"]
    source = find_input(folder)
    lines_read = list(read_lines(source))
    assert list(range(len(expected))) == [line.place for line in lines_read]
    assert expected == [(line.file.name, line.number) for line in lines_read if line.file]
    assert expected == [(row["f"], row["l"] + 1) for row in (json.loads(line.raw) for line in lines_read)]


def test_formats_mix(tmp_path: Path) -> None:
    """Each file is read as its name says."""
    (tmp_path / "a.csv").write_text("t\none\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"t":"two"}\n'))
    (tmp_path / "c.jsonl").write_text('{"t":"three"}')
    source = find_input(tmp_path)
    assert ["one", "two", "three"] == [json.loads(line.raw)["t"] for line in read_lines(source)]
    assert None is count_lines(source)
    assert 1 == count_lines(find_input(tmp_path / "c.jsonl"))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_short_or_damaged_is_named(tmp_path: Path, packing: str) -> None:
    """Wherever it is cut: never is the input taken for shorter than it is."""
    plain = b"".join(b'{"n": %d}\n' % n for n in range(300))
    packed = gzip.compress(plain) if packing == ".gz" else pytest.importorskip("backports.zstd").compress(plain)
    path = tmp_path / f"in.jsonl{packing}"
    path.write_bytes(packed)
    assert 300 == len(list(read_lines(find_input(path))))
    for content in (
        packed[:-1],
        packed[: len(packed) // 2],
        packed[:10],
        b"",
        b"no such thing",
        packed[:20] + b"XXXX" + packed[24:],
    ):
        path.write_bytes(content)
        with pytest.raises(BatchInputError, match=f"in.jsonl{packing} is truncated, or is not a {packing} file"):
            list(read_lines(find_input(path)))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_what_stands_behind_a_packed_file_is_treated_alike_in_each_packing(tmp_path: Path, packing: str) -> None:
    """Zeros are skipped, and so is a part without content; further parts are read; anything else is refused."""
    pack: Any = gzip.compress if packing == ".gz" else pytest.importorskip("backports.zstd").compress
    one, two = pack(b'{"n": 1}\n'), pack(b'{"n": 2}\n' * 50_000)
    path = tmp_path / f"in.jsonl{packing}"
    zeros = bytes(300_000)
    for content, rows in (
        (one + b"\x00", 1),
        (two + zeros, 50_000),
        (one + two, 50_001),
        (one + zeros + two + zeros + one, 50_002),
        (pack(b"") + one + pack(b""), 1),
        *(((one + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + two, 50_001),) if packing == ".zst" else ()),
    ):
        path.write_bytes(content)
        assert rows == len(list(read_lines(find_input(path))))
    for content in (
        one + b"x",
        one + b"\n",
        two + zeros + b"junk",
        one + two[:-1],
        one + zeros + two[:40],
        b"\x00" + one,
        zeros,
        one + b'{"n": 3}\n',
    ):
        path.write_bytes(content)
        with pytest.raises(BatchInputError, match=f"in.jsonl{packing} is truncated, or is not a {packing} file"):
            list(read_lines(find_input(path)))


def test_a_file_of_small_zstd_frames_is_not_copied_once_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some writers make a frame for each row. All rows before a damaged one are read."""
    zstd = pytest.importorskip("backports.zstd")
    given: list[int] = []

    class Frame:
        """A decompressor that notes how much it is given."""

        def __init__(self) -> None:
            self._own = zstd.ZstdDecompressor()

        def decompress(self, data: bytes, max_length: int) -> Any:
            given.append(len(data))
            return self._own.decompress(data, max_length)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._own, name)

    monkeypatch.setattr(unpack, "zstd", SimpleNamespace(ZstdDecompressor=Frame))
    frames = [zstd.compress(b'{"n": %d}\n' % n) for n in range(2000)]
    path = tmp_path / "in.jsonl.zst"
    path.write_bytes(b"".join(frames))
    assert [b'{"n": %d}' % n for n in range(2000)] == [line.raw for line in read_lines(find_input(path))]
    assert sum(given) <= 2000 * 1024
    path.write_bytes(b"".join([*frames[:1000], b"junk", *frames[1000:]]))
    lines = read_lines(find_input(path))
    assert [b'{"n": %d}' % n for n in range(1000)] == [line.raw for line in itertools.islice(lines, 1000)]
    with pytest.raises(BatchInputError, match="truncated, or is not a"):
        next(lines)


@pytest.mark.parametrize("limit", [16, 17, 31, 32, 1000])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_without_an_end_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, end: str
) -> None:
    """What is longer than the limit is one row's error, wherever the file is divided; the rows around it are whole."""
    monkeypatch.setattr(jsonl, "LONGEST_LINE", limit)
    monkeypatch.setattr(jsonl, "READ_BYTES", 7)
    short, blank = '{"n": 12345678}', " " * 70  # 15 bytes
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([short, "x" * 90, short, "", blank + short, short]) + end)
    size = path.stat().st_size
    longer = [] if limit == 1000 else [1, 3]
    for middle in range(size + 1):
        parts = [InputFile(UPath(path), "in.jsonl", start=a, end=b) for a, b in ((0, middle), (middle, size))]
        whole = [InputFile(UPath(path), "in.jsonl")]
        for files in (parts, whole) if middle in (0, size) else (parts,):
            lines = list(read_lines(Input(tuple(files))))
            assert 5 == len(lines)
            assert longer == [line.place for line in lines if "line ends" in line.problem]
            rows = [line.raw for line in lines if not line.problem and line.place != 1]
            assert [short.encode()] * (4 if limit == 1000 else 3) == rows
    assert 5 == count_lines(find_input(path))


def test_the_size_of_a_longer_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is missing, as a rule."""
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 16)
    (tmp_path / "in.jsonl").write_text('{"text": "' + "x" * 5000)
    [line] = read_lines(find_input(tmp_path))
    with pytest.raises(BadLineError, match=r"line 1 of .*in.jsonl has 5,010 bytes; at most 16 are read. Are its line"):
        parse_line(line)


# --- identity


def test_an_identity_says_which_files_changed() -> None:
    """Gone, added, or only moved."""

    def identity(*names: str) -> dict[str, object]:
        return {"input_path": Input(tuple(InputFile(UPath(name), name) for name in names)).names}

    before = identity("a", "b")
    assert [] == differences(before, identity("a", "b"))
    assert ["input_path no longer contains 'a'"] == differences(before, identity("b"))
    assert ["input_path also contains 'c'"] == differences(before, identity("a", "b", "c"))
    assert ["input_path no longer contains 'b' and also contains 'c'"] == differences(before, identity("a", "c"))
    assert ["input_path contains the same files in another order"] == differences(before, identity("b", "a"))
    assert ["input_path was 'a', and is now 'b'"] == differences(identity("a"), identity("b"))


def test_an_error_that_may_pass_is_not_the_inputs() -> None:
    """A broken connection is left to a retry; a file that may not be read is an error."""
    path = UPath("memory://bucket/in.jsonl")
    assert refusal(path, ConnectionResetError("reset")) is None
    assert refusal(path, OSError("503")) is None
    assert "no permission to read input file" in str(refusal(path, PermissionError("denied")))


@pytest.mark.parametrize("given", ["", "*.jsonl"])
def test_a_link_that_leads_nowhere_is_no_missing_row(tmp_path: Path, given: str) -> None:
    """The rows of the file behind the link would be left out silently."""
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.jsonl").symlink_to("moved.jsonl")
    with pytest.raises(BatchInputError, match=r"b\.jsonl is a link to moved\.jsonl, which does not exist"):
        find_input(f"{tmp_path}/{given}")
    (tmp_path / "moved.jsonl").mkdir()
    assert 1 == len(find_input(f"{tmp_path}/{given}").files)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jsonl", ["file.jsonl", "link.jsonl"]),
        ("**/*.jsonl", ["file.jsonl", "link.jsonl", "sub/c.jsonl"]),
        ("*/c.jsonl", ["folder/c.jsonl"]),
        ("f*/*.jsonl", ["folder/c.jsonl"]),
        ("folder/*.jsonl", ["c.jsonl"]),
        ("l*", ["link.jsonl"]),
        ("lin[k].jsonl", ["link.jsonl"]),
    ],
)
def test_a_pattern_finds_links_to_files(tmp_path: Path, pattern: str, found: list[str]) -> None:
    """As Kubernetes mounts every file of a ConfigMap. A link to a folder is followed, except by `**`."""
    make(tmp_path, "..data/link.jsonl", "elsewhere/c.jsonl", "in/file.jsonl")
    (tmp_path / "in/link.jsonl").symlink_to("../..data/link.jsonl")
    (tmp_path / "in/folder").symlink_to("../elsewhere")
    (tmp_path / "in/circle").symlink_to(".")
    os.mkfifo(tmp_path / "in/pipe.jsonl")
    if pattern.startswith("**"):
        make(tmp_path, "in/sub/c.jsonl")
    assert found == [file.name for file in find_input(f"{tmp_path}/in/{pattern}").files]


@pytest.mark.parametrize("pattern", ["a**/*.jsonl", "**.jsonl", "in/x**y/*.jsonl"])
def test_stars_inside_a_name_are_refused(tmp_path: Path, pattern: str) -> None:
    """What is searched with them differs from shell to shell."""
    make(tmp_path, "in/a.jsonl")
    with pytest.raises(BatchInputError, match=r"\*\* must be a whole part of it"):
        find_input(f"{tmp_path}/{pattern}")


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("name", ["a.jsonl/b.jsonl", "loop/b.jsonl", "x" * 300 + ".jsonl"])
def test_a_path_that_cannot_be_a_file_is_refused_at_once(tmp_path: Path, name: str, listed: bool) -> None:
    """A file as a folder, a link to itself, a name that is too long: no store that may come right again."""
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "loop").symlink_to("loop")
    path = str(tmp_path / name)
    with pytest.raises(BatchInputError, match="cannot be a file"):
        list(read_lines(find_input([str(tmp_path / "a.jsonl"), path] if listed else path)))


def test_an_identity_tells_equal_numbers_apart() -> None:
    """1, 1.0 and True are equal in Python and different requests: their rows would be sent again for the same job."""
    values: list[object] = [1, 1.0, True, "1", None]
    for one in values:
        for other in values:
            found = differences({"parameters": {"a": one, "b": 2}}, {"parameters": {"b": 2, "a": other}})
            assert (0 if one is other else 1) == len(found)


def test_an_identity_knows_which_order_changes_a_request() -> None:
    """Parameters are sent by name, whatever their order in the DAG; a schema's properties are written in its order."""
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    for name in ("parameters", "row_parameters"):
        assert [] == differences({name: one}, {name: other})
    assert [f"response_schema was {one}, and is now {other}"] == differences(
        {"response_schema": one}, {"response_schema": other}
    )


@pytest.fixture
def two_folders() -> Iterator[Path]:
    with open_folder() as folder:
        make(folder / "in/a", "x.jsonl")
        make(folder / "in/b", "x.jsonl")
        yield folder / "in"


@pytest.mark.parametrize("mode", [0, 0o444])
@pytest.mark.parametrize("pattern", ["*/x.jsonl", "**/*.jsonl", "b/*.jsonl", "[ab]/*"])
def test_a_folder_that_is_closed_is_not_passed_over(two_folders: Path, pattern: str, mode: int) -> None:
    """A search in it finds nothing, and its rows would be missing."""
    (two_folders / "b").chmod(mode)
    with as_nobody(), pytest.raises(BatchInputError, match=r"no permission to read input file"):
        find_input(str(two_folders / pattern))


@pytest.mark.parametrize("pattern", ["a/*.jsonl", "a*/*.jsonl", "*.jsonl"])
def test_a_closed_folder_that_is_not_meant_is_no_error(two_folders: Path, pattern: str) -> None:
    """It may be anybody's."""
    make(two_folders, "x.jsonl")
    (two_folders / "b").chmod(0)
    with as_nobody():
        assert 1 == len(find_input(str(two_folders / pattern)).files)
