"""The leaf that both planes share: how long a server asks to wait."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hf_endpoints._http import parse_rate_limit, parse_retry_after, wait_told

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", None),
        ("soon", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("Mon, 05 Oct 2026 12:00:30 GMT", 30.0),
        ("Mon, 05 Oct 2026 11:59:00 GMT", 0.0),
        ("Mon, 05 Oct 2026 14:00:10 +0200", 10.0),
        ("Mon, 05 Oct 2026 12:00:05 -0000", 5.0),
        ("Mon, 99 Oct 2026 12:00:05 GMT", None),
    ],
)
def test_retry_after_in_every_form(value: str | None, seconds: float | None) -> None:
    """Seconds and HTTP dates are understood; what says nothing usable, or no finite time, is None."""
    assert seconds == parse_retry_after(value, NOW)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_retry_after_never_raises(value: str) -> None:
    """Whatever a server puts into the header, the outcome is None or a finite number that is not negative."""
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ('"api";r=0;t=42', 42.0),
        ('"api"; r=0; t=42', 42.0),
        ('"api";t=42;r=0', 42.0),
        ("api;r=0;t=0", 0.0),
        ('"api";r=12;t=42', None),
        ('"api";r=0', None),
        ('"api";r=0;t=soon', None),
        ('"api";r=0;t=-4', None),
        ('"api";r=0.5;t=4', None),
        ('"api";r=0;t=' + "9" * 400, None),
        ('"api";r=0;t=55, "pages";r=3;t=300', 55.0),
        ('"api";r=0;t=55, "pages";r=0;t=300', 300.0),
    ],
)
def test_the_hubs_rate_limit(value: str | None, seconds: float | None) -> None:
    """The Hub says `RateLimit: "api";r=0;t=N` on its 429 of whoami (seen in April 2026 and in huggingface_hub's own
    reading): of the limits with nothing left, the longest time until one is full again."""
    assert seconds == parse_rate_limit(value)


@settings(deadline=None)
@given(st.text(alphabet='"api;rt=0123,. -', max_size=40))
def test_a_rate_limit_never_raises(value: str) -> None:
    """Whatever stands in the header, the outcome is None or a finite number that is not negative."""
    seconds = parse_rate_limit(value)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


def test_both_headers_are_read() -> None:
    """Either header is enough; where both are there the longer wait is kept."""
    hub = {"ratelimit": '"api";r=0;t=9'}
    assert (9.0, 3.0) == (wait_told(hub, NOW), wait_told({"retry-after": "3"}, NOW))
    assert (9.0, 30.0) == (wait_told({**hub, "retry-after": "3"}, NOW), wait_told({**hub, "retry-after": "30"}, NOW))
    assert wait_told({}, NOW) is None


def test_a_date_long_past_means_now() -> None:
    """A date in the past is not a negative wait."""
    past = (NOW - timedelta(days=400)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert parse_retry_after(past, NOW) == 0.0
