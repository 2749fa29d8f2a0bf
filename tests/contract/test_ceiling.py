"""A connection's ceiling, kept by whatever starts an endpoint: client, hook and operators, on the running emulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.api.ceiling import Ceiling, CeilingError
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from tests.contract.operators_play import TOKEN, connect, create, run
from tests.contract.specs import L4


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(token=TOKEN, namespace="acme") as running:
        yield running


def client(emulator: Emulator, *allowed: str, price: float | None = None) -> EndpointsClient:
    return EndpointsClient(TOKEN, base_url=emulator.url, namespace="acme", ceiling=Ceiling(price, allowed))


def writes(emulator: Emulator) -> list[str]:
    return [f"{each.method} {each.path}" for each in emulator.requests if each.method != "GET"]


def test_create(emulator: Emulator) -> None:
    """Nothing is created that may cost more; what fits is created."""
    with client(emulator, price=1.0) as limited:
        with pytest.raises(CeilingError, match=r"can cost up to \$1\.6 an hour \(2 x \$0\.8"):
            limited.create_inference_endpoint("two", max_replica=2, **L4)
        assert writes(emulator) == []
        assert limited.create_inference_endpoint("one", **L4).name == "one"


def test_resume_and_update(emulator: Emulator) -> None:
    """What was created elsewhere is neither started nor grown beyond the ceiling; other changes are free."""
    with client(emulator) as free:
        free.create_inference_endpoint("e", **L4)
        free.pause_inference_endpoint("e")
    with client(emulator, "nvidia-t4") as limited, pytest.raises(CeilingError, match="allows only nvidia-t4"):
        limited.resume_inference_endpoint("e")
    with client(emulator, price=1.0) as limited:
        with pytest.raises(CeilingError, match=r"3 x \$0\.8"):
            limited.update_inference_endpoint("e", max_replica=3)
        with pytest.raises(CeilingError, match="x4"):
            limited.update_inference_endpoint("e", instance_size="x4")
        limited.settle(limited.update_inference_endpoint("e", scale_to_zero_timeout=30))
        assert limited.resume_inference_endpoint("e").status in ("pending", "initializing")


def test_the_catalog_chooses_hardware_itself(emulator: Emulator) -> None:
    """So under a ceiling it is not asked to."""
    with client(emulator, price=100.0) as limited, pytest.raises(CeilingError, match="catalog chooses"):
        limited.create_inference_endpoint_from_catalog("org/model")
    assert writes(emulator) == []


def test_the_connection_sets_it(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the extra, for the hook and every operator; a task that exceeds the limit fails without a retry."""
    connect(monkeypatch, emulator, max_price_per_hour="0.5", allowed_hardware="nvidia-t4, intel-*")
    with InferenceEndpointsHook() as hook, pytest.raises(CeilingError, match="nvidia-t4, intel-"):
        hook.create_inference_endpoint("e", **L4)
    with pytest.raises(AirflowFailException, match="allows only"):
        run(create(**L4))
    assert writes(emulator) == []
    assert run(create())["state"] == "running"  # intel-icl x2


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"max_price_per_hour": "much"}, "max_price_per_hour of the connection .* positive number of USD"),
        ({"allowed_hardware": 5}, "allowed_hardware of the connection"),
        ({"allowed_hardware": "aws/x1"}, "allowed_hardware contains 'aws/x1'"),
    ],
)
def test_a_bad_ceiling_is_told(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], words: str
) -> None:
    """A limit that cannot be read would be no limit, so nothing is done over such a connection."""
    connect(monkeypatch, emulator, **extra)
    with pytest.raises(InvalidArgumentError, match=words):
        InferenceEndpointsHook().get_conn()
