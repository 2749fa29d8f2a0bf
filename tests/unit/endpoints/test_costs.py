"""What an endpoint has cost, from what three witnesses say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost, lifetimes, price_of, running_seconds, weigh
from airflow_provider_hf_endpoints.endpoints.errors import CostUnknownError
from airflow_provider_hf_endpoints.endpoints.models import Hardware, InferenceEndpoint, Metrics, Place, Replica

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def replica(start: float | None, stop: float | None = None) -> Replica:
    return Replica.model_validate(
        {
            "id": "r",
            "status": {
                "stage": "running",
                "startedAt": None if start is None else at(start).isoformat(),
                "stoppedAt": None if stop is None else at(stop).isoformat(),
            },
        }
    )


def graph(*points: tuple[float, float | None], stop: float) -> Metrics:
    data = [{"x": at(minute).isoformat(), "y": count} for minute, count in points]
    return Metrics.model_validate(
        {"start": BEGIN.isoformat(), "stop": at(stop).isoformat(), "series": [{"status": "running", "data": data}]}
    )


def endpoint(**changes: Any) -> InferenceEndpoint:
    return InferenceEndpoint.model_validate(
        {
            "name": "e",
            "namespace": "acme",
            "status": {"state": "running", "readyReplica": 2, "targetReplica": 2, **changes},
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {"accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x1"},
        }
    )


def weighed(**witnesses: Any) -> Cost:
    given = {"price_per_hour": 0.6, "replicas": None, "metrics": None, **witnesses}
    return weigh(given.pop("seen", endpoint()), at(0), at(60), **given)


def test_lifetimes_are_cut_to_the_span() -> None:
    """A replica that lived before the span, or still lives, counts for the part inside it."""
    lived = lifetimes([replica(-10, 5), replica(30), replica(-20, -10), replica(70)], at(0), at(60))
    assert (5 + 30) * 60 == lived


def test_a_replica_without_a_beginning_is_no_witness() -> None:
    """What is not known is not guessed: the next witness is asked."""
    assert lifetimes([replica(0, 1), replica(None)], at(0), at(60)) is None


def test_a_graph_holds_each_value_until_the_next() -> None:
    """Two replicas for ten minutes, one for twenty, none after; a missing value keeps the last one."""
    seconds = running_seconds(graph((0, 2), (10, 1), (20, None), (30, 0), stop=60))
    assert (2 * 10 + 20) * 60 == seconds


@pytest.mark.parametrize("metrics", [graph(stop=60), graph((0, None), stop=60)])
def test_a_graph_without_values_says_nothing(metrics: Metrics) -> None:
    """No value is not the value 0."""
    assert running_seconds(metrics) is None


def test_lifetimes_are_believed_first_and_the_graph_splits_them() -> None:
    """Billed is the whole life; what of it was running, the graph tells."""
    cost = weighed(replicas=[replica(0, 30)], metrics=graph((0, 0), (10, 1), (30, 0), stop=60))
    assert ("replica lifetimes", 30 * 60, 20 * 60) == (cost.source, cost.replica_seconds, cost.running_seconds)
    assert pytest.approx(0.3) == cost.usd
    assert (30.0, 20.0, 10.0) == tuple(
        cost.as_dict()[name] for name in ("replica_minutes", "running_minutes", "initializing_minutes")
    )


def test_a_service_that_forgets_ended_replicas_is_found_out() -> None:
    """Where the graph knows of more than the listed replicas lived, the graph is believed."""
    cost = weighed(replicas=[replica(50)], metrics=graph((0, 1), stop=60))
    assert ("replica metric", 3600.0) == (cost.source, cost.replica_seconds)


@pytest.mark.parametrize(("state", "expected"), [("running", 2 * 3600.0), ("pending", 0.0)])
def test_without_witnesses_the_state_decides(state: str, expected: float) -> None:
    """One look at an endpoint that runs or is about to, stretched over the span, and said to be that."""
    cost = weighed(seen=endpoint(state=state))
    assert ("observed states", expected) == (cost.source, cost.replica_seconds)


@pytest.mark.parametrize("state", ["paused", "scaledToZero", "failed", "deleted"])
@pytest.mark.parametrize("replicas", [None, []])
@pytest.mark.parametrize("metrics", [None, graph(stop=60)])
def test_what_nobody_saw_is_not_free(state: str, replicas: list[Replica] | None, metrics: Metrics | None) -> None:
    """A stopped endpoint may have run before. An empty list or graph does not prove that it did not."""
    with pytest.raises(CostUnknownError, match=f"it is {state} now"):
        weighed(seen=endpoint(state=state), replicas=replicas, metrics=metrics)


def test_no_replica_listed_is_no_witness() -> None:
    """The next witness is asked."""
    assert weighed(replicas=[], metrics=graph((0, 1), stop=60)).source == "replica metric"


def test_costs_are_told_by_the_work() -> None:
    """Dollars per thousand rows and per million tokens, where there was any."""
    cost = weighed(replicas=[replica(0)]).for_work(rows=3000, tokens=600_000)
    assert pytest.approx(0.2) == cost.usd_per_1000_rows
    assert pytest.approx(1.0) == cost.usd_per_million_tokens
    assert "$0.2000 per 1,000 rows, $1.0000 per 1M tokens" in cost.summary()
    nothing = weighed(replicas=[replica(0)])
    assert (None, None) == (nothing.usd_per_1000_rows, nothing.usd_per_million_tokens)


def test_an_unlisted_price_makes_no_dollars() -> None:
    """The minutes are still reported, and that the price is missing."""
    cost = weighed(price_per_hour=None, replicas=[replica(0)]).for_work(rows=1, tokens=1)
    assert (None, None, None) == (cost.usd, cost.usd_per_1000_rows, cost.usd_per_million_tokens)
    assert "at an unknown price" in cost.summary()


def test_the_price_is_that_of_the_instance() -> None:
    """Vendor, region, type and size all count."""
    place = {"vendor": "aws", "region": "us-east-1", "instanceType": "nvidia-l4", "instanceSize": "x1"}
    offered = [
        Hardware.model_validate({**place, "region": "eu-west-1", "pricePerHour": 1.0}),
        Hardware.model_validate({**place, "pricePerHour": 0.8}),
    ]
    here = Place("aws", "us-east-1", "nvidia-l4", "x1")
    assert price_of(here, offered) == 0.8
    assert price_of(here, offered[:1]) is None
