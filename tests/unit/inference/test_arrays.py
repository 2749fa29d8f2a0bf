"""Arrays of rows: how many fit, how an answer's tokens are shared out, what teaches a smaller size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.errors import (
    BadRequestError,
    CutAnswerError,
    InferenceError,
    MalformedAnswerError,
    PayloadTooLargeError,
    ServerError,
)
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.requests.arrays import ArrayForm, share_out
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.sending.parcels import (
    GIVE_UP_AFTER,
    GROW_AFTER,
    ArraySize,
    Item,
    Parcel,
    parts_of,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage

FORM = ArrayForm("/e", "feature-extraction", b'{"inputs":', b',"truncate":false}')


def rows(count: int) -> list[Item]:
    return [
        Item(Line(n, n + 1, b""), n + 1, n, RowRequest("/e", b'{"inputs":"t%d","truncate":false}' % n, FORM.task), None)
        for n in range(count)
    ]


def parcel(count: int, *, part: bool = False) -> Parcel:
    items = rows(count)
    return Parcel(items, FORM.request(items), part=part)


def test_an_array_is_made_of_the_rows_own_requests() -> None:
    """A row alone is sent as it is; TEI's /predict wants each text in a list."""
    assert b'{"inputs":["t0","t1"],"truncate":false}' == FORM.request(rows(2)).body
    assert b'{"inputs":"t0","truncate":false}' == FORM.request(rows(1)).body
    predict = ArrayForm("/predict", "text-classification", FORM.before, FORM.after, wrapped=True)
    assert b'{"inputs":[["t0"],["t1"]],"truncate":false}' == predict.request(rows(2)).body


@given(
    st.lists(st.integers(2, 10_000), min_size=1, max_size=64),
    st.none() | st.integers(0, 10**7),
    st.none() | st.integers(0, 1000),
)
def test_shares_add_up_to_what_the_engine_counted(sizes: list[int], prompt: int | None, completion: int | None) -> None:
    """Exactly, and no share is negative; what was not counted stays unknown."""
    shares = share_out(Usage(prompt, completion), sizes)
    for total, counts in (
        (prompt, [share.prompt_tokens for share in shares if share]),
        (completion, [share.completion_tokens for share in shares if share]),
    ):
        if total is None:
            assert [None] * len(sizes) == counts
        else:
            numbers = [count for count in counts if count is not None]
            assert (total, len(sizes)) == (sum(numbers), len(numbers))
            assert min(numbers) >= 0


def test_an_answer_of_another_length_is_no_answer() -> None:
    """One vector too few, too many, or something else."""
    for output in ([[1.0]], [[1.0]] * 3, {"a": 1}, None):
        with pytest.raises(MalformedAnswerError):
            FORM.split(rows(2), InferenceResult(output))
    with pytest.raises(MalformedAnswerError, match="2 vectors for 1 texts"):
        FORM.split(rows(1), InferenceResult([[1.0], [2.0]]))


def test_413_halves_and_success_doubles_again() -> None:
    """Once for a wave that was sent with the old size; parts of an array teach nothing; more patience each time."""
    size = ArraySize(32)
    for _ in range(3):
        size.failed(parcel(32), PayloadTooLargeError("x"))
    size.failed(parcel(16, part=True), PayloadTooLargeError("x"))
    assert 16 == size.rows
    for _ in range(2 * GROW_AFTER):
        size.answered(16)
    assert 32 == size.rows
    for _ in range(10 * GROW_AFTER):
        size.answered(32)
    assert 32 == size.rows


@pytest.mark.parametrize(
    ("error", "rows_then"), [(BadRequestError, 1), (MalformedAnswerError, 1), (ServerError, 8), (CutAnswerError, 8)]
)
def test_an_engine_that_never_took_an_array_gets_single_rows(error: type[InferenceError], rows_then: int) -> None:
    """Refusals and nonsense count, an engine's own failures don't; and none once an array was answered."""
    size, taken = ArraySize(8), ArraySize(8)
    taken.answered(8)
    for _ in range(GIVE_UP_AFTER):
        size.failed(parcel(8), error("x"))
        taken.failed(parcel(8), error("x"))
    assert (rows_then, 8) == (size.rows, taken.rows)


def test_an_array_falls_into_halves_or_smaller() -> None:
    """No part is larger than what is known to be taken, none empty, the order is kept."""
    assert [[0, 1, 2], [3, 4]] == [[row.index for row in part.rows] for part in parts_of(FORM, parcel(5), 32)]
    assert [[0], [1], [2]] == [[row.index for row in part.rows] for part in parts_of(FORM, parcel(3), 1)]
    assert [1, 1] == [len(part.rows) for part in parts_of(FORM, parcel(2), 32)]
