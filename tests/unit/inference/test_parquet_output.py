"""Output lines as rows of Parquet: no answer, however odd, makes a file impossible."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.errors import ServerError
from airflow_provider_hf_endpoints.inference.output.lines import answer_record, error_record
from airflow_provider_hf_endpoints.inference.output.spans import fields_as_json
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
parquet = pytest.importorskip("airflow_provider_hf_endpoints.inference.output.parquet")

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates too
NUMBERS = st.integers(-(10**40), 10**40) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
EMBEDDINGS = st.lists(st.lists(NUMBERS, max_size=4), max_size=3)


def rows_of(folder: Path, lines: list[bytes], *, vectors: bool = False) -> list[dict[str, Any]]:
    with (folder / "out.parquet").open("wb") as file, parquet.rows_of(file, vectors=vectors) as rows:
        for line in lines:
            rows.write(line + b"\n")
    found: list[dict[str, Any]] = pq.read_table(folder / "out.parquet").to_pylist()
    return found


def line_of(output: Any, **others: Any) -> bytes:
    return answer_record(3, 1, 3, InferenceResult(output, **others), 1, None).payload


@settings(deadline=None, max_examples=200)
@given(
    output=VALUES | EMBEDDINGS,
    columns=st.dictionaries(TEXTS, VALUES, max_size=3),
    extra=VALUES,
    identity=TEXTS | st.integers(-(10**40), 10**40),
    words=TEXTS,
    vectors=st.booleans(),
)
def test_whatever_was_recorded_can_be_published(
    tmp_path_factory: pytest.TempPathFactory,
    output: Any,
    columns: dict[str, Any],
    extra: Any,
    identity: Any,
    words: str,
    vectors: bool,
) -> None:
    """Any answer, kept column, id and error message: a row each, with the answer's text or its JSON (NaN is null)."""
    result = InferenceResult(output, "stop", Usage(1, None), extra=extra)
    good = answer_record(0, 1, identity, result, 1, columns)
    bad = error_record(1, 2, identity, ServerError(words), 1, columns)
    first, second = rows_of(tmp_path_factory.mktemp("out"), [good.payload, bad.payload], vectors=vectors)
    assert ([0, 1], [None, "server"]) == (
        [first["index"], second["index"]],
        [row["error"] and row["error"]["type"] for row in (first, second)],
    )
    if isinstance(output, str):
        assert len(output) == len(first["output"])
    elif output is not None and first["embedding"] is None:
        assert json.loads(fastjson.encode(output)) == json.loads(first["output"] or "null")


@pytest.mark.parametrize("output", [[1, 2, 3], [[0.5, 1.5]], [4], []])
def test_numbers_are_no_vector_unless_the_task_gives_vectors(tmp_path: Path, output: Any) -> None:
    """A structured answer that is a list of numbers is JSON, each number as it was."""
    row = rows_of(tmp_path, [line_of(output)])[0]
    assert (output, None) == (json.loads(row["output"]), row["embedding"])


@pytest.mark.parametrize(
    ("output", "embedding"),
    [
        ([[0.5, 1]], [0.5, 1.0]),
        ([[16_777_217, 1.0]], [16_777_216.0, 1.0]),
        ([[10**40, 1.0]], None),
        ([[0.5], [1.5]], None),
        ([[[0.5], [1.5]]], None),
        ([[]], None),
    ],
)
def test_a_vector_has_its_place(tmp_path: Path, output: Any, embedding: list[float] | None) -> None:
    """One that is alone, and whose numbers are of its type; all others are JSON."""
    row = rows_of(tmp_path, [line_of(output)], vectors=True)[0]
    assert embedding == row["embedding"]
    assert embedding is not None or output == json.loads(row["output"])


@pytest.mark.parametrize("depth", [100, 900, 980, 5000, 100_000])
def test_an_answer_nested_at_any_depth_is_a_row(tmp_path: Path, depth: int) -> None:
    """What could be read when it came may be nested too deeply to be read here, deeper in other calls."""
    nested = b"[" * depth + b"]" * depth
    line = line_of(["mark"]).replace(b'["mark"]', nested)
    assert nested.decode() == rows_of(tmp_path, [line, line_of("x")])[0]["output"]


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_fields_are_found_without_reading_their_values(value: dict[str, Any]) -> None:
    """Whatever signs are in names and texts."""
    line = fastjson.encode(value)
    assert fastjson.decode(line) == {name: fastjson.decode(raw) for name, raw in fields_as_json(line)}


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf, {"a": math.nan}]])
@pytest.mark.parametrize("beside", ["x", "\ud83d", 10**40])
def test_what_is_no_number_is_null_in_json(value: Any, beside: Any) -> None:
    """Beside a value that needs the slower way of writing too: `NaN` is not JSON."""
    text = fastjson.encode([value, beside]).decode()
    assert "NaN" not in text
    assert "Infinity" not in text
