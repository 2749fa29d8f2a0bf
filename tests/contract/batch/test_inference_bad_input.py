"""Input that is not valid: it is refused before a request, or becomes a row with an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, MissingColumnError
from tests.contract.batch_play import job_of, questions, results, write_rows
from tests.contract.inference_server import echo, serving


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before any request."""
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"in\.jsonl does not exist"):
            run_batch(job_of(server.url, tmp_path))
        assert server.requests == []


def test_an_empty_input_is_named(tmp_path: Path) -> None:
    """Blank lines are not rows."""
    (tmp_path / "in.jsonl").write_text("\n \n")
    with pytest.raises(BatchInputError, match=r"in\.jsonl is empty"):
        run_batch(job_of("http://127.0.0.1:9", tmp_path))


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    """Before any request."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        with pytest.raises(
            MissingColumnError, match=r"line 1 of in.jsonl has no column 'body'.*its columns: 'id', 'text', 'n'"
        ):
            run_batch(job_of(server.url, tmp_path, prompt="{body}"))
        assert server.requests == []


def test_rows_of_which_no_request_can_be_made_are_named_by_the_first_of_them(tmp_path: Path) -> None:
    """With file and line: "column 'n' is null" alone says nothing of where."""
    (tmp_path / "in.csv").write_text('n,m\n"",1\n,2\n')
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"in\.csv: line 2 of in\.csv: column 'n' is null"):
            run_batch(job_of(server.url, tmp_path, input_path=str(tmp_path / "in.csv"), prompt="{n}"))
        assert [] == server.requests


def test_a_file_of_plain_text_says_what_is_expected(tmp_path: Path) -> None:
    """If no line is JSON, the file has another format: the message says which format is read, and how to name it."""
    (tmp_path / "in.txt").write_text("hello\nthere\n")
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r'line 1 of in\.txt is not JSON.*one JSON object per line.*"csv"'):
            run_batch(job_of(server.url, tmp_path, input_path=str(tmp_path / "in.txt")))
        assert [] == server.requests


def test_a_broken_line_is_an_error_row_with_its_number(tmp_path: Path) -> None:
    """The rows around it are answered; the output still has a line per line."""
    write_rows(tmp_path, [{"text": "a"}, '{"text": "b', "[1]", {"other": 1}, {"text": None}, {"text": "f"}])
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, max_error_rate=None))
    lines = results(tmp_path)
    assert [line["output"] for line in lines] == ["a", None, None, None, None, "f"]
    messages = [line["error"]["message"] for line in lines if line["error"]]
    assert [f"line {n} " in text or f"line {n}:" in text for n, text in enumerate(messages, start=2)] == [True] * 4
    assert (report.succeeded, report.failed, report.errors) == (2, 4, {"bad_row": 4})
    assert [line["index"] for line in results(tmp_path, "out/errors.jsonl")] == [1, 2, 3, 4]


def test_a_broken_line_stops_the_batch_when_asked(tmp_path: Path) -> None:
    """Among the first lines before any request."""
    write_rows(tmp_path, [{"text": "a"}, "{broken", {"text": "c"}])
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=r"line 2 of in\.jsonl is not JSON"):
            run_batch(job_of(server.url, tmp_path, on_bad_input="stop"))
        assert server.requests == []


def test_a_broken_line_far_down_stops_with_everything_done_kept(tmp_path: Path) -> None:
    """Later ones are found while the batch runs: finished rows are published, and a repaired input continues from
    there.
    """
    rows = questions(300)
    write_rows(tmp_path, [*rows[:250], "{broken", *rows[251:]])
    with serving(echo) as server:
        job = job_of(server.url, tmp_path, on_bad_input="stop", order_window=50)
        with pytest.raises(BatchInputError, match=r"line 251 of in\.jsonl is not JSON"):
            run_batch(job)
        done = len(results(tmp_path))
        assert 0 < done <= 250
        write_rows(tmp_path, rows)
        report = run_batch(job)
        assert (300, done) == (report.rows, report.resumed)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"text": "a", "id": 1}, {"text": "b", "id": 1}],
            "id 1 in column 'id' appears on line 1 of in.jsonl and on line 2",
        ),
        (
            [{"text": "a", "id": 1}, {"text": "b"}],
            "line 2 of in.jsonl has no column 'id' that id_column names; its columns: 'text'",
        ),
        ([{"text": "a", "Id": 1}], "Did you mean 'Id'"),
        ([{"text": "a", "id": None}], "line 1 of in.jsonl has no valid id: 'id' is None. Give every row"),
        ([{"text": "a", "id": 1.5}], "line 1 of in.jsonl has no valid id"),
        ([{"text": "a", "id": 1.0}], "line 1 of in.jsonl has no valid id"),
        ([{"text": "a", "id": True}], "line 1 of in.jsonl has no valid id"),
        (
            [{"text": "a", "id": "1"}, {"text": "b", "id": 1}],
            r"id 1 in column 'id' appears on line 1 .* line 2 .*'1' there; an output in Parquet has the same text",
        ),
        ([{"text": "a", "id": "\ud800"}, {"text": "b", "id": "\ud801"}], "the same text for both"),
    ],
)
def test_missing_and_doubled_ids_are_refused(tmp_path: Path, rows: list[Any], words: str) -> None:
    """Before any request."""
    write_rows(tmp_path, rows)
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match=words):
            run_batch(job_of(server.url, tmp_path, id_column="id"))
        assert server.requests == []


def test_a_name_twice_far_down_is_the_error_of_its_row(tmp_path: Path) -> None:
    """The row is not sent with the last of its values, and no other row is refused for it."""
    rows: list[Any] = questions(300)
    rows[250] = '{"id": "x", "text": "one", "text": "other"}'
    write_rows(tmp_path, rows)
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path))
        assert 299 == len(server.posts)
    assert (300, {"bad_row": 1}) == (report.rows, report.errors)
    (line,) = results(tmp_path, "out/errors.jsonl")
    assert (250, 251) == (line["index"], line["line"])
    assert "line 251 of in.jsonl has the name 'text' twice, so one value would be lost" in line["error"]["message"]


def test_ids_that_differ_in_any_way_that_an_output_shows_are_different(tmp_path: Path) -> None:
    """Case, blanks, the two forms of an accent, leading zeros: each row keeps its id as it stands, in every form."""
    parquet = pytest.importorskip("pyarrow.parquet")
    ids = ["a", "A", "a ", " a", "\u00e9", "e\u0301", "", "01", 1, -1, 2**70, "null", "\x00", "x" * 300, "x" * 301]
    write_rows(tmp_path, [{"text": f"t{n}", "id": each} for n, each in enumerate(ids)])
    with serving(echo) as server:
        for form in ("jsonl", "parquet"):
            job = job_of(server.url, tmp_path, id_column="id", output_path=tmp_path / form / f"out.{form}")
            assert len(ids) == run_batch(job).succeeded
    assert ids == [line["id"] for line in results(tmp_path, "jsonl/out.jsonl")]
    table = parquet.read_table(tmp_path / "parquet/out.parquet")
    assert list(map(str, ids)) == table["id"].to_pylist()


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_a_column_to_keep_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    """With the nearest name, before any request; one that only some rows have is null in the others."""
    (tmp_path / "in.csv").write_text("text,label\na,x\nb,\n")
    write_rows(tmp_path, [{"text": "a", "label": "x"}, {"text": "b"}])
    with serving(echo) as server:
        with pytest.raises(
            MissingColumnError, match=r"no column 'lable' that keep_columns names.*Did you mean 'label'"
        ):
            run_batch(job_of(server.url, tmp_path, input_path=tmp_path / name, keep_columns=("lable",)))
        assert server.requests == []
        run_batch(job_of(server.url, tmp_path, input_path=tmp_path / name, keep_columns=("label",)))
    assert [{"label": "x"}, {"label": None}] == [line["columns"] for line in results(tmp_path)]


def test_a_csv_that_breaks_far_down_keeps_what_is_done(tmp_path: Path) -> None:
    """Nothing behind the break is sent; the repaired file continues from there."""
    rows = [f"{n},question {n}" for n in range(300)]
    broken = [*rows[:250], '250,"question', *rows[251:]]
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["id,text", *broken]))
    with serving(echo) as server:
        job = job_of(server.url, tmp_path, input_path=path, order_window=0)
        with pytest.raises(BatchInputError, match=r"in\.csv is not valid CSV from line \d+ on"):
            run_batch(job)
        done = len(results(tmp_path))
        assert 0 < done <= 250
        path.write_text("\n".join(["id,text", *rows]))
        report = run_batch(job)
    assert (300, 300, done) == (report.rows, report.succeeded, report.resumed)
