"""What a start tells itself over a deferral, and what a group's tasks tell each other: values that survive JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_hf_endpoints.leases.records import new_lease
from airflow_provider_hf_endpoints.operators.starting.search import Search
from airflow_provider_hf_endpoints.operators.starting.state import StartState
from airflow_provider_hf_endpoints.operators.using.acquired import Acquired, namespace_of

SEARCH = Search(left=("aws/us-east-1/nvidia-l4/x1",), started=1.0, at="gcp/b/c/d", tried=(("a/b/c/d", "no quota"),))
BUDGET = {"max_cost": 1.0, "gone": 0.25}


@pytest.mark.parametrize(
    "state",
    [StartState(), StartState(started_here=True), StartState(budget=BUDGET), StartState(True, BUDGET, SEARCH)],
)
def test_it_is_the_same_after_a_deferral(state: StartState) -> None:
    """Another process reads from the kwargs what this one wrote, through Airflow's JSON."""
    assert state == StartState.of(json.loads(json.dumps(state.stored())))


def test_only_what_is_not_at_its_default_is_stored() -> None:
    """A task that was deferred by another version is taken up: the kwargs have the names that they always had."""
    assert {} == StartState().stored()
    assert {"started_here": True} == StartState(started_here=True).stored()
    assert StartState(started_here=True) == StartState.of({"started_here": True, "of a newer version": 1})


LEASE = new_lease("dag run task", 1.0, 60.0)
RESULT: dict[str, Any] = {
    "name": "demo",
    "namespace": "acme",
    "found": None,
    "use": "one",
    "lease": LEASE.stored(),
    "budget": BUDGET,
}


def test_what_acquire_returns_is_read() -> None:
    """The start and the release have it as values; an unknown field of a newer version is not an error."""
    acquired = Acquired.of({**RESULT, "new": 1})
    assert acquired is not None
    assert ("demo", "acme", None, "one", BUDGET) == (
        acquired.name,
        acquired.namespace,
        acquired.found,
        acquired.use,
        acquired.budget,
    )
    assert acquired.held == LEASE
    place = {"name": "demo", "namespace": "acme", "service": None}
    assert {**place, "found": None, "use": "one"} == acquired.noted


@pytest.mark.parametrize("result", [None, "demo", ["demo"], {"namespace": "acme"}])
def test_what_acquire_has_not_returned_is_none(result: object) -> None:
    """A task whose acquire has left nothing does not guess an endpoint."""
    assert Acquired.of(result) is None
    assert namespace_of(result) is None


def test_the_tasks_behind_are_told_of_the_lease_and_the_budget() -> None:
    """By these two and the use they renew the one and keep the other; without a lease nothing is renewed."""
    acquired = Acquired.of(RESULT)
    assert acquired is not None
    lease = {"namespace": "acme", "name": "demo", "record": LEASE.stored()}
    assert {"use": "one", "lease": lease, "budget": None} == acquired.told(None)
    without = Acquired.of({**RESULT, "lease": None})
    assert without is not None
    assert without.told(BUDGET) == {"use": "one", "lease": None, "budget": BUDGET}
