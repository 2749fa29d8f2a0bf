"""What is known of a run as a whole: why it ends, and how many of its rows may fail."""

from __future__ import annotations

import pytest

from airflow_provider_hf_endpoints.inference.sending.finished import ErrorRate
from airflow_provider_hf_endpoints.inference.sending.state import Ending, Tally


def test_the_first_reason_to_end_is_the_one_that_counts() -> None:
    """A caller that gives a later one learns that it does not count."""
    ending, error = Ending(), RuntimeError("no disk")
    assert (False, False) == (ending.over, ending.early)
    assert [True, False] == [ending.end_early(error), ending.end_early(stopped="stop requested")]
    assert (True, True, error, None) == (ending.over, ending.early, ending.cause, ending.stopped)


def test_a_run_that_has_sent_everything_is_over_and_not_early() -> None:
    """Its end has no reason."""
    ending = Ending()
    ending.end()
    assert (True, False) == (ending.over, ending.early)


@pytest.mark.parametrize(
    ("rate", "tally", "exceeded"),
    [
        (ErrorRate(0.5), Tally(done=2, failed=1), False),
        (ErrorRate(0.5), Tally(done=3, failed=2), True),
        (ErrorRate(None), Tally(done=3, failed=3), False),
        (ErrorRate(0.5, after=100), Tally(done=99, failed=99), False),
        (ErrorRate(0.5, after=100), Tally(done=100, failed=99), True),
        (ErrorRate(0.5, sorted_rows=10), Tally(done=9, failed=9, errors={"prompt_too_long": 9}), False),
        (ErrorRate(0.5, sorted_rows=10), Tally(done=10, failed=9, errors={"prompt_too_long": 9}), True),
    ],
)
def test_so_many_rows_may_fail(rate: ErrorRate, tally: Tally, exceeded: bool) -> None:
    """A share, after a number of rows; while rows are sorted by length, long ones that do not fit are not counted."""
    assert exceeded is rate.exceeded(tally)
