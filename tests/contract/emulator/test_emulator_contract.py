"""Every answer of every route of the control plane is one that the contract allows, and has nothing besides."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.emulator_play import LLAMACPP, SGLANG, TEI, TGI, VLLM, Play

jsonschema = importlib.import_module("jsonschema")
CONTRACT: dict[str, Any] = importlib.import_module("yaml").safe_load(
    Path(__file__).parents[1].joinpath("inference-endpoints-2.0.0.yaml").read_text()
)
WINDOW = {"start": "2026-01-01T00:00:00Z", "stop": "2099-01-01T00:00:00Z"}


def _closed(node: Any) -> Any:
    """The schemas with every object closed: what the contract does not name is then an error."""
    if isinstance(node, list):
        return [_closed(part) for part in node]
    if not isinstance(node, dict):
        return node
    made = {name: _closed(part) for name, part in node.items()}
    if "properties" in node and "additionalProperties" not in node:
        made["additionalProperties"] = False
    return made


class Contract:
    """Checks each answer as it arrives, and remembers which routes answered what."""

    def __init__(self) -> None:
        self.covered: set[tuple[str, str, int]] = set()
        self._components = _closed(deepcopy(CONTRACT["components"]))
        self._formats = jsonschema.FormatChecker(formats=())
        self._formats.checks("date-time", raises=ValueError)(
            lambda text: not isinstance(text, str) or bool(datetime.fromisoformat(text))
        )

    def check(self, response: httpx.Response) -> None:
        response.read()
        method, path = response.request.method.lower(), response.request.url.path
        for template, methods in CONTRACT["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, path) and method in methods and "{" not in path:
                self._check(method, template, methods[method], response)
                return

    def _check(self, method: str, template: str, operation: dict[str, Any], response: httpx.Response) -> None:
        self.covered.add((method, template, response.status_code))
        if response.status_code >= 400:
            if response.headers["content-type"].startswith("text/plain"):  # the words of the service's framework
                assert response.text.startswith("Failed to ")
                return
            body = response.json()
            assert {"error", "code"} == set(body), body
            assert re.fullmatch("[A-Z_]+", body["code"])
            assert re.fullmatch("[A-Z][A-Za-z ]+: .+|401 Unauthorized", body["error"], re.DOTALL)
            return
        content = operation["responses"][str(response.status_code)].get("content")
        if content is None:
            return
        schema = {**_closed(content["application/json"]["schema"]), "components": self._components}
        jsonschema.Draft202012Validator(schema, format_checker=self._formats).validate(response.json())


@pytest.fixture
def contract() -> Contract:
    return Contract()


@pytest.fixture
def play(contract: Contract) -> Iterator[Play]:
    with Emulator(namespace="acme") as emulator:
        playing = Play(emulator)
        playing.http.event_hooks = {"response": [contract.check]}
        yield playing


def _look(play: Play, name: str) -> None:
    """Every route that only reads."""
    base = f"{play.base}/{name}"
    for path in (base, f"{base}/replica", f"{base}/logs", f"/v3{base[3:]}/logs", play.base):
        assert play.http.get(path).status_code == 200, path
    for action in ("agent/debug", "metrics/replica-running", "metrics/pending-request"):
        assert play.post(action, name, json=WINDOW).status_code == 200, action


def test_every_route_in_every_state(play: Play, contract: Contract) -> None:
    """All routes of the contract, with endpoints in all of its states."""
    emulator = play.emulator
    assert play.http.get("/v2/provider").status_code == 200
    for path in ("/v2/provider/acme", "/v2/provider/quotas/acme"):
        assert play.http.get(path).status_code == 200
    emulator.behave("waiting", pending_seconds=600)
    emulator.behave("booting", initializing_seconds=600)
    emulator.behave("broken", fail="no", logs=("line",))
    emulator.behave("renewing", updating_seconds=600)
    emulator.behave("worse", fail_update="no")
    for name in ("waiting", "booting", "broken", "renewing", "worse", "zero", "halted", "fine"):
        assert play.create(name).status_code == 200
    expected = {"waiting": "pending", "booting": "initializing", "broken": "failed", "fine": "running"}
    for name in ("renewing", "worse", "zero", "halted"):
        play.until("running", name)
    for name in ("renewing", "worse"):
        assert play.put({"model": {"repository": "org/next"}}, name).status_code == 200
        expected[name] = "updating" if name == "renewing" else "updateFailed"
    assert play.post("scale-to-zero", "zero").status_code == 200
    assert play.post("pause", "halted").status_code == 200
    expected |= {"zero": "scaledToZero", "halted": "paused"}
    for name, state in expected.items():
        play.until(state, name)
        _look(play, name)
    states = set(CONTRACT["components"]["schemas"]["EndpointState"]["enum"])
    assert states == set(expected.values())
    for name in ("zero", "halted"):
        assert play.post("resume", name).status_code == 200
    for name in expected:
        assert play.delete(name).status_code == 200
    routes = {(method, path) for path, methods in CONTRACT["paths"].items() for method in methods}
    assert routes == {(method, path) for method, path, status in contract.covered if status == 200}


FULL: dict[str, Any] = {
    "tags": ["a"],
    "network": {"cidrBlock": True, "cidrList": ["10.0.0.0/8"]},
    "notifications": {"email": True, "push": False},
    "privateService": {"accountId": "1", "region": "eu-west-1", "shared": True},
    "route": {"domain": "models.example", "path": "/one"},
    "customRouter": {"tag": "v1", "env": {"A": "b"}, "port": 1, "grpcPort": 2, "protocol": "extProc"},
    "experimentalFeatures": {"cacheHttpResponses": True, "loadBalancer": "sticky", "skipRepoDownload": True},
    "cacheHttpResponses": True,
    "model": {
        "revision": "main",
        "env": {"A": "b"},
        "secrets": {"S": "t", "N": None},
        "args": ["--x"],
        "command": ["serve"],
        "fromCatalog": False,
    },
}


@pytest.mark.parametrize("measure", [{"pendingRequests": 2.5}, {"hardwareUsage": 80}, {"pendingRequests": None}, None])
def test_every_field(play: Play, measure: Any) -> None:
    """A specification with every field comes back in the contract's form."""
    created = play.create(**FULL, scaling={"measure": measure})
    assert created.status_code == 200
    body = created.json()
    for name in ("tags", "network", "notifications", "privateService", "route", "customRouter"):
        assert body[name] == FULL[name], name
    assert body["compute"]["scaling"]["measure"] == measure
    assert body["model"]["args"] == ["--x"]
    assert body["status"]["private"]["serviceName"].startswith("com.amazonaws")


