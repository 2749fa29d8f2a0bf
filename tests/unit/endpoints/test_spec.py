"""What a caller asks for: every argument's place in the payload, and every bad argument refused with words."""

from __future__ import annotations

import json
import warnings
from typing import Any, get_type_hints

import pytest

from airflow_provider_hf_endpoints.endpoints import spec as module
from airflow_provider_hf_endpoints.endpoints.api.arguments import CommonArguments, CreateOptions, UpdateArguments
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.names import check_name, check_namespace
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from tests.unit.endpoints.play import NEEDED, spec

SECRET = "s3cr3t-value"
VLLM = {"vLLM": {"url": "vllm/vllm-openai:v1"}}


def at(data: dict[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    value: Any = data
    for key in path.split("."):
        value = value[key]
    return value


def update(**changes: Any) -> EndpointUpdate:
    return EndpointUpdate.from_arguments(**changes)


PLACES: list[tuple[dict[str, Any], str, Any]] = [
    ({"repository": "acme/other"}, "model.repository", "acme/other"),
    ({"framework": "custom"}, "model.framework", "custom"),
    ({"revision": "abc"}, "model.revision", "abc"),
    ({"task": "text-generation"}, "model.task", "text-generation"),
    ({"env": {"A": "1"}}, "model.env", {"A": "1"}),
    ({"secrets": {"B": "2"}}, "model.secrets", {"B": "2"}),
    ({"container_command": ["run"]}, "model.command", ["run"]),
    ({"container_args": ["--x", "1"]}, "model.args", ["--x", "1"]),
    ({"custom_image": {"url": "r/i:1", "port": 8000}}, "model.image.custom", {"url": "r/i:1", "port": 8000}),
    ({"custom_image": VLLM}, "model.image", VLLM),
    (
        {
            "custom_image": {"url": "r/i:1"},
            "container_registry_username": "u",
            "container_registry_password": "p",
        },
        "model.image.custom.credentials",
        {"username": "u", "password": "p"},
    ),
    # The contract requires the password, which may be null.
    (
        {"custom_image": {"url": "r/i:1"}, "container_registry_username": "u"},
        "model.image.custom.credentials",
        {"username": "u", "password": None},
    ),
    ({"custom_image": VLLM, "tensor_parallel_size": 2}, "model.image.vLLM.tensorParallelSize", 2),
    ({"custom_image": VLLM, "data_parallel_size": 4}, "model.image.vLLM.dataParallelSize", 4),
    ({"accelerator": "cpu"}, "compute.accelerator", "cpu"),
    ({"instance_type": "intel-spr"}, "compute.instanceType", "intel-spr"),
    ({"instance_size": "x4"}, "compute.instanceSize", "x4"),
    ({"min_replica": 1, "max_replica": 3}, "compute.scaling.minReplica", 1),
    ({"min_replica": 0}, "compute.scaling.minReplica", 0),
    ({"max_replica": 3}, "compute.scaling.maxReplica", 3),
    ({"scale_to_zero_timeout": 30}, "compute.scaling.scaleToZeroTimeout", 30),
    (
        {"scaling_metric": "pendingRequests", "scaling_threshold": 1.5},
        "compute.scaling.measure",
        {"pendingRequests": 1.5},
    ),
    ({"scaling_metric": "hardwareUsage"}, "compute.scaling.measure", {"hardwareUsage": None}),
    ({"vendor": "gcp", "region": "us-east4"}, "provider", {"vendor": "gcp", "region": "us-east4"}),
    ({"type": "public"}, "type", "public"),
    ({"tags": ["a", "b"]}, "tags", ["a", "b"]),
    ({"domain": "x.example", "path": "/a"}, "route", {"domain": "x.example", "path": "/a"}),
    ({"network": {"cidrList": ["10.0.0.0/8"]}}, "network", {"cidrList": ["10.0.0.0/8"]}),
    ({"notifications": {"email": True, "push": False}}, "notifications", {"email": True, "push": False}),
    ({"custom_router": {"tag": "v1"}}, "customRouter", {"tag": "v1"}),
    (
        {"experimental_features": {"loadBalancer": "sticky"}},
        "experimentalFeatures",
        {"loadBalancer": "sticky"},
    ),
]
ONLY_CREATE: list[tuple[dict[str, Any], str, Any]] = [
    ({}, "name", "tickets"),
    ({"cache_http_responses": True}, "cacheHttpResponses", True),
    ({"from_catalog": True}, "model.fromCatalog", True),
    (
        {"private_link_account_id": "123", "private_link_region": "us-east-1"},
        "privateService",
        {"accountId": "123", "region": "us-east-1"},
    ),
    (
        {"private_link_account_id": "123", "private_link_region": "us-east-1", "private_link_shared": False},
        "privateService",
        {"accountId": "123", "region": "us-east-1", "shared": False},
    ),
]


@pytest.mark.parametrize(("arguments", "path", "value"), PLACES + ONLY_CREATE)
def test_create_puts_each_argument_in_its_place(arguments: dict[str, Any], path: str, value: Any) -> None:
    """Every argument of a create arrives where the contract wants it, and the payload is plain JSON."""
    payload = spec(**arguments).payload()
    assert value == at(payload, path)
    assert payload == json.loads(json.dumps(payload))


@pytest.mark.parametrize(("arguments", "path", "value"), PLACES)
def test_update_sends_what_changes_and_nothing_else(arguments: dict[str, Any], path: str, value: Any) -> None:
    """An update holds the argument's place and no other top-level part: what is not given stays as it is."""
    payload = update(**arguments).payload()
    assert value == at(payload, path)
    assert [path.split(".")[0]] == list(payload)
    assert payload == json.loads(json.dumps(payload))


def test_every_argument_is_tested_above() -> None:
    """A new argument without a place in the table fails here."""
    tested = {name for arguments, _, _ in PLACES + ONLY_CREATE for name in arguments}
    assert set() == set(EndpointUpdate.model_fields) - tested
    # The service ignores account_id; it is only there for calls written for older versions.
    assert {"name", "account_id"} == set(EndpointSpec.model_fields) - tested


def test_an_update_puts_the_response_cache_among_the_features() -> None:
    """Only a create has the setting at its top; in an update it joins the other experimental features."""
    change = update(cache_http_responses=True, experimental_features={"loadBalancer": "random"})
    assert change.payload() == {"experimentalFeatures": {"cacheHttpResponses": True, "loadBalancer": "random"}}


def test_the_type_checkers_arguments_are_the_real_ones() -> None:
    """The TypedDicts and the models name the same arguments."""
    assert set(EndpointUpdate.model_fields) == set(get_type_hints(UpdateArguments))
    required = {*NEEDED}
    assert set(EndpointSpec.model_fields) - required == set(get_type_hints(CreateOptions))
    assert set(get_type_hints(CommonArguments)) < set(get_type_hints(CreateOptions))


@pytest.mark.parametrize(
    ("arguments", "scaling"),
    [
        ({}, {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}),
        ({"min_replica": None}, {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}),
        ({"max_replica": 4}, {"minReplica": 0, "maxReplica": 4, "scaleToZeroTimeout": 15}),
        ({"scale_to_zero_timeout": 60}, {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 60}),
        ({"min_replica": 2}, {"minReplica": 2, "maxReplica": 2, "scaleToZeroTimeout": None}),
    ],
)
def test_defaults_do_not_bill_for_ever(arguments: dict[str, Any], scaling: dict[str, Any]) -> None:
    """Who says nothing gets no replica that stays, and scaling to zero after the shortest idle time."""
    assert scaling == spec(**arguments).payload()["compute"]["scaling"]


def test_what_never_scales_down_is_known() -> None:
    """An endpoint that bills until it is stopped is allowed, and is distinguished from one that does not."""
    assert not spec().never_scales_down
    assert spec(min_replica=1).never_scales_down


def test_the_default_type_asks_for_a_token() -> None:
    """An endpoint is never public by default; None means the default, too."""
    assert spec().payload()["type"] == spec(type=None).payload()["type"] == "authenticated"


@pytest.mark.parametrize("build", [spec, update])
def test_protected_is_the_old_name_of_authenticated(build: Any) -> None:
    """The service would make `protected` private with a 200: it is translated, with a warning."""
    with pytest.warns(FutureWarning, match="authenticated"):
        made = build(type="protected")
    assert made.payload()["type"] == "authenticated"


def test_account_id_warns() -> None:
    """An argument that the service ignores is accepted and said to be ignored."""
    with pytest.warns(FutureWarning, match="private_link_account_id"):
        assert "123" not in json.dumps(spec(account_id="123").payload())


def test_ordinary_arguments_warn_of_nothing() -> None:
    """Warnings are for the older spellings only."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec(type="private", env={"A": "1"}, custom_image=VLLM).payload()


def test_env_in_a_flat_image_becomes_the_endpoints_env() -> None:
    """The guide's older spelling works; what is given as `env` wins over what the image holds."""
    with pytest.warns(FutureWarning, match="env"):
        model = spec(custom_image={"url": "r/i:1", "env": {"A": "1", "B": "2"}}, env={"A": "9"}).payload()["model"]
    assert model["env"] == {"A": "9", "B": "2"}
    assert model["image"] == {"custom": {"url": "r/i:1"}}


def test_an_update_with_env_in_its_image_sends_it_as_env_too() -> None:
    """The same on an update."""
    with pytest.warns(FutureWarning, match="env"):
        model = update(custom_image={"url": "r/i:1", "env": {"A": "1"}}).payload()["model"]
    assert model["env"] == {"A": "1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "x" * 33}, ["name", "x" * 33, "32", "33", "hash"]),
        ({"name": "Tickets"}, ["name", "'Tickets'", "lower-case"]),
        ({"name": "a_b"}, ["name", "'a_b'", "lower-case"]),
        ({"name": ""}, ["name", "''", "not be empty"]),
        ({"name": "a\n"}, ["name", "lower-case"]),
        ({"name": 7}, ["name=7", "string"]),
        ({"scale_to_zero_timeout": 5}, ["scale_to_zero_timeout=5", "15", "2880"]),
        ({"scale_to_zero_timeout": 14}, ["scale_to_zero_timeout=14", "15", "2880"]),
        ({"scale_to_zero_timeout": 2881}, ["scale_to_zero_timeout=2881", "15", "2880"]),
        ({"scale_to_zero_timeout": "soon"}, ["scale_to_zero_timeout='soon'", "integer"]),
        ({"min_replica": -1}, ["min_replica=-1", "0"]),
        ({"min_replica": 3, "max_replica": 2}, ["min_replica=3", "max_replica=2"]),
        ({"max_replica": -1}, ["max_replica=-1", "0"]),
        ({"scaling_metric": "load"}, ["scaling_metric='load'", "pendingRequests", "hardwareUsage"]),
        ({"scaling_threshold": 1.0}, ["scaling_threshold", "scaling_metric"]),
        (
            {"scaling_metric": "pendingRequests", "scaling_threshold": float("nan")},
            ["scaling_threshold=nan", "finite"],
        ),
        ({"type": "secret"}, ["type='secret'", "authenticated", "private"]),
        ({"repository": ""}, ["repository=''", "1 character"]),
        ({"region": None}, ["region=None", "string"]),
        ({"tags": "one"}, ["tags='one'", "list"]),
        ({"tags": ["a", 1]}, ["tags[1]", "string"]),
        ({"tensor_parallel_size": 0, "custom_image": VLLM}, ["tensor_parallel_size=0", "1"]),
        ({"domain": "x.example"}, ["domain and path", "both or none"]),
        ({"path": "/a"}, ["domain and path", "both or none"]),
        ({"private_link_account_id": "1"}, ["private_link_region", "both or none"]),
        ({"container_registry_password": "p"}, ["container_registry_password", "container_registry_username"]),
        ({"min_replicas": 1}, ["'min_replicas'", "'min_replica'"]),
        ({"utterly_unknown": 1}, ["'utterly_unknown'", "Known:"]),
        ({"network": {"cidrList": {"10.0.0.0/8"}}}, ["network", "JSON"]),
    ],
)
def test_bad_arguments_are_refused_with_field_value_and_fix(arguments: dict[str, Any], words: list[str]) -> None:
    """Before anything is sent, an error names the field, what was given, and what would be right."""
    with pytest.raises(InvalidArgumentError) as caught:
        spec(**arguments).payload()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["Nothing to update", "at least one"]),
        ({"vendor": "aws"}, ["vendor and region", "both or none"]),
        ({"region": "us-east-1"}, ["vendor and region", "both or none"]),
        ({"container_registry_password": "p"}, ["container_registry_password", "container_registry_username"]),
        ({"container_registry_username": "u"}, ["container_registry_username", "custom_image"]),
        ({"name": "other"}, ["Unknown argument 'name'"]),
        ({"scale_to_zero_timeout": 5}, ["scale_to_zero_timeout=5", "15", "2880"]),
    ],
)
def test_bad_updates_are_refused_with_field_value_and_fix(arguments: dict[str, Any], words: list[str]) -> None:
    """The same for an update; an update that changes nothing is not sent."""
    with pytest.raises(InvalidArgumentError) as caught:
        update(**arguments).payload()
    for word in words:
        assert word in str(caught.value)


