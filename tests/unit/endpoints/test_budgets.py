"""What an endpoint may cost from a moment on: when a start is refused, when a wait ends, and the texts about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.endpoints.costs.budgets import Account, BudgetSpentError, Limits
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointTimeoutError, InvalidArgumentError

WHAT = "Endpoint 'demo' (1 x here)"


def account(**given: Any) -> Account:
    return Account(**{"max_cost": None, "max_runtime": None, "began": 1000.0, **given})


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ((0, None), "max_cost"),
        ((-1.0, None), "max_cost"),
        ((float("nan"), None), "max_cost"),
        ((float("inf"), None), "max_cost"),
        ((True, None), "max_cost"),
        (("5", None), "max_cost"),
        ((None, 0.0), "max_runtime"),
        ((None, timedelta(0)), "max_runtime"),
    ],
)
def test_a_limit_is_a_positive_number(limits: Any, name: str) -> None:
    """The error names the argument."""
    with pytest.raises(InvalidArgumentError, match=f"{name}=.* Give a positive number"):
        Limits.of(*limits)


def test_limits_as_a_dag_writes_them() -> None:
    """Seconds or a timedelta; none is fine."""
    assert Limits(max_cost=2, max_runtime=90.0) == Limits.of(2, timedelta(seconds=90))
    assert (True, False) == (Limits.of(None, 5).are_set, Limits.of(None, None).are_set)


@pytest.mark.parametrize(
    ("limits", "spent", "rate", "words"),
    [
        ({"max_cost": 1.0}, 0.0, 60.0, None),  # exactly one minute
        ({"max_cost": 1.0}, 0.01, 60.0, r"\$0\.0100 of max_cost \$1 at \$60 an hour.*one billed minute \(\$1\.0000\)"),
        ({"max_cost": 1.0}, 0.0, None, "does not list the price of this hardware"),
        ({"max_cost": 1.0}, 0.0, 0.0, None),
        ({"max_runtime": 50.0}, 0.0, None, None),
        ({"max_runtime": 10.0}, 0.0, None, "10 s of max_runtime 10 s"),
        ({}, 0.0, None, None),
    ],
)
def test_what_is_not_started(limits: dict[str, Any], spent: float, rate: float | None, words: str | None) -> None:
    """What can't pay for one billed minute, or is spent, or has no price; with the figures."""
    refusal = account(**limits).refusal(WHAT, spent, rate, 1010.0)
    if words is None:
        assert refusal is None
    else:
        with pytest.raises(BudgetSpentError, match=rf"Endpoint 'demo' \(1 x here\) is not started.*{words}"):
            raise BudgetSpentError(refusal)


@given(
    max_cost=st.floats(0.01, 100),
    rate=st.floats(0.01, 100),
    share=st.floats(0, 2),
    waited=st.floats(0, 1e5),
)
def test_a_wait_ends_when_all_is_spent(max_cost: float, rate: float, share: float, waited: float) -> None:
    """At the deadline, and not before it, what the endpoint has cost is the limit; a limit of time may be earlier."""
    now, spent = 1000.0 + waited, max_cost * share
    ends = account(max_cost=max_cost).deadline(spent, rate, now)
    assert ends is not None
    assert max(spent, max_cost) == pytest.approx(spent + (ends - now) / 3600 * rate)
    assert min(ends, 1500.0) == account(max_cost=max_cost, max_runtime=500.0).deadline(spent, rate, now)


def test_what_costs_nothing_has_no_end() -> None:
    """Without a price, or a limit."""
    assert account(max_cost=1.0).deadline(0.0, 0.0, 1000.0) is None
    assert account().deadline(0.0, 5.0, 1000.0) is None


def test_it_travels() -> None:
    """Through XCom, a deferral and a note; without a budget the result is None."""
    opened = account(max_cost=2.0, max_runtime=60.0).with_lost(0.5)
    assert opened == Account.of({**opened.stored(), "key": "try 1"})
    assert 0.5 == opened.gone
    for other in (None, "text", {}, {"began": "x"}, {"began": 1.0, "max_cost": -1}):
        assert Account.of(other) is None


def test_it_is_a_timeout_that_no_retry_mends() -> None:
    """So `on_timeout` applies, and the task fails without a retry."""
    assert issubclass(BudgetSpentError, InferenceEndpointTimeoutError)
    assert not BudgetSpentError.retryable