@pytest.mark.parametrize("part", [name for name in FULL if name not in ("privateService", "cacheHttpResponses")])
def test_every_field_of_an_update(play: Play, part: str) -> None:
    """Each field can be updated alone; null changes nothing."""
    play.running()
    change = (
        {name: value for name, value in FULL[part].items() if name != "fromCatalog"} if part == "model" else FULL[part]
    )
    updated = play.put({part: change})
    assert updated.status_code == 200, updated.text
    assert updated.json()["tags"] == (["a"] if part == "tags" else [])
    before = {name: value for name, value in updated.json().items() if name != "status"}
    unchanged = play.put(dict.fromkeys((part, "type", "provider", "compute", "model", "tags")))
    assert {name: value for name, value in unchanged.json().items() if name != "status"} == before


IMAGES: list[dict[str, Any]] = [
    {"huggingface": {}},
    {"huggingfaceNeuron": {"batchSize": 1, "neuronCache": "c", "sequenceLength": None}},
    {"tgi": {**TGI["tgi"], "maxInputLength": 10, "disableCustomKernels": True, "quantize": "awq"}},
    {"tgiNeuron": {**TGI["tgi"], "hfAutoCastType": "bf16", "hfNumCores": 2}},
    {"tei": {**TEI["tei"], "maxBatchTokens": 1, "maxConcurrentRequests": 2, "pooling": "cls"}},
    {"llamacpp": {**LLAMACPP["llamacpp"], "ctxSize": 1, "nParallel": 1, "mode": "embeddings", "pooling": "rank"}},
    {"vLLM": {**VLLM["vLLM"], "port": 80, "tensorParallelSize": 1, "maxNumSeqs": None, "kvCacheDtype": "fp8"}},
    {"vLLMOmni": {"url": "x", "deployConfig": "d", "maxNumSeqs": 1}},
    {"vLLMNeuron": {"url": "x", "port": None}},
    {"sGLang": {**SGLANG["sGLang"], "maxRunningRequests": 1, "kvCacheDtype": None}},
    {"hfServe": {"url": "x"}},
    {"custom": {"url": "x", "healthRoute": None, "credentials": {"username": "u", "password": None}}},
]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: next(iter(image)))
def test_every_image(play: Play, image: dict[str, Any]) -> None:
    """Every variant of the contract is accepted with its own fields, and comes back as it was."""
    created = play.create(model={"image": image})
    assert created.status_code == 200, created.text
    answered = created.json()["model"]["image"]
    if "custom" in image:
        answered["custom"]["credentials"]["password"] = None
    assert answered == image


def test_the_images_are_the_contracts(play: Play) -> None:
    """No variant of the contract is missing here."""
    variants = {part["required"][0] for part in CONTRACT["components"]["schemas"]["EndpointModelImage"]["oneOf"]}
    assert {next(iter(image)) for image in IMAGES} == variants


def test_errors_have_their_form(play: Play, contract: Contract) -> None:
    """Every kind of refusal has `error` and `code` (checked with every answer), on each route."""
    play.http.headers["Authorization"] = "Bearer wrong"
    for path, methods in CONTRACT["paths"].items():
        for method in methods:
            url = path.replace("{namespace}", "acme").replace("{name}", "demo")
            if path != "/v2/provider":
                assert play.http.request(method, url).status_code == 401, path
    assert len([1 for _, _, status in contract.covered if status == 401]) == len(
        [1 for path, methods in CONTRACT["paths"].items() for _ in methods if path != "/v2/provider"]
    )
