"""What Create does about an endpoint that is there: the whole table."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.operators.starting.plan import (
    Create,
    IfExists,
    Plan,
    Recreate,
    Refuse,
    Reuse,
    Update,
    plan,
)
from tests.unit.endpoints.play import changed, endpoint, raw, spec

STATES = {  # and whether it starts by itself, or by the wait's request
    "running": True,
    "pending": True,
    "initializing": True,
    "updating": True,
    "updateFailed": True,
    "scaledToZero": True,
    "paused": False,
    "failed": False,
    "someStateOfTomorrow": True,
}


def other(path: str, value: Any, state: str = "running") -> InferenceEndpoint:
    """The endpoint of `spec()` but for one setting."""
    return InferenceEndpoint.from_raw(changed(raw(state), path, value), "acme")


@pytest.mark.parametrize("if_exists", get_args(IfExists))
def test_none_there(if_exists: IfExists) -> None:
    """Without an endpoint of the name, every choice creates."""
    assert Create() == plan(spec(), None, if_exists)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("if_exists", "kind"), [("reuse", Reuse), ("update", Reuse), ("recreate", Recreate), ("fail", Refuse)]
)
def test_the_same_there(state: str, if_exists: IfExists, kind: type[Plan]) -> None:
    """The same endpoint is taken, or replaced or refused where that was said; resumed where nothing else starts it."""
    decision = plan(spec(), endpoint(state), if_exists)
    assert isinstance(decision, kind)
    if isinstance(decision, Reuse):
        assert STATES[state] is not decision.resume
    if isinstance(decision, Refuse):
        assert state in decision.reason


TGI = {"tgi": {"url": "tgi:3"}}


def test_an_image_that_is_not_asked_for_is_taken_as_it_is() -> None:
    """If no argument names an engine, the service chooses the engine of the model, also at an update."""
    for if_exists in ("reuse", "update"):
        assert Reuse(resume=False) == plan(spec(), other("model.image", {"vLLM": {"url": "x"}}), if_exists)


DIFFERENT = {
    "model.repository": ("acme/other", "repository: wanted 'acme/small', found 'acme/other'"),
    "model.task": ("fill-mask", "task: wanted 'text-generation', found 'fill-mask'"),
    "model.revision": ("abc", "revision: wanted 'main', found 'abc'"),
    "model.image": ({"vLLM": {"url": "x"}}, "engine: wanted 'tgi', found 'vLLM'"),
    "provider.vendor": ("gcp", "vendor: wanted 'aws', found 'gcp'"),
    "provider.region": ("eu-west-1", "region: wanted 'us-east-1', found 'eu-west-1'"),
    "compute.accelerator": ("cpu", "accelerator: wanted 'gpu', found 'cpu'"),
    "compute.instanceType": ("nvidia-t4", "instance_type: wanted 'nvidia-l4', found 'nvidia-t4'"),
    "compute.instanceSize": ("x4", "instance_size: wanted 'x1', found 'x4'"),
}


@pytest.mark.parametrize("path", DIFFERENT)
@pytest.mark.parametrize("state", STATES)
def test_reuse_of_another_is_refused(path: str, state: str) -> None:
    """Model, engine or hardware of another endpoint: refused in every state, and the difference is named."""
    value, words = DIFFERENT[path]
    image = {"custom_image": TGI} if path == "model.image" else {}
    decision = plan(spec(task="text-generation", revision="main", **image), other(path, value, state), "reuse")
    assert isinstance(decision, Refuse)
    assert words in decision.reason
    assert "acme/tickets" in decision.reason


@pytest.mark.parametrize("path", ["tags", "compute.scaling.maxReplica", "type", "compute.scaling.scaleToZeroTimeout"])
def test_reuse_looks_over_what_makes_no_other_endpoint(path: str) -> None:
    """Replicas, tags and the like may differ."""
    assert Reuse(resume=False) == plan(spec(), other(path, 7), "reuse")


def test_reuse_compares_only_what_is_asked_for() -> None:
    """A spec without task and revision takes an endpoint with any."""
    assert Reuse(resume=False) == plan(spec(), other("model.revision", "abc"), "reuse")


@pytest.mark.parametrize("path", [path for path in DIFFERENT if path != "model.image"])
@pytest.mark.parametrize("state", STATES)
def test_update_of_another(path: str, state: str) -> None:
    """`update` makes it the one that is asked for, and starts it where it would not start by itself."""
    value, _ = DIFFERENT[path]
    decision = plan(spec(task="text-generation", revision="main"), other(path, value, state), "update")
    assert Update(resume=not STATES[state]) == decision


def test_another_engine_is_the_services_to_refuse() -> None:
    """The documentation says no, one report of April 2026 says yes: the update is sent, and a refusal is explained."""
    decision = plan(spec(custom_image=TGI), other("model.image", {"vLLM": {"url": "x"}}), "update")
    assert decision == Update(resume=False)


def test_update_always_sends_secrets() -> None:
    """They come back redacted, so a difference cannot be seen."""
    assert Update(resume=False) == plan(spec(secrets={"A": "b"}), endpoint("running"), "update")


@pytest.mark.parametrize("path", DIFFERENT)
def test_recreate_of_another(path: str) -> None:
    """Whatever it is, it is replaced."""
    assert Recreate() == plan(spec(), other(path, DIFFERENT[path][0]), "recreate")
