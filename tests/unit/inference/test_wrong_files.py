"""An input file that is not what its name promises is refused before anything is read as rows."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import json
import lzma
import os
import sqlite3
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError, MissingColumnError
from airflow_provider_hf_endpoints.inference.inputs.check import check_rows
from airflow_provider_hf_endpoints.inference.inputs.files import find_input
from airflow_provider_hf_endpoints.inference.inputs.formats import CsvForm
from airflow_provider_hf_endpoints.inference.inputs.lines import parse_line, refuse_repeated_name
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.requests.template import Template

ARROW = {
    "Parquet": ("pyarrow.parquet", "write_table"),
    "Arrow": ("pyarrow.feather", "write_feather"),
    "ORC": ("pyarrow.orc", "write_table"),
}
ROW = '{"text": "ä"}\n'


def written(kind: str, folder: Path) -> bytes:
    """A file of a kind, as its own library writes it."""
    buffer = io.BytesIO()
    match kind:
        case "gzip":
            return gzip.compress(ROW.encode())
        case "bzip2":
            return bz2.compress(ROW.encode())
        case "xz":
            return lzma.compress(ROW.encode())
        case "ZIP":
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("a.jsonl", ROW)
        case "Parquet" | "Arrow" | "ORC":
            table = pytest.importorskip("pyarrow").table({"text": ["a"]})
            module, write = ARROW[kind]
            getattr(importlib.import_module(module), write)(table, buffer)
        case "SQLite":
            path = folder / "database"
            with sqlite3.connect(path) as database:
                database.execute("create table a (b)")
            return path.read_bytes()
        case encoding:
            return ROW.encode(encoding)
    return buffer.getvalue()


def check(path: Path, *columns: str) -> None:
    check_rows(find_input(path), columns, stop_on_bad=False, may_be_empty=False)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt"])
@pytest.mark.parametrize(
    "kind", ["gzip", "bzip2", "xz", "ZIP", "Parquet", "Arrow", "ORC", "SQLite", "UTF-16", "UTF-32"]
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, kind: str, suffix: str) -> None:
    """With what it is; not one row of it is sent."""
    path = tmp_path / f"in.{suffix}"
    path.write_bytes(written(kind, tmp_path))
    with pytest.raises(BatchInputError, match=rf"in\.{suffix} is .*{kind}.*, not"):
        check(path)


@pytest.mark.parametrize("text", ['[{"text": "a"}, {"text": "b"}]', '[\n{"text": "a"},\n{"text": "b"}\n]', "[]"])
def test_a_json_array_is_refused(tmp_path: Path, text: str) -> None:
    """Also where one of its lines happens to be an object, which would be sent."""
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    with pytest.raises(BatchInputError, match=r"starts with a JSON array.*one object per line"):
        check(path)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"text": "a"}\r{"text": "b"}\r', "Convert them"),
        ('{"text": "a"},\n{"text": "b"},\n', "Remove the comma"),
        ('{"text": "a"}{"text": "b"}\n', "one object per line"),
        ('{"text": "a"} {"text": "b"}\n', "one object per line"),
        ('{\n  "text": "a"\n}\n', "each object on one line"),
        ("{'text': 'a'}\n", "with a JSON library"),
        ("{text: 'a'}\n", "with a JSON library"),
        ('{"text": "a', "If it was cut"),
        ("\x00" * 4096, "not written to its end"),
        ("text\nhello\n", 'set input_format="csv"'),
        ("5\n6\n", "one JSON object per line"),
        ("null\n", "one JSON object per line"),
    ],
)
def test_a_line_that_is_no_row_says_what_to_do(tmp_path: Path, text: str, advice: str) -> None:
    """By what is usually written in place of JSON Lines."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(text.encode())
    with pytest.raises(BatchInputError, match=advice):
        check(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be", "latin-1"])
def test_a_line_in_another_encoding_is_never_guessed(tmp_path: Path, encoding: str) -> None:
    """Python's own decoder takes UTF-16 for JSON line by line, and so would send some of them."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + ROW.encode(encoding))
    lines = list(read_lines(find_input(path)))
    for line in lines[1:]:
        with pytest.raises(BatchInputError, match=r"is not (UTF-8|JSON)"):
            parse_line(line)


def test_a_tsv_file_has_tabs(tmp_path: Path) -> None:
    """Unless the job names another delimiter."""
    path = tmp_path / "in.tsv"
    path.write_text("id\ttext\n1\ta,b\n")
    assert [{"id": "1", "text": "a,b"}] == [parse_line(line) for line in read_lines(find_input(path))]


@pytest.mark.parametrize(
    ("header", "prompt", "words"),
    [
        ("id;text", "{text}", r"delimiter=';'"),
        ("id\ttext", "{text}", r"delimiter='\\t'"),
        ("id,text", 'Answer {"label": "x"} for {text}', r"double them: \{\{ and \}\}"),
        ("id,text", "{tekst}", "Did you mean 'text'"),
        ("id,text", "{ text }", "Did you mean 'text'"),
        ("id,q ", "{q}", "Did you mean 'q '"),
        ("sep=;", "{text}", "Remove the first line"),
        ("sep=,", "{text}", "Remove the first line"),
        ("id,text", "{row.title}", "without attribute, index or format"),
    ],
)
def test_a_column_that_is_not_there_says_what_may_be_meant(
    tmp_path: Path, header: str, prompt: str, words: str
) -> None:
    """The delimiter of the file, a brace that belongs to the text, a misspelt name."""
    path = tmp_path / "in.csv"
    path.write_text(f"{header}\n{header}\n")
    with pytest.raises(MissingColumnError, match=words):
        check(path, *Template(task="chat-completion", prompt=prompt).columns)


def test_jinja_in_a_prompt_is_explained() -> None:
    """Doubled braces are literal ones here."""
    with pytest.raises(ValueError, match="Use single braces"):
        Template(task="chat-completion", prompt="Sum up {{ text }}")


BINARY = {
    "LZ4": b"\x04\x22\x4d\x18\x64\x40\xa7\x00\x00",
    "Snappy": b"\xff\x06\x00\x00sNaPpY\x01\x00",
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "RAR": b"Rar!\x1a\x07\x01\x00",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100),
    "Arrow stream": b"\xff\xff\xff\xff\x70\x00\x00\x00",
    "pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "HTML": b"<!DOCTYPE HTML>\n<html><body>Sign in</body></html>\n",
    "XML": b'<?xml version="1.0"?>\n<rows/>\n',
}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("kind", BINARY)
def test_a_file_that_is_often_met_in_place_of_rows_is_named(tmp_path: Path, kind: str, suffix: str) -> None:
    """What a download, another library or a repository leaves in place of a file; the advice does not mention the
    encoding.
    """
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"in.{suffix}"
    path.write_bytes(BINARY[kind])
    with pytest.raises(BatchInputError, match=rf"in\.{suffix} is .*{kind}.*, not {suffix.upper()}"):
        check(path)


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.tar.gz", "in.jsonl"])
def test_a_tar_archive_is_no_file_of_rows(tmp_path: Path, name: str) -> None:
    """The first row of each file in it would stand behind the archive's own words, and be lost."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if name.endswith("gz") else "w") as archive:
        about = tarfile.TarInfo("a.jsonl")
        about.size = 3 * len(ROW.encode())
        archive.addfile(about, io.BytesIO(3 * ROW.encode()))
    path = tmp_path / name
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BatchInputError, match=r"is a tar archive, not JSONL\. Unpack it"):
        check(path)


