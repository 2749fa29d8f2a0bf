"""Parquet files as input: what their values become, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, MissingColumnError
from airflow_provider_hf_endpoints.inference.inputs.files import find_input
from airflow_provider_hf_endpoints.inference.inputs.lines import parse_line
from airflow_provider_hf_endpoints.inference.inputs.read import count_lines, read_lines
from airflow_provider_hf_endpoints.inference.inputs.readers import parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def rows_of(path: Any, *columns: str) -> list[dict[str, Any]]:
    return [json.loads(line.raw) for line in read_lines(find_input(path, columns=columns or None))]


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.int64(), 2**62, 2**62),
        (pa.float32(), 0.5, 0.5),
        (pa.bool_(), True, True),
        (pa.string(), "é", "é"),
        (pa.large_string(), "x", "x"),
        (pa.string_view(), "x", "x"),
        (pa.list_view(pa.timestamp("ns")), [MOMENT], ["2026-01-02T03:04:05.678901"]),
        (pa.json_(), '{"a": 1}', '{"a": 1}'),
        (pa.uuid(), UUID(int=1).bytes, "00000000-0000-0000-0000-000000000001"),
        (pa.dictionary(pa.int8(), pa.string()), "a", "a"),
        (pa.timestamp("us"), MOMENT, "2026-01-02T03:04:05.678901"),
        (pa.timestamp("s", "UTC"), MOMENT.replace(microsecond=0, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (pa.date32(), date(2026, 1, 2), "2026-01-02"),
        (pa.time64("us"), time(3, 4, 5), "03:04:05"),
        (pa.decimal128(20, 10), Decimal("1.1000000000"), "1.1000000000"),
        (pa.decimal128(20, 10), Decimal("0.0000000001"), "0.0000000001"),
        (pa.decimal128(20, 10), Decimal(0), "0.0000000000"),
        (pa.map_(pa.string_view(), pa.int8()), [("a", 1)], {"a": 1}),
        (pa.list_(pa.date32()), [date(2026, 1, 2), None], ["2026-01-02", None]),
        (pa.list_(pa.float64(), 2), [0.5, 1.5], [0.5, 1.5]),
        (
            pa.struct([("role", pa.string()), ("at", pa.timestamp("us"))]),
            {"role": "user", "at": MOMENT},
            {"role": "user", "at": "2026-01-02T03:04:05.678901"},
        ),
        (pa.map_(pa.string(), pa.date32()), [("a", date(2026, 1, 2))], {"a": "2026-01-02"}),
        (pa.float16(), 0.5, 0.5),
        (
            pa.struct([("role", pa.string()), ("tool_calls", pa.list_(pa.string()))]),
            {"role": "user", "tool_calls": None},
            {"role": "user"},
        ),
    ],
    ids=str,
)
def test_values_have_one_form_in_json(tmp_path: Path, kind: Any, value: Any, expected: Any) -> None:
    """Numbers, truth values and text as they are, times in ISO 8601, decimals as text; null stays null."""
    pq.write_table(pa.table({"v": pa.array([value, None], kind)}), tmp_path / "in.parquet")
    assert [{"v": expected}, {"v": None}] == rows_of(tmp_path / "in.parquet")


@pytest.mark.parametrize("around", ["nothing", "list", "fixed list", "map", "dictionary", "list of maps"])
def test_nanoseconds_keep_their_digits(tmp_path: Path, around: str) -> None:
    """pandas writes such times. Python's own times have microseconds at best."""
    values = pa.array([1_000_000_123_456_789], pa.timestamp("ns"))
    whole: Any = "1970-01-12T13:46:40.123456789"
    in_map = pa.MapArray.from_arrays([0, 1], ["k"], values)
    column, expected = {
        "nothing": (values, whole),
        "list": (pa.ListArray.from_arrays([0, 1], values), [whole]),
        "fixed list": (pa.FixedSizeListArray.from_arrays(values, 1), [whole]),
        "map": (in_map, {"k": whole}),
        "dictionary": (values.dictionary_encode(), whole),
        "list of maps": (pa.ListArray.from_arrays([0, 1], in_map), [{"k": whole}]),
    }[around]
    pq.write_table(pa.table({"v": column}), tmp_path / "in.parquet")
    assert [{"v": expected}] == rows_of(tmp_path / "in.parquet")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.timestamp("ns"), 0, "1970-01-01T00:00:00"),
        (pa.timestamp("ns"), 1_000, "1970-01-01T00:00:00.000001"),
        (pa.timestamp("ns"), -1, "1969-12-31T23:59:59.999999999"),
        (pa.timestamp("ns", "UTC"), 2**63 - 1, "2262-04-11T23:47:16.854775807+00:00"),
        (pa.timestamp("ns", "+05:30"), -(2**63) + 1, "1677-09-21T05:42:43.145224193+05:30"),
        (pa.timestamp("ns", "Europe/Berlin"), 1_000_000_000_000_000_001, "2001-09-09T03:46:40.000000001+02:00"),
        (pa.time64("ns"), 86_399_999_999_999, "23:59:59.999999999"),
        (pa.time64("ns"), 5, "00:00:00.000000005"),
    ],
    ids=str,
)
def test_nanoseconds_are_the_same_time_in_iso_8601(tmp_path: Path, kind: Any, value: int, expected: str) -> None:
    """With the zone's offset, before 1970 too; as other times where there is nothing below a microsecond."""
    column = pa.array([value, None], pa.int64()).cast(kind)
    pq.write_table(pa.table({"v": column}), tmp_path / "in.parquet")
    assert [{"v": expected}, {"v": None}] == rows_of(tmp_path / "in.parquet")


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.date32(), 3_000_000), (pa.timestamp("s"), 300_000_000_000), (pa.date32(), -800_000)],
    ids=str,
)
def test_a_date_that_python_does_not_have_is_its_rows_error(tmp_path: Path, kind: Any, value: int) -> None:
    """Beyond the year 9999, or before the first: the rows around it are as they are."""
    days = pa.array([0, value, 0], pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
    pq.write_table(pa.table({"text": ["a", "b", "c"], "at": days}), tmp_path / "in.parquet")
    first, second, third = read_lines(find_input(tmp_path / "in.parquet"))
    assert ["a", "c"] == [parse_line(line)["text"] for line in (first, third)]
    with pytest.raises(BatchInputError, match=r"row 2 of in\.parquet has a value in column 'at'"):
        parse_line(second)
    assert {"text": "b", "at": None} == json.loads(second.raw)


def test_two_columns_of_one_name_are_refused_if_they_are_needed(tmp_path: Path) -> None:
    """It is unknown which of them is meant."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["text", "n", "n"])
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(BatchInputError, match=r"in\.parquet has two columns with the name 'n'"):
        rows_of(tmp_path / "in.parquet", "text", "n")
    with pytest.raises(BatchInputError, match="two columns"):
        rows_of(tmp_path / "in.parquet")
    assert [{"text": "a"}] == rows_of(tmp_path / "in.parquet", "text")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.binary(), b"x"),
        (pa.duration("s"), timedelta(seconds=1)),
        (pa.struct([("bytes", pa.binary())]), {"bytes": b"x"}),
        (pa.map_(pa.int64(), pa.string()), [(1, "x")]),
    ],
    ids=str,
)
def test_a_column_that_json_does_not_have_is_refused_if_it_is_needed(tmp_path: Path, kind: Any, value: Any) -> None:
    """By its name, before any row; a batch that does not need it never sees it."""
    pq.write_table(pa.table({"text": ["a"], "image": pa.array([value], kind)}), tmp_path / "in.parquet")
    with pytest.raises(
        BatchInputError, match=r"in\.parquet: column 'image' has the type .* which JSON does not support"
    ):
        rows_of(tmp_path / "in.parquet", "text", "image")
    assert [{"text": "a"}] == rows_of(tmp_path / "in.parquet", "text")


def test_a_column_that_is_not_there_is_named_with_those_there_are(tmp_path: Path) -> None:
    """As for any other format, but before the first row."""
    pq.write_table(pa.table({"text": ["a"], "id": [1]}), tmp_path / "in.parquet")
    with pytest.raises(MissingColumnError, match=r"in\.parquet has no column 'txet'.*its columns: 'text', 'id'"):
        rows_of(tmp_path / "in.parquet", "txet")


@settings(deadline=None, max_examples=30)
@given(
    files=st.lists(st.tuples(st.sampled_from(["parquet", "jsonl"]), st.integers(0, 700)), min_size=1, max_size=4),
    group=st.sampled_from([1, 7, 256, 300]),
)
def test_rows_keep_their_order_over_row_groups_and_files(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, int]], group: int
) -> None:
    """Whatever the sizes of files, groups and batches: places count on, and numbers start again in each file."""
    folder = tmp_path_factory.mktemp("in")
    expected = []
    for number, (kind, rows) in enumerate(files):
        path = folder / f"{number}.{kind}"
        texts = [f"{number}-{row}" for row in range(rows)]
        if kind == "parquet":
            pq.write_table(pa.table({"t": pa.array(texts, pa.string())}), path, row_group_size=group)
        else:
            path.write_text("".join(json.dumps({"t": text}) + "\n" for text in texts))
        expected += [(text, row + 1) for row, text in enumerate(texts)]
    source = find_input(folder, columns=["t"])
    lines = list(read_lines(source))
    assert expected == [(json.loads(line.raw)["t"], line.number) for line in lines]
    assert list(range(len(expected))) == [line.place for line in lines]
    assert len(expected) == count_lines(source)


@pytest.mark.parametrize("dictionary", [True, False])
def test_long_values_are_read_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionary: bool
) -> None:
    """By their bytes and not by their number, also where a dictionary holds a value once for all rows that have it."""
    texts = [f"{n % 3}" * 50_000 if n < 200 else "short" for n in range(600)]
    table = pa.table({"text": texts, "other": [""] * 600})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=300, use_dictionary=dictionary, write_batch_size=1)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1_000_000)
    with pq.ParquetFile(tmp_path / "in.parquet", buffer_size=parquet.BUFFER_BYTES) as file:
        batches = [batch for group in range(2) for batch in parquet._batches(file, group, ["text"])]
    assert max(batch.nbytes for batch in batches) <= 1_500_000
    assert max(batch.num_rows for batch in batches) > 20
    assert texts == [row["text"] for row in rows_of(tmp_path / "in.parquet", "text")]


def test_a_file_that_is_torn_anywhere_is_named(tmp_path: Path) -> None:
    """Cut short, damaged within, or something else altogether."""
    path = tmp_path / "in.parquet"
    texts = [f"{number} and more" for number in range(500)]
    pq.write_table(pa.table({"t": texts}), path, row_group_size=100, write_page_checksum=True)
    whole = path.read_bytes()
    half = len(whole) // 2
    torn = [b"", b"PAR1", b"no such thing at all", whole[:-1], whole[:half]]
    damaged = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    for content in (*torn, damaged):
        path.write_bytes(content)
        with pytest.raises(BatchInputError, match=r"in\.parquet is not a Parquet file, or is truncated or damaged"):
            rows_of(path)


def test_it_is_read_from_where_it_is(tmp_path: Path) -> None:
    """A file system that is not a disk needs no copy of the file."""
    path = UPath(f"memory://{tmp_path.name}/in.parquet")
    with path.open("wb") as file:
        pq.write_table(pa.table({"t": ["a", "b"]}), file)
    assert [{"t": "a"}, {"t": "b"}] == rows_of(path)


def test_without_arrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr("airflow_provider_hf_endpoints.inference.inputs.readers.parquet.pa", None)
    (tmp_path / "in.parquet").write_bytes(b"")
    with pytest.raises(BatchInputError, match=r"pip install 'airflow-provider-hf-endpoints\[parquet\]'"):
        rows_of(tmp_path / "in.parquet")


def test_a_map_with_a_key_twice_is_its_rows_error(tmp_path: Path) -> None:
    """JSON would keep one of the two values; the rows beside that row are read."""
    kind = pa.map_(pa.string(), pa.int64())
    pq.write_table(pa.table({"m": pa.array([[("a", 1)], [("a", 1), ("a", 2)]], kind)}), tmp_path / "in.parquet")
    first, second = read_lines(find_input(tmp_path / "in.parquet"))
    assert {"m": {"a": 1}} == parse_line(first)
    with pytest.raises(BatchInputError, match=r"row 2 of in\.parquet .*column 'm' .*\(a key of the map"):
        parse_line(second)


def test_a_table_of_very_many_columns_is_read(tmp_path: Path) -> None:
    """Ten thousand of them once took a minute for one row: the names were listed again for each column."""
    path = tmp_path / "in.parquet"
    names = [f"c{number}" for number in range(10_000)]
    pq.write_table(pa.table({name: [name] for name in names}), path)
    began = process_time()
    (row,) = rows_of(path)
    assert {name: name for name in names} == row
    assert 30.0 > process_time() - began


@pytest.mark.parametrize("around", ["alone", "list", "first rows null"])
def test_a_struct_with_two_fields_of_one_name_is_refused_as_a_column(tmp_path: Path, around: str) -> None:
    """Not row after row, and also where the first rows have none."""
    kind: Any = pa.struct([("a", pa.int64()), ("a", pa.timestamp("ns"))])
    kind = pa.list_(kind) if around == "list" else kind
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["t", "u"], "x": pa.nulls(2, kind)}), path)
    with pytest.raises(BatchInputError, match=r"column 'x' .*two fields have one name"):
        rows_of(path, "text", "x")
    assert [{"text": "t"}, {"text": "u"}] == rows_of(path, "text")


def test_a_time_zone_that_nobody_knows_is_named(tmp_path: Path) -> None:
    """With what may be missing, in place of "zoneinfo or pytz must be installed"."""
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"at": pa.array([1], pa.timestamp("us", "Mars/Phobos"))}), path)
    with pytest.raises(BatchInputError, match=r"column 'at' .*Mars/Phobos.*install tzdata"):
        rows_of(path, "at")
