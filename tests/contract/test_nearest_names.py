"""The error for a misspelt endpoint has the nearest name, for every reader, and costs at most one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.protocol import Look
from airflow_provider_hf_endpoints.operators.common.task_waits import explain_failure
from airflow_provider_hf_endpoints.operators.using.leases import LeasedEndpoint
from airflow_provider_hf_endpoints.waits import conclude
from tests.contract.operators_play import connected, create, received, run

PLAINLY = r"No endpoint 'my-rnu' in namespace 'acme'.*Did you mean 'my-run'\?"
LIST = "GET /v2/endpoint/acme"  # the names
SINCE = datetime.now(UTC) - timedelta(hours=1)
READS: dict[str, Callable[[Any], Any]] = {
    "get": lambda client: client.get_inference_endpoint("my-rnu"),
    "replicas": lambda client: client.list_inference_endpoint_replicas("my-rnu"),
    "logs": lambda client: client.get_inference_endpoint_logs("my-rnu"),
    "metric": lambda client: client.get_inference_endpoint_metric("my-rnu", "replica-running", start=SINCE),
    "cost": lambda client: client.get_inference_endpoint_cost("my-rnu", start=SINCE),
}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as emulator:
        run(create("my-run"))
        yield emulator


def lists(emulator: Emulator) -> int:
    """How often the names were asked for."""
    return [line.partition("?")[0] for line in received(emulator)].count(LIST)


@pytest.mark.parametrize("read", READS)
def test_every_read_names_the_nearest(emulator: Emulator, read: str) -> None:
    """By the client, by the hook and by the async client, each with one request for the names."""
    before = lists(emulator)
    asked = pytest.raises(EndpointNotFoundError, match=PLAINLY)
    with EndpointsClient(emulator.token, base_url=emulator.url) as client, asked:
        READS[read](client)
    with InferenceEndpointsHook() as hook, pytest.raises(EndpointNotFoundError, match=PLAINLY):
        READS[read](hook)

    async def ask() -> None:
        async with AsyncEndpointsClient(emulator.token, base_url=emulator.url) as client:
            await READS[read](client)

    with pytest.raises(EndpointNotFoundError, match=PLAINLY):
        asyncio.run(ask())
    assert before + 3 == lists(emulator)


def test_a_deferred_wait_names_the_nearest(emulator: Emulator) -> None:
    """The trigger does not ask; the task that its event ends does."""
    event = {"status": "failed", "name": "my-rnu", "reason": _missing(), "endpoint": None}
    before = lists(emulator)
    with pytest.raises(Exception, match=PLAINLY):
        conclude(event, lambda reason: explain_failure("hf_endpoints_default", event, reason))
    assert before + 1 == lists(emulator)


def _missing() -> str:
    """What a trigger says of an endpoint that is not there."""
    from airflow_provider_hf_endpoints.endpoints.waiting.readiness import EndpointSnapshot, Failed, Goal, judge

    verdict = judge(EndpointSnapshot(None), Goal(SINCE), datetime.now(UTC))
    assert isinstance(verdict, Failed)
    return verdict.reason


def test_where_a_404_is_an_answer_no_names_are_asked_for(emulator: Emulator) -> None:
    """A look of the lease protocol, and a request that stops an endpoint."""
    before = lists(emulator)
    with InferenceEndpointsHook() as hook:
        assert LeasedEndpoint(hook, "acme", "my-rnu")._do(Look()) is None
        assert hook.get_conn().release("my-rnu", "delete") is not None
        assert not hook.get_conn().delete_inference_endpoint("my-rnu", missing_ok=True)
        with pytest.raises(EndpointNotFoundError):
            hook.get_conn().pause_inference_endpoint("my-rnu")
    assert before == lists(emulator)


def test_a_list_that_fails_leaves_the_error_as_it_is(emulator: Emulator) -> None:
    """The 404 is what is raised, with the general advice."""
    emulator.add_fault("/v2/endpoint/acme$", method="GET", status=500)
    with InferenceEndpointsHook() as hook, pytest.raises(EndpointNotFoundError, match="Check the endpoint's name"):
        hook.get_inference_endpoint("my-rnu")
