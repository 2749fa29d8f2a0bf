"""What Airflow stores of a trigger: enough to make it again, in older and newer versions, and no secret."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from airflow_provider_hf_endpoints.triggers.endpoints import InferenceEndpointTrigger
from airflow_provider_hf_endpoints.waits import WaitSpec

FULL: dict[str, Any] = {
    "endpoint": "demo",
    "namespace": "acme",
    "started": 1000.0,
    "deadline": 1060.0,
    "target_states": ["paused", "failed"],
    "on_scaled_to_zero": "accept",
    "resumed_at": 1001.0,
    "check_health": False,
    "poll_interval": 5.0,
    "hf_endpoints_conn_id": "other",
    "release_on_kill": "pause",
    "claim": "0199-attempt",
    "holder": "5f1c",
    "deferred_at": 1000.5,
}


def test_names_the_class_where_it_is_imported_from() -> None:
    """Airflow imports it by this path, in another process."""
    path, _ = InferenceEndpointTrigger(endpoint="demo", started=1.0).serialize()
    assert path == "airflow_provider_hf_endpoints.triggers.endpoints.InferenceEndpointTrigger"


def test_leaves_defaults_out() -> None:
    """An older triggerer must be able to read what a newer worker wrote."""
    _, kwargs = InferenceEndpointTrigger(endpoint="demo", started=1.0).serialize()
    assert kwargs == {"endpoint": "demo", "started": 1.0}


def test_comes_back_whole() -> None:
    """Every value survives JSON, in types that the strictest Airflow takes."""
    _, kwargs = InferenceEndpointTrigger(**FULL).serialize()
    assert kwargs == FULL
    stored = json.loads(json.dumps(kwargs))
    again = InferenceEndpointTrigger(**stored)
    assert (again.serialize()[1], again.wait.target_states) == (FULL, ("paused", "failed"))


def test_every_value_of_a_wait_is_stored() -> None:
    """A field that is added to waits and forgotten here would be lost in a deferral."""
    assert {field.name for field in fields(WaitSpec)} <= set(FULL)
    wait = WaitSpec(**{name: FULL[name] for name in FULL if name in {f.name for f in fields(WaitSpec)}})
    assert wait.endpoint == InferenceEndpointTrigger.of(wait, "other").wait.endpoint
    _, kwargs = InferenceEndpointTrigger.of(wait, "other", deferred_at=1000.5).serialize()
    assert {key: value for key, value in FULL.items() if key not in ("release_on_kill", "claim", "holder")} == kwargs


@pytest.mark.parametrize("foreign", [{"retired_argument": 1}, {"argument_of_tomorrow": {"a": [1]}}])
def test_takes_kwargs_of_other_versions(foreign: dict[str, Any]) -> None:
    """A rolling upgrade must not fail what waits."""
    _, kwargs = InferenceEndpointTrigger(endpoint="demo", started=1.0, **foreign).serialize()
    assert kwargs == {"endpoint": "demo", "started": 1.0}


def test_has_not_fired_when_it_is_made() -> None:
    """`_fired` is the life of one object, not stored."""
    assert InferenceEndpointTrigger(endpoint="demo", started=1.0)._fired is False
