"""The order of sending: alike together, long ones first at the end, nothing lost, memory bounded."""

from __future__ import annotations

import itertools
import random
import sys
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.sending import ordering
from airflow_provider_hf_endpoints.inference.sending.ordering import ALIKE, OrderWindow, sending_order
from airflow_provider_hf_endpoints.inference.sending.parcels import Item

pytestmark = pytest.mark.once

HEAD = b'{"model":"m","messages":"'


def bodies(*texts: str) -> list[bytes]:
    return [HEAD + text.encode() for text in texts]


def item(place: int, body: bytes = b"x") -> Item:
    return Item(Line(place, place + 1, b""), place + 1, place, RowRequest("/r", body, "t"), None)


def test_rows_that_begin_alike_are_sent_together() -> None:
    """In the order of each group's first row; what all rows have in common makes no group.

    The first of each of a few groups goes first: its beginning is computed when the others come.
    """
    one, two = "a" * ALIKE, "b" * ALIKE
    assert [0, 1, 2, 4, 3] == sending_order(bodies(one + "1", two + "1", one + "2", two + "2", one + "3"), last=False)
    assert [0, 1, 2] == sending_order(bodies("zebra", "apple", "melon"), last=False)


@given(st.binary(max_size=40), st.binary(max_size=9), st.binary(max_size=9), st.sampled_from([1, 3, 8, 4096]))
def test_what_two_bodies_have_in_common_is_counted_by_blocks(head: bytes, one: bytes, other: bytes, block: int) -> None:
    """As byte by byte, wherever a block ends."""
    with mock.patch.object(ordering, "BLOCK", block):
        found = ordering._common(head + one, head + other)
    whole = zip(head + one, head + other, strict=False)
    assert len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], whole))) == found


def test_a_window_of_one_large_row_does_not_look_at_each_byte() -> None:
    """A row of a megabyte has itself in common with itself, which took a tenth of a second a row."""
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    body = b"x" * 1_000_000
    sys.settrace(lambda frame, event, argument: count)
    try:
        assert [0] == sending_order([body], last=False)
    finally:
        sys.settrace(None)
    assert steps < 20_000


def test_at_the_end_long_ones_go_first() -> None:
    """Groups stay together, the one with the longest row first; rows need not be grouped."""
    one = "a" * ALIKE
    texts = bodies("c", one + "2", "b" * 200, one + "1")
    assert [2, 3, 0, 1] == sending_order(texts, last=True)
    assert [0, 1, 2, 3] == sending_order(texts, last=False, alike=False)
    assert [2, 1, 3, 0] == sending_order(texts, last=True, alike=False)


def test_the_others_of_a_group_do_not_come_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many beginnings are computed before the first of them is used again."""
    monkeypatch.setattr(ordering, "BYTES_APART", 1)
    texts = bodies(*(f"{n}" * ALIKE + rest for rest in "xy" for n in range(8)))
    assert [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15] == sending_order(texts, last=False)


@given(st.lists(st.binary(max_size=80)), st.booleans(), st.booleans())
def test_every_row_is_sent_once(rows: list[bytes], last: bool, alike: bool) -> None:
    """Whatever the rows are: an order of all of them."""
    assert list(range(len(rows))) == sorted(sending_order(rows, last=last, alike=alike))


@pytest.mark.parametrize("size", [2, 7, 100, 5000])
def test_a_window_gives_out_every_row_and_holds_no_more_than_two_windows(size: int) -> None:
    """A row leaves it at most two windows after it came."""
    chance = random.Random(size)
    texts = bodies(*(f"{chance.randrange(20)} " * 40 + str(n) for n in range(1000)))
    window, left, out, most = OrderWindow(size), iter(range(1000)), [], 0
    for _ in itertools.count():
        rows = list(itertools.islice(left, window.wants))
        last = not rows and window.wants > 0
        for place in rows:
            window.gather(item(place, texts[place]))
        most = max(most, len(window))
        if window.opens(last=last):
            row = window.take(last=last)
            if row is None:
                break
            out.append(row.index)
    assert list(range(1000)) == sorted(out)
    assert most <= 2 * size
    assert max(abs(place - turn) for turn, place in enumerate(out)) <= 2 * size


def test_a_window_of_large_rows_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes bound it too, so that rows of a megabyte each do not fill the memory."""
    monkeypatch.setattr(ordering, "MOST_BYTES", 1000)
    window = OrderWindow(2000)
    while window.wants:
        window.gather(item(0, b"x" * 300))
    assert (4, True) == (len(window), window.opens(last=False))
