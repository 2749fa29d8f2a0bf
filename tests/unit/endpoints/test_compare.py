"""What the service silently dropped or changed, and whether an endpoint is the one that is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.api.compare import conflicts, unapplied
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from tests.unit.endpoints.play import changed, raw, spec

SECRET = "s3cr3t-value"


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """An answer that applied everything."""
    return {**payload, "status": {"state": "pending"}}


def test_nothing_to_report() -> None:
    """Where all was applied, nothing is reported, whatever the answer has besides."""
    payload = spec(env={"A": "1"}, tags=["a", "b"], min_replica=1, scaling_metric="pendingRequests").payload()
    assert unapplied(payload, {**echo(payload), "healthRoute": "/health", "tags": ["b", "a"]}) == ()


def test_a_coerced_type_is_reported() -> None:
    """The service answers 200 to a type that it does not know and makes the endpoint private."""
    payload = spec(type="authenticated").payload()
    (difference,) = unapplied(payload, {**echo(payload), "type": "private"})
    assert (
        difference.field,
        difference.sent,
        difference.answered,
        difference.dropped,
    ) == ("type", "authenticated", "private", False)
    assert str(difference) == "type: sent 'authenticated', but the service answered 'private'"


@pytest.mark.parametrize(
    ("arguments", "path", "answered", "field", "dropped"),
    [
        (
            {"custom_image": {"vLLM": {"url": "r", "maxSeqs": 8}}},
            "model.image.vLLM",
            {"url": "r"},
            "model.image.vLLM.maxSeqs",
            True,
        ),
        ({"tags": ["a"]}, "tags", [], "tags", False),
        ({"tags": ["a"]}, "tags", None, "tags", True),
        ({"max_replica": 4}, "compute.scaling.maxReplica", 2, "compute.scaling.maxReplica", False),
        ({"revision": "abc"}, "model.revision", None, "model.revision", True),
    ],
)
def test_each_difference_has_its_path(
    arguments: dict[str, Any], path: str, answered: Any, field: str, dropped: bool
) -> None:
    """A dropped or changed setting is named by its path in the request."""
    payload = spec(**arguments).payload()
    found = unapplied(payload, changed(echo(payload), path, answered))
    assert [(field, dropped)] == [(each.field, each.dropped) for each in found]


def test_an_image_answered_in_other_words_is_no_difference() -> None:
    """The default image is an empty dict: whatever the service made of it, nothing that was asked for is lost."""
    payload = spec().payload()
    assert unapplied(payload, changed(echo(payload), "model.image", {"tgi": {"url": "x"}})) == ()


def test_an_answer_with_an_odd_part_is_compared_all_the_same() -> None:
    """If a part of the answer is not a dict, everything sent in it counts as dropped, and the part is not quoted."""
    payload = spec(env={"KEY": SECRET}, secrets={"KEY": SECRET}, custom_router={"env": {"KEY": SECRET}}).payload()
    found = unapplied(payload, {**echo(payload), "model": 7, "compute": None, "customRouter": None})
    assert {"model.repository", "model.env.KEY", "compute.instanceType"} <= {each.field for each in found}
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "arguments",
    [
        {"secrets": {"KEY": SECRET}},
        {"custom_image": {"url": "r"}, "container_registry_username": "u", "container_registry_password": SECRET},
    ],
)
def test_secrets_come_back_redacted_and_are_no_difference(arguments: dict[str, Any]) -> None:
    """Secrets and credentials are never compared: the service never shows them as they were sent."""
    payload = spec(**arguments).payload()
    answered = echo(payload)
    answered["model"] = {**answered["model"], "secrets": {"KEY": None}}
    if "custom_image" in arguments:
        answered["model"]["image"] = {"custom": {"url": "r", "credentials": {"username": "u", "password": "***"}}}
    assert unapplied(payload, answered) == ()


@pytest.mark.parametrize("answered", [{"KEY": "other"}, {}, None, 7])
@pytest.mark.parametrize("place", ["model", "customRouter"])
def test_values_of_the_environment_are_never_shown(place: str, answered: Any) -> None:
    """A variable that was dropped or changed is reported by its name alone, in the container as in the router."""
    arguments: dict[str, Any] = (
        {"env": {"KEY": SECRET}} if place == "model" else {"custom_router": {"env": {"KEY": SECRET}}}
    )
    payload = spec(**arguments).payload()
    (difference,) = unapplied(payload, changed(echo(payload), f"{place}.env", answered))
    assert f"{place}.env.KEY" == difference.field
    assert SECRET not in str(difference) + repr(difference)
    assert "other" not in str(difference) + repr(difference)


def existing(path: str | None = None, value: Any = None) -> InferenceEndpoint:
    data = raw() if path is None else changed(raw(), path, value)
    return InferenceEndpoint.from_raw(data, "acme")


def test_the_same_endpoint_has_no_conflict() -> None:
    """Model and hardware as asked for: it can be reused."""
    assert conflicts(spec(), existing()) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.repository", "acme/large", "repository: wanted 'acme/small', found 'acme/large'"),
        ("compute.instanceType", "nvidia-t4", "instance_type: wanted 'nvidia-l4', found 'nvidia-t4'"),
        ("compute.instanceSize", "x4", "instance_size: wanted 'x1', found 'x4'"),
        ("compute.accelerator", "cpu", "accelerator: wanted 'gpu', found 'cpu'"),
        ("provider.vendor", "gcp", "vendor: wanted 'aws', found 'gcp'"),
        ("provider.region", "eu-west-1", "region: wanted 'us-east-1', found 'eu-west-1'"),
    ],
)
def test_another_model_or_hardware_is_a_conflict(path: str, value: str, words: str) -> None:
    """An endpoint of the same name that is something else is not silently reused; the difference is named."""
    assert [words] == conflicts(spec(), existing(path, value))


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        ({"revision": "abc"}, "model.revision", "def"),
        ({"task": "summarization"}, "model.task", "text-generation"),
        ({"custom_image": {"vLLM": {"url": "r"}}}, "model.image", {"tgi": {"url": "r"}}),
    ],
)
def test_what_the_spec_says_is_compared(arguments: dict[str, Any], path: str, value: Any) -> None:
    """Revision, task and engine count where the spec gives them."""
    assert len(conflicts(spec(**arguments), existing(path, value))) == 1


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        ({}, "model.revision", "def"),
        ({}, "model.task", "summarization"),
        ({"max_replica": 4}, "compute.scaling.maxReplica", 1),
        ({"tags": ["a"]}, "tags", ["b"]),
        ({"env": {"A": "1"}}, "model.env", {"A": "2"}),
        ({"revision": "abc"}, "model.revision", None),
    ],
)
def test_what_can_differ_in_the_same_endpoint(arguments: dict[str, Any], path: str, value: Any) -> None:
    """Settings, what the spec leaves open, and what the answer does not contain are not conflicts."""
    assert conflicts(spec(**arguments), existing(path, value)) == []
