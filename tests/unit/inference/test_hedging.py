"""When a slow row is sent once more: after its time, a bounded share, not while the endpoint has too much to do."""

from __future__ import annotations

from typing import Any, cast

import pytest

from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.sending.hedging import ENOUGH, QUIET, SHARE, SHORTEST, Hedging
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel


class Task:
    """A row that waits for an answer: only what hedging reads."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def parcel() -> Parcel:
    return Parcel([], RowRequest("/r", b"", "t"))


def send(hedging: Hedging, now: float, count: int = 1) -> list[tuple[Parcel, Any]]:
    out = [(parcel(), cast(Any, Task())) for _ in range(count)]
    for each, task in out:
        hedging.sent(each, now, task)
    return out


def test_a_slow_row_is_named_once_after_its_time() -> None:
    """Not before, and never twice."""
    hedging = Hedging(2.0)
    [(slow, _)] = send(hedging, 0.0)
    assert [] == hedging.due(1.9, closed=False, limit=8)
    assert [slow] == [flight.parcel for flight in hedging.due(2.0, closed=False, limit=8)]
    assert [] == hedging.due(9.0, closed=False, limit=8)


def test_the_first_answer_wins_and_the_other_gives_up() -> None:
    """Whichever of the two it is."""
    hedging = Hedging(2.0)
    [(slow, first)] = send(hedging, 0.0)
    [flight] = hedging.due(3.0, closed=False, limit=8)
    assert hedging.is_out(flight)
    second = Task()
    assert hedging.sent(slow, 3.0, cast(Any, second))
    hedging.answered(slow, 0.1, cast(Any, second))
    assert (True, False) == (first.cancelled, second.cancelled)
    assert not hedging.is_out(flight)


def test_one_of_two_that_fails_leaves_the_row_to_the_other() -> None:
    """Only the failure of the last one is the row's."""
    hedging = Hedging(2.0)
    [(slow, first)] = send(hedging, 0.0)
    hedging.due(3.0, closed=False, limit=8)
    second = cast(Any, Task())
    hedging.sent(slow, 3.0, second)
    assert (True, False) == (hedging.failed(slow, first), hedging.failed(slow, second))


def test_what_failed_before_its_second_request_went_out_is_not_hedged() -> None:
    """It is tried again by itself; sent by both it would be there twice."""
    hedging = Hedging(2.0)
    [(slow, first)] = send(hedging, 0.0)
    [flight] = hedging.due(3.0, closed=False, limit=8)
    hedging.failed(slow, first)
    hedging.sent(slow, 4.0, first)
    assert not hedging.is_out(flight)


def test_no_more_than_a_share_is_hedged() -> None:
    """A twentieth of what was sent; one in a small batch."""
    few, many = Hedging(1.0), Hedging(1.0)
    send(few, 0.0, 10)
    send(many, 0.0, 1000)
    assert 1 == len(few.due(5.0, closed=False, limit=8))
    assert SHARE * 1000 == len(many.due(5.0, closed=False, limit=8))


def test_nothing_is_hedged_while_the_endpoint_has_too_much_to_do() -> None:
    """Closed for all but probes, or its limit cut within the last seconds."""
    hedging = Hedging(1.0)
    send(hedging, 0.0)
    assert [] == hedging.due(5.0, closed=True, limit=8)
    assert [] == hedging.due(6.0, closed=False, limit=4)
    assert [] == hedging.due(6.0 + 0.9 * QUIET, closed=False, limit=4)
    assert 1 == len(hedging.due(6.0 + QUIET, closed=False, limit=4))


@pytest.mark.parametrize(("seconds", "patience"), [(2.0, 6.0), (0.01, SHORTEST)])
def test_auto_goes_by_the_answers_seen(seconds: float, patience: float) -> None:
    """Three times as long as nearly all of them, once there are enough; a few slow ones change nothing."""
    hedging = Hedging("auto")
    for number in range(ENOUGH):
        assert hedging.patience is None
        [(each, task)] = send(hedging, 0.0)
        hedging.answered(each, 100.0 if number % 25 == 0 else seconds, task)
    assert patience == hedging.patience