@pytest.mark.parametrize("name", ["ORCID", "PAR1", "BZhang", "FEA1", "ARROW1", "Rar!", "ORC"])
def test_a_table_whose_first_column_is_called_like_a_kind_of_file_is_read(tmp_path: Path, name: str) -> None:
    """An ORCID is the number of a researcher."""
    path = tmp_path / "in.csv"
    path.write_text(f"{name},text\n0000-0002,ä{'ö' * 600}\n", encoding="utf-8")
    check(path, name)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_wide_text_without_a_byte_order_mark_is_named(tmp_path: Path, encoding: str, suffix: str) -> None:
    """With its encoding, by which a CSV file can be read."""
    path = tmp_path / f"in.{suffix}"
    text = ROW if suffix == "jsonl" else "id,text\n1,ä\n"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(BatchInputError, match=rf"is text in {encoding.upper()}, not in UTF-8"):
        check(path)
    if suffix == "csv":
        found = find_input(path, csv=CsvForm.of(encoding, None))
        assert [{"id": "1", "text": "ä"}] == [parse_line(line) for line in read_lines(found)]


@pytest.mark.parametrize(("codec", "mark"), [("utf-8", "utf-8-sig"), ("utf-16-le", "utf-16"), ("utf-32-le", "utf-32")])
def test_a_byte_order_mark_contradicts_another_encoding(tmp_path: Path, codec: str, mark: str) -> None:
    """Each é would be sent as Ã©. Its own encoding takes the mark for no part of the first name."""
    path = tmp_path / "in.csv"
    path.write_bytes("\ufeffid,text\n1,é\n".encode(codec))
    with pytest.raises(BatchInputError, match=rf"text in {codec[:6].upper()}, as its first bytes say, not in cp1252"):
        list(read_lines(find_input(path, csv=CsvForm.of("cp1252", None))))
    for named in (codec, mark):
        found = find_input(path, csv=CsvForm.of(named, None))
        assert [{"id": "1", "text": "é"}] == [parse_line(line) for line in read_lines(found)]


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 1, "text": "a", "text": "b"}',
        '{"text":"a","id":1,"text":"a"}',
        '{"text": {"text": 1}, "id": [{"text": 2}], "text": "b"}',
        '{"te\\u0078t": 1, "text": "\\"text\\": 2", "text": "b"}',
        '{"text" : 1,"text":2}',
        '{"text"\t: 1, "text"  : 2}',
        '{"id": [1, {"text": 1, "text": 2}], "text": ["a", {"b": 1}]}',
        '{"id": {"a": [[{"text": "\\\\", "text": "\\\\"}]]}, "text": "a"}',
    ],
)
def test_a_name_that_a_row_has_twice_is_refused(tmp_path: Path, line: str) -> None:
    """As two columns are in the other formats: it is unknown which of the values is meant. Behind the first rows, and
    in the middle of a file, it is that row's error.
    """
    path = tmp_path / "in.jsonl"
    path.write_text(f"{ROW}{line}\n", encoding="utf-8")
    with pytest.raises(BatchInputError, match=r"line 2 of in\.jsonl has the name 'text' twice"):
        check(path, "text")
    path.write_text(ROW * 150 + f"{line}\n", encoding="utf-8")
    check(path, "text")
    found = find_input(path)
    middle = replace(found, files=(replace(found.files[0], start=len(ROW.encode()) * 140),))
    check_rows(middle, ["text"], stop_on_bad=False, may_be_empty=False)
    *_, last = read_lines(found)
    with pytest.raises(BadLineError, match=r"line 151 of in\.jsonl has the name 'text' twice"):
        refuse_repeated_name(last, parse_line(last))


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "\\"text\\": 1", "id": 1}',
        '{"text": {"text": {"text": 1}}, "id": [{"id": 1, "text": 2}]}',
        '{"text": "text", "id": "text"}',
        '{"text" : 1, "id" : 2}',
        '{"text": "a", "id": "\\":\\":"}',
    ],
)
def test_a_name_in_a_value_is_no_second_column(tmp_path: Path, line: str) -> None:
    """Nor one of an object below."""
    path = tmp_path / "in.jsonl"
    path.write_text(line, encoding="utf-8")
    check(path, "text", "id")
    (found,) = read_lines(find_input(path))
    assert json.loads(line) == parse_line(found)


