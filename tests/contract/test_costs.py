"""What the client says that an endpoint cost, against the emulator's meter: at most 3 % apart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal
from tests.clock import owned_clock
from tests.contract.specs import L4

MOST = 0.03


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """By a clock that stands but while the client waits."""
    clock = owned_clock(monkeypatch)
    with Emulator(token="hf_test", namespace="acme", seconds_per_minute=60.0, clock=clock) as running:
        yield running


@pytest.fixture
def client(emulator: Emulator) -> Iterator[EndpointsClient]:
    with EndpointsClient("hf_test", base_url=emulator.url) as opened:
        yield opened


def started(client: EndpointsClient, name: str, **changes: Any) -> datetime:
    begin = datetime.now(UTC) - timedelta(seconds=1)
    client.create_inference_endpoint(name, **{**L4, **changes})
    end = client.wait(name, Goal(started=begin, deadline=begin + timedelta(seconds=30)))
    assert type(end).__name__ == "Ready", end
    return begin


def assert_close(emulator: Emulator, name: str, cost: Cost) -> None:
    meter = emulator.meter(name)
    assert meter["usd"] > 0
    assert cost.usd == pytest.approx(meter["usd"], rel=MOST)
    assert cost.price_per_hour == meter["price_per_hour"]


def test_a_life_with_pauses(emulator: Emulator, client: EndpointsClient) -> None:
    """Started, paused, resumed, paused: what lies between costs nothing."""
    begin = started(client, "life")
    emulator.advance(20)
    client.pause_inference_endpoint("life")
    emulator.advance(500)
    client.resume_inference_endpoint("life")
    client.wait("life", Goal(started=begin, deadline=datetime.now(UTC) + timedelta(seconds=30)))
    client.pause_inference_endpoint("life")
    cost = client.get_inference_endpoint_cost("life", start=begin)
    assert cost.source == "replica lifetimes"
    assert_close(emulator, "life", cost)


def test_several_replicas(emulator: Emulator, client: EndpointsClient) -> None:
    """Each replica is billed."""
    begin = started(client, "many", min_replica=3, max_replica=3)
    emulator.advance(20)
    client.pause_inference_endpoint("many")
    assert_close(emulator, "many", client.get_inference_endpoint_cost("many", start=begin))


def test_a_part_of_a_life(emulator: Emulator, client: EndpointsClient) -> None:
    """A span costs what was billed in it; what came before belongs to somebody else."""
    begin = started(client, "part")
    emulator.advance(20)
    client.pause_inference_endpoint("part")
    [replica] = client.list_inference_endpoint_replicas("part")
    assert replica.started_at is not None
    assert replica.stopped_at is not None
    middle = replica.started_at + (replica.stopped_at - replica.started_at) / 2
    whole = client.get_inference_endpoint_cost("part", start=begin)
    before = client.get_inference_endpoint_cost("part", start=begin, stop=middle)
    after = client.get_inference_endpoint_cost("part", start=middle)
    assert before.replica_seconds + after.replica_seconds == pytest.approx(whole.replica_seconds)
    assert before.replica_seconds == pytest.approx(whole.replica_seconds / 2)
    assert_close(emulator, "part", whole)


def test_without_replicas_and_prices_it_is_said(
    emulator: Emulator, client: EndpointsClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A route that answers 501 makes the figure coarser, never an error."""
    begin = started(client, "blind")
    for route in ("/v2/endpoint/acme/blind/replica", "/v2/endpoint/acme/blind/metrics/replica-running", "/v2/provider"):
        emulator.add_fault(path=route, status=501)
    cost = client.get_inference_endpoint_cost("blind", start=begin)
    assert ("observed states", None) == (cost.source, cost.usd)
    assert "cost is incomplete" in caplog.text


def test_the_same_for_asyncio(emulator: Emulator, client: EndpointsClient) -> None:
    """Both clients run the same flow."""
    begin = started(client, "both")
    client.pause_inference_endpoint("both")
    stop = datetime.now(UTC)

    async def ask() -> Cost:
        async with AsyncEndpointsClient("hf_test", base_url=emulator.url) as other:
            return await other.get_inference_endpoint_cost("both", start=begin, stop=stop)

    assert client.get_inference_endpoint_cost("both", start=begin, stop=stop) == asyncio.run(ask())


def test_bad_input(client: EndpointsClient) -> None:
    """A moment without a zone, and an endpoint that is not there."""
    with pytest.raises(InvalidArgumentError, match=r"start=.*no time zone"):
        client.get_inference_endpoint_cost("x", start=datetime(2026, 1, 1))
    with pytest.raises(EndpointNotFoundError):
        client.get_inference_endpoint_cost("x", start=datetime(2026, 1, 1, tzinfo=UTC))