def test_a_missing_argument_is_named() -> None:
    """The error names the required argument that is missing."""
    with pytest.raises(InvalidArgumentError, match=r"repository: .*required"):
        EndpointSpec.from_arguments(**{key: value for key, value in NEEDED.items() if key != "repository"})


def test_several_problems_are_told_at_once() -> None:
    """Two mistakes do not take two attempts."""
    with pytest.raises(InvalidArgumentError) as caught:
        spec(min_replica=-1, scale_to_zero_timeout=5)
    assert "min_replica=-1" in str(caught.value)
    assert "scale_to_zero_timeout=5" in str(caught.value)


HIDING: list[dict[str, Any]] = [
    {"env": {"KEY": SECRET}},
    {"secrets": {"KEY": SECRET}},
    {"custom_image": {"url": "r/i:1"}, "container_registry_username": "u", "container_registry_password": SECRET},
    {"custom_image": {"url": "r/i:1", "credentials": {"username": "u", "password": SECRET}}},
    {"custom_router": {"env": {"KEY": SECRET}}},
    {"container_args": ["--api-key", SECRET]},
]


@pytest.mark.parametrize("arguments", HIDING)
def test_no_repr_shows_a_secret(arguments: dict[str, Any]) -> None:
    """A spec in a log, a traceback or a rendered template shows neither secrets nor the environment."""
    for made in (spec(**arguments), update(**arguments)):
        assert SECRET not in repr(made) + str(made)


