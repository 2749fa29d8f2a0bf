"""What the emulator's tests have in common: a specification, a client with a token, waiting for a state."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

import httpx

from airflow_provider_hf_endpoints.emulator import Emulator, Token
from tests.beside import once

HANG = 20.0  # seconds after which a state that does not come is a failure

VLLM: dict[str, Any] = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "healthRoute": "/health"}}
SGLANG: dict[str, Any] = {"sGLang": {"url": "lmsysorg/sglang:v0.5.4"}}
TGI: dict[str, Any] = {"tgi": {"url": "ghcr.io/huggingface/text-generation-inference:3.3.6"}}
TEI: dict[str, Any] = {"tei": {"url": "ghcr.io/huggingface/text-embeddings-inference:cpu-1.8"}}
LLAMACPP: dict[str, Any] = {"llamacpp": {"url": "ghcr.io/ggml-org/llama.cpp:server", "modelPath": "/repository/m.gguf"}}
TOOLKIT: dict[str, Any] = {"huggingface": {}}


def spec(name: str = "demo", **changes: Any) -> dict[str, Any]:
    """A specification that is accepted; `changes` are merged in, `model`, `compute`, `scaling` one level deep."""
    scaling = {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15, **changes.pop("scaling", {})}
    compute = {"accelerator": "cpu", "instanceType": "intel-icl", "instanceSize": "x2", "scaling": scaling}
    model = {"repository": "org/model", "framework": "pytorch", "task": "text-generation", "image": TOOLKIT}
    return {
        "name": name,
        "type": "authenticated",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {**compute, **changes.pop("compute", {})},
        "model": {**model, **changes.pop("model", {})},
        **changes,
    }


def client(emulator: Emulator, token: str | None = None) -> httpx.Client:
    """An HTTP client of the emulator; `token` "" sends none."""
    token = emulator.token if token is None else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=emulator.url, headers=headers, timeout=HANG, trust_env=False, verify=False)


def loaded_once_asked(emulator: Emulator, name: str) -> AbstractContextManager[None]:
    """The endpoint runs, and answers its health route after the first failed request, however slow the caller is."""
    emulator.behave(name, loading_seconds=3 * HANG)

    def asked() -> bool:
        return any(each.status == 503 and each.path.endswith("/health") for each in emulator.requests)

    return once(asked, lambda: emulator.advance(3 * HANG))


class Play:
    """The control plane of one emulator, through one token, in one namespace."""

    def __init__(self, emulator: Emulator, token: str | None = None, namespace: str | None = None) -> None:
        self.emulator = emulator
        self.http = client(emulator, token)
        self.base = f"/v2/endpoint/{namespace or emulator.namespace}"

    def create(self, name: str = "demo", **changes: Any) -> httpx.Response:
        return self.http.post(self.base, json=spec(name, **changes))

    def get(self, name: str = "demo") -> httpx.Response:
        return self.http.get(f"{self.base}/{name}")

    def put(self, body: Any, name: str = "demo") -> httpx.Response:
        return self.http.put(f"{self.base}/{name}", json=body)

    def delete(self, name: str = "demo") -> httpx.Response:
        return self.http.delete(f"{self.base}/{name}")

    def post(self, action: str, name: str = "demo", json: Any = None) -> httpx.Response:
        return self.http.post(f"{self.base}/{name}/{action}", json=json)

    def state(self, name: str = "demo") -> str:
        return str(self.get(name).json()["status"]["state"])

    def until(self, state: str, name: str = "demo") -> dict[str, Any]:
        """The endpoint once it is in `state`; fails after `HANG` seconds."""
        ends = time.monotonic() + HANG
        while time.monotonic() < ends:
            answer: dict[str, Any] = self.get(name).json()
            if answer["status"]["state"] == state:
                return answer
            time.sleep(0.01)
        raise AssertionError(f"{name} is {answer['status']['state']}, not {state}")

    def running(self, name: str = "demo", **changes: Any) -> str:
        """Create an endpoint, wait until it runs, and return its URL."""
        created = self.create(name, **changes)
        assert created.status_code == 200, created.text
        return str(self.until("running", name)["status"]["url"])


def with_tokens() -> Emulator:
    """An emulator of which each kind of token is known, and two organisations."""
    tokens = (
        Token("hf_read", frozenset({"read"})),
        Token("hf_write", frozenset({"read", "write"})),
        Token("hf_writeonly", frozenset({"write"})),
        Token("hf_old", expired=True),
        Token("hf_org", namespaces=frozenset({"lab"})),
    )
    return Emulator(
        token="hf_all",
        namespace="acme",
        orgs=("lab",),
        orgs_without_billing=frozenset({"broke"}),
        tokens=tokens,
    )


def error(response: httpx.Response) -> tuple[int, str, str]:
    """Status, words and code of a refusal by the control plane."""
    body = response.json()
    assert {"error", "code"} == set(body)
    return response.status_code, body["error"], body["code"]
