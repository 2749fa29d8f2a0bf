"""Answers are read tolerantly: what is missing, new or odd never breaks parsing, and `raw` keeps the whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from airflow_provider_hf_endpoints.endpoints.models import (
    EndpointPage,
    Hardware,
    InferenceCatalogModel,
    InferenceEndpoint,
    LogEntry,
    Metrics,
    Quota,
    Replica,
    WhoAmI,
)
from tests.unit.endpoints.play import changed, raw

SMALLEST: dict[str, Any] = {"name": "tickets", "status": {"state": "running"}}
ODD: list[Any] = [None, 7, 7.5, True, "odd", "", [], ["odd"], [None], {}, {"odd": [1]}]


def parse(data: dict[str, Any]) -> InferenceEndpoint:
    return InferenceEndpoint.from_raw(data, "acme")


def test_a_whole_answer() -> None:
    """Every field of the contract that this package names is found at its place."""
    data = raw("running", message="Endpoint is ready", errorMessage="e", agentMessage="a", readyReplica=1)
    data["status"] |= {"targetReplica": 2, "lastUsedAt": "2026-10-05T11:00:00Z"}
    found = parse(data)
    assert (
        found.name,
        found.namespace,
        found.repository,
        found.status,
    ) == ("tickets", "acme", "acme/small", "running")
    assert (
        found.message,
        found.error_message,
        found.agent_message,
        found.ready_replica,
        found.target_replica,
    ) == ("Endpoint is ready", "e", "a", 1, 2)
    assert (
        found.vendor,
        found.region,
        found.accelerator,
        found.instance_type,
        found.instance_size,
    ) == ("aws", "us-east-1", "gpu", "nvidia-l4", "x1")
    assert (found.min_replica, found.max_replica, found.scale_to_zero_timeout) == (0, 1, 15)
    assert found.engine == "huggingface"
    assert found.health_url == "https://tickets.example/health"
    assert datetime(2026, 10, 5, 11, 0, tzinfo=UTC) == found.last_used_at
    assert data == found.raw


def test_the_smallest_answer() -> None:
    """A name and a state are enough; older answers lacked url, revision, task and healthRoute."""
    found = parse(SMALLEST)
    assert found.status == "running"
    assert (found.url, found.revision, found.task, found.engine, found.health_url) == (None, None, None, None, None)
    assert (found.min_replica, found.max_replica, found.scale_to_zero_timeout) == (None, None, None)
    assert (found.ready_replica, found.target_replica) == (0, 0)


@pytest.mark.parametrize("data", [{}, {"name": "x"}, {"status": {"state": "running"}}, {"name": "x", "status": None}])
def test_without_name_or_state_it_is_no_endpoint(data: dict[str, Any]) -> None:
    """Nothing can be done with an answer that lacks its name or state: that is an error, which names the field."""
    with pytest.raises(ValidationError, match=r"name|status"):
        parse(data)


def test_unknown_fields_and_states_are_kept() -> None:
    """A state of tomorrow is a plain string, and a field of tomorrow is in `raw`."""
    data = {**raw("hibernating"), "novelty": {"a": 1}}
    assert parse(data).status == "hibernating"
    assert parse(data).raw["novelty"] == {"a": 1}


@pytest.mark.parametrize(
    "path",
    [
        "type",
        "provider",
        "provider.vendor",
        "compute",
        "compute.accelerator",
        "compute.instanceType",
        "compute.scaling",
        "compute.scaling.minReplica",
        "compute.scaling.scaleToZeroTimeout",
        "model",
        "model.repository",
        "model.image",
        "model.revision",
        "model.task",
        "healthRoute",
        "tags",
        "experimentalFeatures",
        "status.message",
        "status.errorMessage",
        "status.url",
        "status.createdAt",
        "status.readyReplica",
        "status.targetReplica",
    ],
)
def test_an_odd_value_anywhere_else_is_no_error(path: str) -> None:
    """Whatever stands where only information is expected, the endpoint, its name and its state are read."""
    for value in ODD:
        found = parse(changed(raw(), path, value))
        assert (found.name, found.status) == ("tickets", "running")
        assert isinstance(repr(found), str)
        assert found.engine is None or isinstance(found.engine, str)
        assert found.health_url is None or isinstance(found.health_url, str)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["type", "provider", "compute", "model", "healthRoute", "tags", "namespace", "raw", "unapplied"]
        ),
        json_values,
    )
)
def test_nothing_beside_name_and_state_can_break_it(rest: dict[str, Any]) -> None:
    """The same for anything at all, and for keys that happen to have the names of our own fields."""
    found = parse({**rest, **SMALLEST})
    assert (found.name, found.namespace, found.status, found.unapplied) == ("tickets", "acme", "running", ())


def test_moments_are_always_aware() -> None:
    """A moment without a zone is UTC: moments can always be compared."""
    found = parse(raw(createdAt="2026-10-05T12:00:00", updatedAt="2026-10-05T14:00:00+02:00"))
    assert datetime(2026, 10, 5, 12, 0, tzinfo=UTC) == found.created_at == found.updated_at


@pytest.mark.parametrize(
    ("url", "route", "health_url"),
    [
        ("https://x.example", "/health", "https://x.example/health"),
        ("https://x.example/", "health", "https://x.example/health"),
        ("https://x.example/a/", "/deep/health", "https://x.example/a/deep/health"),
        ("https://x.example", "", "https://x.example/health"),
        ("https://x.example", None, "https://x.example/health"),
        ("", "/health", None),
        (None, "/health", None),
    ],
)
def test_where_health_is_asked(url: str | None, route: str | None, health_url: str | None) -> None:
    """url and healthRoute join whatever slashes they have; without a url there is nowhere to ask."""
    assert health_url == parse(changed(raw(url=url), "healthRoute", route)).health_url


def test_repr_is_one_short_line_without_settings() -> None:
    """An endpoint in a log shows what it is and how it is, and neither its environment nor its whole answer."""
    shown = repr(parse(changed(raw(), "model.env", {"API_KEY": "s3cr3t-value"})))
    assert "tickets" in shown
    assert "s3cr3t-value" not in shown
    assert len(shown) < 300


def test_the_summary_is_small() -> None:
    """What goes into an XCom is four strings."""
    expected = {"name": "tickets", "namespace": "acme", "state": "running", "url": "https://tickets.example"}
    assert expected == parse(raw()).summary()


HARDWARE = {
    "id": "aws-l4",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "gpu",
    "numAccelerators": 1,
    "numCpus": 7,
    "memoryGb": 30.5,
    "gpuMemoryGb": 24,
    "instanceType": "nvidia-l4",
    "instanceSize": "x1",
    "architecture": "NVIDIA L4",
    "status": "available",
    "pricePerHour": 0.8,
    "quota": {"maxAccelerators": 8, "usedAccelerators": 1},
}
REPLICA = {
    "id": "r1",
    "versionId": "v1",
    "status": {
        "stage": "running",
        "live": True,
        "updating": False,
        "exitCode": None,
        "startedAt": "2026-10-05T12:00:00Z",
    },
}
METRICS = {
    "start": "2026-10-05T12:00:00Z",
    "stop": "2026-10-05T13:00:00Z",
    "timeWindowSeconds": 60,
    "series": [{"status": "running", "data": [{"x": "2026-10-05T12:00:00Z", "y": 1}], "max": 1}],
}
CATALOG = {
    "repoId": "acme/small",
    "modelName": "small",
    "authorName": "acme",
    "license": "apache-2.0",
    "task": "text-generation",
    "createdAt": "2026-10-05T12:00:00Z",
    "recipes": [
        {"publicId": "p1", "accelerator": "gpu", "engineType": "vllm", "ggufFile": None, "revision": None},
    ],
}
QUOTA = {
    "vendor": "aws",
    "instanceType": "nvidia-l4",
    "architecture": "a",
    "maxAccelerators": 8,
    "usedAccelerators": 1,
}
LINE = {
    "timestamp": "2026-10-05T12:00:00Z",
    "line": "loading",
    "stream": "stdout",
    "replica_id": "r1",
    "level": "INFO",
}
ME: dict[str, Any] = {
    "type": "user",
    "name": "alice",
    "orgs": [{"name": "acme"}],
    "canPay": True,
    "auth": {
        "accessToken": {
            "role": "fineGrained",
            "fineGrained": {"scoped": [{"permissions": ["inference.endpoints.read"]}]},
        }
    },
}

OTHERS: list[tuple[type[BaseModel], dict[str, Any], set[str]]] = [
    (Hardware, HARDWARE, {"vendor", "region", "instanceType", "instanceSize"}),
    (Replica, REPLICA, {"id"}),
    (Metrics, METRICS, set()),
    (InferenceCatalogModel, CATALOG, {"repoId"}),
    (Quota, QUOTA, {"vendor", "instanceType"}),
    (LogEntry, LINE, set()),
    (WhoAmI, ME, {"name"}),
]


def _paths(data: dict[str, Any], before: str = "") -> list[str]:
    """Every place in a nested dict, dotted."""
    out = []
    for key, value in data.items():
        out.append(before + key)
        if isinstance(value, dict):
            out += _paths(value, f"{before}{key}.")
    return out


@pytest.mark.parametrize(
    ("model", "data", "path"),
    [
        pytest.param(model, data, path, id=f"{model.__name__}-{path}")
        for model, data, identity in OTHERS
        for path in _paths(data)
        if path not in identity
    ],
)
def test_odd_values_break_no_other_answer(model: type[BaseModel], data: dict[str, Any], path: str) -> None:
    """One odd field does not cost the whole hardware list, log or catalog; only what identifies an item is required."""
    for value in ODD:
        model.model_validate(changed(data, path, value))


@pytest.mark.parametrize(("model", "data", "identity"), OTHERS)
def test_only_identity_is_required(model: type[BaseModel], data: dict[str, Any], identity: set[str]) -> None:
    """Everything else may be absent."""
    model.model_validate({key: value for key, value in data.items() if key in identity})
    for missing in identity:
        with pytest.raises(ValidationError):
            model.model_validate({key: value for key, value in data.items() if key != missing})


def test_hardware_values() -> None:
    """Price, memory and quota are where the contract has them, and the path is as people write it."""
    found = Hardware.model_validate(HARDWARE)
    assert found.path == "aws/us-east-1/nvidia-l4/x1"
    assert (
        found.price_per_hour,
        found.memory_gb,
        found.gpu_memory_gb,
        found.max_accelerators,
        found.used_accelerators,
    ) == (0.8, 30.5, 24, 8, 1)


def test_replica_values() -> None:
    """The stage and its flags are read out of the nested status."""
    found = Replica.model_validate(REPLICA)
    assert (
        found.id,
        found.version_id,
        found.stage,
        found.live,
        found.updating,
        found.exit_code,
    ) == ("r1", "v1", "running", True, False, None)


def test_metric_values() -> None:
    """A value that the service does not have stays None and does not become zero."""
    data = changed(METRICS, "series", [{"status": "running", "data": [{"x": None, "y": None}, {"y": 2}]}])
    assert [point.y for point in Metrics.model_validate(data).series[0].data] == [None, 2.0]


def test_a_cursor_of_an_odd_type_is_an_error() -> None:
    """A list must not end early because its cursor was not understood: rows would be missing silently."""
    with pytest.raises(ValidationError):
        EndpointPage.model_validate({"items": [], "nextCursor": 7})
    assert EndpointPage.model_validate({"items": []}).next_cursor is None
    assert EndpointPage.model_validate({"items": [], "nextCursor": None, "totalItems": None}).next_cursor is None


@pytest.mark.parametrize(
    ("orgs", "names"),
    [
        ([{"name": "acme"}, {"name": "beta"}], ["alice", "acme", "beta"]),
        ([{"name": "alice"}], ["alice"]),
        (["acme"], ["alice", "acme"]),
        ([{}, {"name": None}, None, 7], ["alice"]),
        ([], ["alice"]),
        (None, ["alice"]),
        ({"name": "acme"}, ["alice"]),
    ],
)
def test_whose_namespaces(orgs: Any, names: list[str]) -> None:
    """The user first, then every organisation that has a name, none of them twice."""
    assert names == WhoAmI.model_validate({**ME, "orgs": orgs}).namespaces


def test_a_token_of_an_organisation_has_no_user() -> None:
    """A text that is not a user has no separate namespace in the list."""
    assert WhoAmI.model_validate({"type": "org", "name": "acme"}).namespaces == []


@pytest.mark.parametrize(
    ("auth", "granted"),
    [
        (ME["auth"], {"inference.endpoints.read"}),
        ({"accessToken": {"role": "write"}}, None),
        ({"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": []}}}, set()),
        ({"accessToken": {"fineGrained": {"scoped": [{"permissions": None}, {"permissions": [7, "a"]}, {}]}}}, {"a"}),
        ({"accessToken": {"fineGrained": None}}, None),
        (None, None),
    ],
)
def test_what_a_token_may(auth: Any, granted: set[str] | None) -> None:
    """The scopes of a fine-grained token over all its entities; None where the token's role decides."""
    assert granted == WhoAmI.model_validate({**ME, "auth": auth}).permissions()