@pytest.mark.parametrize(
    "arguments",
    [
        {"env": {"KEY": [SECRET]}},
        {"env": [SECRET]},
        {"env": SECRET},
        {"secrets": {"KEY": [SECRET]}},
        {"secrets": SECRET},
        {"container_registry_password": [SECRET]},
        {"container_registry_password": SECRET},
        {"custom_image": SECRET},
        {"custom_image": {"vLLM": SECRET}},
        {"custom_image": {"vLLM": {"env": {"KEY": SECRET}}}},
        {"custom_image": {"url": "", "env": SECRET}},
        {"custom_image": {"url": "r/i:1", "env": [SECRET]}},
        {"custom_router": SECRET},
        {"custom_router": {"env": {SECRET}}},
        {"container_args": ["--api-key", SECRET, 7]},
        {"container_command": SECRET},
        *({**hiding, "scale_to_zero_timeout": 5} for hiding in HIDING),
        *({**hiding, "min_replica": 3, "max_replica": 2} for hiding in HIDING),
    ],
)
def test_no_error_shows_a_secret(arguments: dict[str, Any]) -> None:
    """An argument is refused without repeating what people put secrets into, in the text and in the whole chain."""
    with pytest.raises(InvalidArgumentError) as caught:
        spec(**arguments).payload()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_secret_values_are_listed_for_masking() -> None:
    """Everything that must never be shown can be handed to a log's masking."""
    made = spec(
        secrets={"A": "one"},
        custom_image={"custom": {"url": "r/i:1", "credentials": {"username": "u", "password": "two"}}},
    )
    assert {"one", "two"} == set(made.secret_values())
    flat = spec(custom_image={"url": "r/i:1"}, container_registry_username="u", container_registry_password="three")
    assert flat.secret_values() == ["three"]


