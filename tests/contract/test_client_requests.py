"""Every request that the client can make is one that the contract allows, and has nothing besides.

The schemas are closed for this: a misspelled field, which the service would drop in silence, is an error here.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.images import ENGINES
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal

jsonschema = importlib.import_module("jsonschema")
CONTRACT: dict[str, Any] = importlib.import_module("yaml").safe_load(
    Path(__file__).with_name("inference-endpoints-2.0.0.yaml").read_text()
)
NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)
# Not in the official document; their facts are the documentation's and huggingface_hub's.
ELSEWHERE = {
    ("GET", "/api/whoami-v2"),
    ("GET", "/api/v1/catalog/list"),
    ("POST", "/api/v1/catalog/model/acme/small/deploy"),
    ("POST", "/api/v1/catalog/recipe/r1/deploy"),
    ("GET", "/health"),
}

ENDPOINT: dict[str, Any] = {
    "name": "tickets",
    "type": "authenticated",
    "provider": {"vendor": "aws", "region": "us-east-1"},
    "compute": {"accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x1", "scaling": {}},
    "model": {"repository": "acme/small", "framework": "pytorch", "image": {"vLLM": {"url": "vllm/vllm-openai:v1"}}},
    "healthRoute": "/health",
    "status": {"state": "running", "url": "https://tickets.example", "message": ""},
}
NEEDED: dict[str, Any] = {
    "repository": "acme/small",
    "framework": "pytorch",
    "accelerator": "gpu",
    "instance_type": "nvidia-l4",
    "instance_size": "x4",
    "vendor": "aws",
    "region": "us-east-1",
}
VLLM: dict[str, Any] = {
    "vLLM": {"url": "vllm/vllm-openai:v1", "port": 8000, "healthRoute": "/health", "maxNumSeqs": 64}
}
# Every argument that create and update share; in the two maps below what only one of them has.
RICH: dict[str, Any] = {
    "min_replica": 0,
    "max_replica": 4,
    "scale_to_zero_timeout": 30,
    "scaling_metric": "pendingRequests",
    "scaling_threshold": 1.5,
    "revision": "main",
    "task": "text-generation",
    "custom_image": VLLM,
    "container_command": ["python", "-m", "serve"],
    "container_args": ["--max-model-len", "4096"],
    "tensor_parallel_size": 4,
    "data_parallel_size": 1,
    "env": {"LOG_LEVEL": "info"},
    "secrets": {"API_KEY": "s3cr3t-value"},
    "type": "authenticated",
    "domain": "tickets.acme.example",
    "path": "/v1",
    "cache_http_responses": True,
    "tags": ["tickets", "nightly"],
    "network": {"cidrBlock": True, "cidrList": ["10.0.0.0/8"]},
    "notifications": {"email": True, "push": False},
    "custom_router": {"tag": "v1", "env": {"A": "1"}, "port": 80, "grpcPort": 81, "protocol": "http"},
    "experimental_features": {"loadBalancer": "least_connections", "skipRepoDownload": True},
}
ONLY_CREATE: dict[str, Any] = {
    "private_link_account_id": "123456789012",
    "private_link_region": "us-east-1",
    "private_link_shared": True,
    "from_catalog": True,
}
CREDENTIALS: dict[str, Any] = {
    "custom_image": {"url": "registry.example/image:1", "port": 80, "healthRoute": "/h"},
    "container_registry_username": "user",
    "container_registry_password": "passw0rd",
}


def closed(node: Any) -> Any:
    """The schemas with every object closed: what the contract does not name is then an error."""
    if isinstance(node, list):
        return [closed(part) for part in node]
    if not isinstance(node, dict):
        return node
    made = {name: closed(part) for name, part in node.items()}
    if "properties" in node and "additionalProperties" not in node:
        made["additionalProperties"] = False
    return made


COMPONENTS = closed(deepcopy(CONTRACT["components"]))


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    """Where `value` is not what the closed schema allows."""
    whole = {**schema, "components": COMPONENTS}
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("date-time", raises=ValueError)(lambda text: bool(datetime.fromisoformat(text)))
    validator = jsonschema.Draft202012Validator(whole, format_checker=formats)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


class Recorder:
    """Answers every route, checks each request against the contract, and remembers which routes were used."""

    def __init__(self) -> None:
        self.used: set[tuple[str, str]] = set()
        self.elsewhere: set[tuple[str, str]] = set()
        self.bodies: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.check(request)
        return httpx.Response(200, json=self.answer(request))

    async def answer_async(self, request: httpx.Request) -> httpx.Response:
        return self(request)

    def check(self, request: httpx.Request) -> None:
        method, path = request.method, request.url.path
        assert request.headers["authorization"].startswith("Bearer "), "a request without its token"
        if (method, path) in ELSEWHERE:
            self.elsewhere.add((method, path))
            return
        template, operation = self.find(method, path)
        self.used.add((method, template))
        known = {each["name"]: each for each in operation.get("parameters", []) if each["in"] == "query"}
        for name, value in request.url.params.multi_items():
            assert name in known, f"{method} {path}: the contract has no query parameter {name!r}"
            kind = known[name]["schema"]
            typed = json.loads(value) if kind["type"] in ("integer", "boolean") else value
            assert problems(kind, typed) == [], f"{name}={value}"
        body = json.loads(request.content) if request.content else None
        self.bodies.append(body)
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert problems(schema, body) == [], f"{method} {path}"
        else:
            assert body is None, f"{method} {path} has no body in the contract"

    @staticmethod
    def find(method: str, path: str) -> tuple[str, dict[str, Any]]:
        # A literal route (…/provider/quotas/…) comes before one with a parameter in its place.
        for template in sorted(CONTRACT["paths"], key=lambda each: each.count("{")):
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, path) and method.lower() in CONTRACT["paths"][template]:
                return template, CONTRACT["paths"][template][method.lower()]
        raise AssertionError(f"the contract has no {method} {path}")

    @staticmethod
    def answer(request: httpx.Request) -> Any:
        path = request.url.path
        if request.method == "GET" and re.fullmatch(r"/v2/endpoint/[^/]+", path):
            return {"items": [ENDPOINT], "totalItems": 1, "nextCursor": None}
        if path.endswith("/replica"):
            return {"items": []}
        if path.endswith("/logs"):
            return []
        if "/metrics/" in path:
            return {"series": []}
        if "/provider" in path:
            return {"vendors": []}
        if path.endswith("/whoami-v2"):
            return {"type": "user", "name": "alice", "orgs": [{"name": "acme"}]}
        if path.endswith("/list"):
            return {"items": []}
        if path.endswith("/deploy"):
            return {"endpoint": ENDPOINT}
        return ENDPOINT


class Both:
    """Makes each call with both clients."""

    def __init__(self, recorder: Recorder, **options: Any) -> None:
        self.sync = EndpointsClient("hf_test", **options)
        self.sync._http = httpx.Client(transport=httpx.MockTransport(recorder))
        self.asynchronous = AsyncEndpointsClient("hf_test", **options)
        self.asynchronous._http = httpx.AsyncClient(transport=httpx.MockTransport(recorder.answer_async))

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.sync, method)(*args, **kwargs)
        asyncio.run(getattr(self.asynchronous, method)(*args, **kwargs))
        return result


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def both(recorder: Recorder) -> Both:
    return Both(recorder, namespace="acme")


def every_call() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Every method of the client, with every argument it has."""
    spec = EndpointSpec.from_arguments(name="tickets", **NEEDED, **RICH, **ONLY_CREATE)
    broken = InferenceEndpoint.from_raw(ENDPOINT, "acme")
    yield "whoami", (), {}
    yield "default_namespace", (), {}
    yield "list_inference_endpoints", (), {}
    yield (
        "list_inference_endpoints",
        ("acme",),
        {
            "state": ["running", "paused"],
            "tags": ["a", "b"],
            "type": "authenticated",
            "task": ("text-generation",),
            "search": "tick",
            "sort_by": "updatedAt",
            "direction": "asc",
            "limit": 5,
        },
    )
    yield "list_inference_endpoints", ("*",), {}
    yield "get_inference_endpoint", ("tickets",), {"namespace": "acme"}
    yield "create_inference_endpoint", ("tickets",), {**NEEDED, **RICH, **ONLY_CREATE}
    yield "create_inference_endpoint", ("tickets",), NEEDED
    yield "create", (spec,), {"namespace": "acme"}
    yield "update_inference_endpoint", ("tickets",), {**NEEDED, **RICH}
    yield "update_inference_endpoint", ("tickets",), {"tensor_parallel_size": 2, "data_parallel_size": 2}
    yield "update", ("tickets", EndpointUpdate.from_arguments(tags=["a"])), {}
    yield "pause_inference_endpoint", ("tickets",), {}
    yield "resume_inference_endpoint", ("tickets",), {"running_ok": False}
    yield "scale_to_zero_inference_endpoint", ("tickets",), {}
    yield "delete_inference_endpoint", ("tickets",), {"wait": False}
    yield "debug_inference_endpoint", ("tickets",), {}
    yield "list_inference_endpoint_replicas", ("tickets",), {}
    yield "get_inference_endpoint_cost", ("tickets",), {"start": NOW}
    yield (
        "get_inference_endpoint_logs",
        ("tickets",),
        {"tail": 5000, "replica": "r", "level": "ERROR", "search": "x", "since": NOW, "until": "2026-10-05T13:00:00Z"},
    )
    yield (
        "get_inference_endpoint_metric",
        ("tickets", "replica-running"),
        {"start": NOW, "stop": NOW, "replica_id": "r"},
    )
    yield "get_inference_endpoint_metric", ("tickets", "pending-request"), {"start": NOW}
    yield "list_inference_endpoints_hardware", (), {}
    yield "list_inference_endpoints_hardware", (), {"with_quota": False}
    yield "list_inference_endpoints_quotas", (), {}
    yield (
        "list_inference_catalog",
        (),
        {"accelerator": "gpu", "engine": "vllm", "license": "mit", "task": "t", "search": "s", "limit": 3},
    )
    yield "create_inference_endpoint_from_catalog", ("acme/small",), {"name": "tickets", "accelerator": "gpu"}
    yield "create_inference_endpoint_from_catalog", (), {"recipe_id": "r1", "name": "tickets"}
    yield "poll", ("tickets", Goal(started=NOW)), {}
    yield "wait", ("tickets", Goal(started=NOW)), {}
    yield "describe_failure", (broken,), {}


