"""CSV files as input: what their values become, and what ends the input rather than be taken for rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import find_input
from airflow_provider_hf_endpoints.inference.inputs.formats import CsvForm
from airflow_provider_hf_endpoints.inference.inputs.lines import Line, parse_line
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines


def lines_of(folder: Path, content: str | bytes, csv: CsvForm | None = None) -> list[Line]:
    path = folder / "in.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_lines(find_input(path, csv=csv)))


def rows_of(folder: Path, content: str | bytes, csv: CsvForm | None = None) -> list[Any]:
    return [json.loads(line.raw) for line in lines_of(folder, content, csv)]


def test_a_cell_of_any_size_is_one_value(tmp_path: Path) -> None:
    """Line breaks within it begin no row, however far it goes."""
    long = "a line of it\n" * 20_000
    assert [{"a": "1", "b": long}, {"a": "2", "b": "x"}] == rows_of(tmp_path, f'a,b\n1,"{long}"\n2,x\n')


@pytest.mark.parametrize(
    ("names", "row"),
    [
        ("a,,", {"a": "1"}),
        (",a,", {"a": "2"}),
        ('"",""," "', {" ": "3"}),
        (",,", {}),
        (",a,b", {"": "1", "a": "2", "b": "3"}),
    ],
)
def test_no_value_stands_for_another_where_columns_have_no_name(tmp_path: Path, names: str, row: Any) -> None:
    """A single one, such as an index, is kept. Of several, none can be meant."""
    assert [row] == rows_of(tmp_path, f"{names}\n1,2,3\n")


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n1,x\n2,"y\n3,z\n4,z\n',
        'a,b\n1,x\n2,"y"z\n3,"w\nw"\n',
    ],
)
def test_a_broken_quote_ends_the_input(tmp_path: Path, content: str) -> None:
    """It is unknown where the next row begins: what follows is never taken for rows."""
    path = tmp_path / "in.csv"
    path.write_text(content)
    found = read_lines(find_input(path))
    assert b'{"a":"1","b":"x"}' == next(found).raw
    with pytest.raises(BatchInputError, match=r"in\.csv is not valid CSV from line \d+ on .*Close every quote"):
        next(found)


def test_another_encoding_is_refused_until_it_is_named(tmp_path: Path) -> None:
    """No U+FFFD is ever made of what is not understood."""
    content = "a\nété\n".encode("cp1252")
    with pytest.raises(BatchInputError, match=r"in\.csv is not valid utf-8 .*Set its encoding"):
        rows_of(tmp_path, content)
    assert [{"a": "été"}] == rows_of(tmp_path, content, CsvForm.of("latin-1", None))
    assert [{"a": "été"}] == rows_of(tmp_path, "a\nété\n".encode("utf-16"), CsvForm.of("UTF-16", None))
    for name in (None, "utf8"):
        assert [{"a": "été"}] == rows_of(tmp_path, "\ufeffa\nété\n", CsvForm.of(name, None))


def test_the_delimiter_may_be_named(tmp_path: Path) -> None:
    """A comma is then a part of the value."""
    assert [{"a": "1,5", "b": "x"}] == rows_of(tmp_path, "a;b\n1,5;x\n", CsvForm.of(None, ";"))


@pytest.mark.parametrize(
    ("encoding", "delimiter", "words"),
    [
        ("utf-9", None, "encoding='utf-9' is unknown"),
        ("base64", None, "encoding='base64' is unknown"),
        (None, ";;", "delimiter=';;' is not valid. Use one character"),
        (None, "", "delimiter='' is not valid. Use one character"),
        (None, '"', "Use one character"),
        (None, "\n", "Use one character"),
    ],
)
def test_a_form_that_cannot_be_is_refused(encoding: str | None, delimiter: str | None, words: str) -> None:
    """By its name, when the job is made."""
    with pytest.raises(ValueError, match=words):
        CsvForm.of(encoding, delimiter)


def test_a_form_of_csv_is_refused_where_no_file_is_csv(tmp_path: Path) -> None:
    """It would be ignored."""
    (tmp_path / "in.jsonl").write_text("{}")
    with pytest.raises(BatchInputError, match="encoding and delimiter apply only to CSV, but no input file is CSV"):
        find_input(tmp_path / "in.jsonl", csv=CsvForm())


def test_what_is_empty_or_missing_is_null(tmp_path: Path) -> None:
    """As it is in Parquet and JSON."""
    assert [{"a": None, "b": "x"}, {"a": "y", "b": None}, {"a": None, "b": None}] == rows_of(
        tmp_path, 'a,b\n,x\ny\n"",""\n'
    )


def test_a_row_with_more_values_than_names_is_its_own_error(tmp_path: Path) -> None:
    """The rows around it are as they are."""
    first, second, third = lines_of(tmp_path, "a,b\n1,2\n1,2,3\n4,5\n")
    assert ({"a": "1", "b": "2"}, {"a": "4", "b": "5"}) == (parse_line(first), parse_line(third))
    with pytest.raises(BatchInputError, match=r"line 3 of in\.csv has 3 values, but the table has 2 columns"):
        parse_line(second)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """It is unknown which of them is meant. Columns without a name are ignored."""
    with pytest.raises(BatchInputError, match=r"in\.csv has two columns with the name 'a'"):
        rows_of(tmp_path, "a,b,a\n1,2,3\n")
    assert 1 == len(rows_of(tmp_path, "a,,\n1,,\n"))