def test_needs_current_image() -> None:
    """Only parallelism sizes without an image have to know what runs now."""
    assert update(tensor_parallel_size=2).needs_current_image
    assert update(data_parallel_size=2).needs_current_image
    assert not update(tensor_parallel_size=2, custom_image=VLLM).needs_current_image
    assert not update(tags=["a"]).needs_current_image


@pytest.mark.parametrize("name", ["a", "a-b-9", "0", "x" * 32])
def test_good_names(name: str) -> None:
    """What the contract's pattern takes is taken."""
    assert name == check_name(name)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "..", "a_b", "é", "x" * 33, None, 7])
def test_bad_names_reach_no_url(name: Any) -> None:
    """No other text, and no path in disguise, gets into a request's path."""
    with pytest.raises(InvalidArgumentError, match="name="):
        check_name(name)


@pytest.mark.parametrize("namespace", ["acme", "Acme-Labs", "a.b_c", "0x"])
def test_good_namespaces(namespace: str) -> None:
    """Users' and organisations' names may hold capitals, dots and underscores."""
    assert namespace == check_namespace(namespace)


@pytest.mark.parametrize("namespace", ["", "a/b", "..", "*", "a b", "-a", 7])
def test_bad_namespaces(namespace: Any) -> None:
    """What can be no namespace is refused before it is in a path."""
    with pytest.raises(InvalidArgumentError, match="namespace="):
        check_namespace(namespace)


def test_the_shortest_idle_time_is_the_services() -> None:
    """The bounds are the documented ones."""
    assert (module.SHORTEST_IDLE, module.LONGEST_IDLE) == (15, 2880)