CALLS = list(every_call())


@pytest.mark.parametrize(("method", "args", "kwargs"), CALLS, ids=[call[0] for call in CALLS])
def test_every_request_is_in_the_contract(
    both: Both, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Route, method, query and body of each call, from both clients, are what the contract has, and no more."""
    both(method, *args, **kwargs)


def test_every_method_and_every_route_is_covered(recorder: Recorder) -> None:
    """No method of the client is left out above, and no route of the contract has no method, but for one fallback."""
    both = Both(recorder)
    for method, args, kwargs in CALLS:
        both(method, *args, **kwargs)
    methods = {name for name, _ in inspect.getmembers(EndpointsClient, inspect.isfunction) if not name.startswith("_")}
    # `release` is pause, scale to zero and delete by another name, `settle` a wait; the rest makes no request.
    assert methods - {method for method, _, _ in CALLS} <= {
        "close",
        "run",
        "release",
        "settle",
        "limit",
        "arguments",
        "understand",
        "transport_error",
        "retry_settings",
    }
    routes = {(method.upper(), path) for path, operations in CONTRACT["paths"].items() for method in operations}
    assert routes - recorder.used == {("GET", "/v2/endpoint/{namespace}/{name}/logs")}
    assert recorder.elsewhere == ELSEWHERE


def test_the_text_log_is_in_the_contract(recorder: Recorder) -> None:
    """Where log search answers 501, the older route is asked with parameters that it has."""
    answer = recorder.answer

    def without_search(request: httpx.Request) -> httpx.Response:
        recorder.check(request)
        if request.url.path.startswith("/v3/"):
            return httpx.Response(501, json={"error": "Not Implemented"})
        assert answer(request) == []
        return httpx.Response(200, text="one\ntwo\n")

    client = EndpointsClient("hf_test", namespace="acme")
    client._http = httpx.Client(transport=httpx.MockTransport(without_search))
    found = client.get_inference_endpoint_logs("tickets", tail=10, replica="r")
    assert [entry.line for entry in found] == ["one", "two"]
    assert ("GET", "/v2/endpoint/{namespace}/{name}/logs") in recorder.used


@pytest.mark.parametrize("name", sorted({*RICH, *ONLY_CREATE}))
def test_each_argument_alone_is_in_the_contract(name: str) -> None:
    """Each argument of create and update by itself, with what it needs beside it, is a body of the contract."""
    beside = {
        "scaling_threshold": ["scaling_metric"],
        "tensor_parallel_size": ["custom_image"],
        "data_parallel_size": ["custom_image"],
        "domain": ["path"],
        "path": ["domain"],
        "private_link_account_id": ["private_link_region"],
        "private_link_region": ["private_link_account_id"],
        "private_link_shared": ["private_link_account_id", "private_link_region"],
    }
    every = {**RICH, **ONLY_CREATE}
    arguments = {each: every[each] for each in [name, *beside.get(name, [])]}
    spec = EndpointSpec.from_arguments(name="tickets", **NEEDED, **arguments)
    assert problems(ref("Endpoint"), spec.payload()) == []
    if name not in ONLY_CREATE:
        assert problems(ref("EndpointUpdate"), EndpointUpdate.from_arguments(**arguments).payload()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"min_replica": 2},
        {"min_replica": 0, "max_replica": 1},
        {"scaling_metric": "hardwareUsage"},
        CREDENTIALS,
        {key: value for key, value in CREDENTIALS.items() if key != "container_registry_password"},
        {"type": "public"},
        {"accelerator": "cpu"},
        {"framework": "llamacpp"},
    ],
    ids=str,
)
def test_variants_of_a_create_and_an_update_are_in_the_contract(changes: dict[str, Any]) -> None:
    """Replicas that stay, a metric without a threshold, credentials with and without a password."""
    spec = EndpointSpec.from_arguments(**{"name": "tickets", **NEEDED, **changes})
    assert problems(ref("Endpoint"), spec.payload()) == []
    assert problems(ref("EndpointUpdate"), EndpointUpdate.from_arguments(**changes).payload()) == []


def test_every_engine_of_the_contract_is_known() -> None:
    """The engines that this package names are the contract's, and each one's image can be sent."""
    variants = CONTRACT["components"]["schemas"]["EndpointModelImage"]["oneOf"]
    assert list(ENGINES) == [variant["required"][0] for variant in variants]
    for engine in ENGINES:
        image: dict[str, Any] = {"url": "r/i:1"} | ({"modelPath": "m.gguf"} if engine == "llamacpp" else {})
        given = {engine: {} if engine.startswith("huggingface") else image}
        spec = EndpointSpec.from_arguments(name="tickets", **NEEDED, custom_image=given)
        assert problems(ref("Endpoint"), spec.payload()) == []


def test_parallelism_sizes_are_settings_of_the_engines_that_get_them() -> None:
    """The engines that take a size here are those whose variant has the field in the contract."""
    schemas = CONTRACT["components"]["schemas"]
    for argument, field in (
        ("tensor_parallel_size", "tensorParallelSize"),
        ("data_parallel_size", "dataParallelSize"),
    ):
        for variant in schemas["EndpointModelImage"]["oneOf"]:
            (engine,) = variant["required"]
            known = field in schemas[variant["properties"][engine]["$ref"].split("/")[-1]].get("properties", {})
            image = {engine: {"url": "r/i:1", "modelPath": "m.gguf"}}
            sizes: dict[str, Any] = {argument: 2}
            try:
                EndpointSpec.from_arguments(name="tickets", **NEEDED, custom_image=image, **sizes).payload()
                taken = True
            except ValueError:
                taken = False
            assert known is taken, f"{argument} for {engine}"


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The object schema behind references and `null`."""
    while "$ref" in schema or "oneOf" in schema:
        if "$ref" in schema:
            schema = CONTRACT["components"]["schemas"][schema["$ref"].split("/")[-1]]
            continue
        parts = [part for part in schema["oneOf"] if part.get("type") != "null"]
        if len(parts) != 1:
            return {}
        (schema,) = parts
    return schema


def properties(schema: dict[str, Any], depth: int, before: str = "") -> Iterator[str]:
    """Every property of an object schema down to `depth`, as a dotted path."""
    for name, part in resolve(schema).get("properties", {}).items():
        inner = list(properties(part, depth - 1, f"{before}{name}.")) if depth > 1 else []
        yield from inner or [before + name]


def holds(data: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


# Free-form parts that the caller gives in the contract's own words, and what a specification may not set.
FREE = ("customRouter.", "network.", "notifications.", "experimentalFeatures.")
INFORMATIONAL = {"compute.id"}


@pytest.mark.parametrize("schema", ["Endpoint", "EndpointUpdate"])
def test_every_property_of_the_contract_can_be_sent(schema: str) -> None:
    """Whatever the contract lets one set, some argument sets."""
    if schema == "Endpoint":
        sent = EndpointSpec.from_arguments(name="tickets", **NEEDED, **RICH, **ONLY_CREATE).payload()
    else:
        sent = EndpointUpdate.from_arguments(**NEEDED, **RICH).payload()
    missing = [
        path
        for path in properties(ref(schema), depth=3)
        if not holds(sent, path) and not path.startswith(FREE) and path not in INFORMATIONAL
    ]
    assert missing == []
    assert all(holds(sent, part.rstrip(".")) for part in FREE)


def test_the_closed_schemas_catch_a_misspelled_field() -> None:
    """The check above is one: a field that the contract does not name is found, deep inside as well."""
    payload = EndpointSpec.from_arguments(name="tickets", **NEEDED, custom_image=VLLM).payload()
    assert problems(ref("Endpoint"), payload) == []
    for path in ("", "compute", "compute.scaling", "model", "model.image.vLLM"):
        broken = deepcopy(payload)
        at: Any = broken
        for key in filter(None, path.split(".")):
            at = at[key]
        at["mispelled"] = 1
        assert problems(ref("Endpoint"), broken), path