class Pairs(list[Any]):
    """An object whose names may repeat."""


names = st.sampled_from(["a", "b", 'q"', "back\\", "é", "\t", '": ', ""])
values = st.recursive(
    st.one_of(st.none(), st.integers(), names, st.sampled_from(['"a": 1', '\\": "b" :'])),
    lambda inside: st.one_of(st.lists(inside, max_size=3), st.lists(st.tuples(names, inside), max_size=3).map(Pairs)),
    max_leaves=8,
)
blanks = st.sampled_from(["", "", " ", "\t", "\n "])


@given(st.lists(st.tuples(names, values), max_size=4).map(Pairs), blanks, st.booleans())
def test_a_name_is_found_twice_wherever_it_stands_and_however_it_is_written(
    pairs: Pairs, blank: str, escaped: bool
) -> None:
    """Counting the ends of names is a short way; it never differs from reading every object."""

    def text(value: Any) -> str:
        if isinstance(value, Pairs):
            inner = ",".join(f"{text(name)}{blank}:{blank}{text(each)}" for name, each in value)
            return f"{{{inner}}}"
        if isinstance(value, list):
            return f"[{blank}{','.join(map(text, value))}{blank}]"
        return json.dumps(value, ensure_ascii=escaped)

    def repeats(value: Any) -> bool:
        if isinstance(value, Pairs):
            below = [each for _, each in value]
            return len({name for name, _ in value}) < len(value) or any(map(repeats, below))
        return isinstance(value, list) and any(map(repeats, value))

    document = text(pairs).encode()
    assert repeats(pairs) == (fastjson.repeated_name(document, json.loads(document)) is not None)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz"])
def test_a_file_that_is_packed_twice_is_told_as_that(tmp_path: Path, suffix: str) -> None:
    """A name that ends in .gz twice would not help, and the file has one already."""
    path = tmp_path / f"in{suffix}"
    path.write_bytes(gzip.compress(gzip.compress(ROW.encode())))
    with pytest.raises(
        BatchInputError, match=r"is packed with gzip, not .* packed twice, the second time as \.gz. Unpack it"
    ):
        list(read_lines(find_input(path)))


@pytest.mark.parametrize("in_list", [False, True])
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path, in_list: bool) -> None:
    """A pipe that no program writes to would keep the batch forever, and a second reading would find nothing."""
    os.mkfifo(tmp_path / "in.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "in.jsonl")
    for path in (str(tmp_path / "in.jsonl"), str(tmp_path / "link.jsonl"), "/dev/null"):
        with pytest.raises(BatchInputError, match="is a pipe, a socket or a device"):
            find_input([path] if in_list else path)
