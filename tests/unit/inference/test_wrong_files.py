"""An input file that is not what its name promises is refused before anything is read as rows."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import sqlite3
import zipfile
from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, MissingColumnError
from airflow_provider_hf_endpoints.inference.inputs.check import check_rows
from airflow_provider_hf_endpoints.inference.inputs.files import find_input
from airflow_provider_hf_endpoints.inference.inputs.lines import parse_line
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
