"""Whatever the contract's routes are sent, the emulator answers: never a 5xx, never a 200 that breaks the contract."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.control import routes as control
from tests.contract.emulator.test_emulator_contract import Contract
from tests.contract.emulator_play import HANG, Play, client

schemathesis = pytest.importorskip("schemathesis", reason="part of the project's own environment only")
GenerationMode = schemathesis.GenerationMode
SCHEMA = schemathesis.openapi.from_path(Path(__file__).parents[1] / "inference-endpoints-2.0.0.yaml")
_FOUND: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]
OPERATIONS: dict[str, Any] = {f"{found.method.upper()} {found.path}": found for found in _FOUND}
NOTHING_WRONG = ("GET /v2/provider", GenerationMode.NEGATIVE)
QUICK = hypothesis.settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with (
        pytest.MonkeyPatch.context() as patch,
        Emulator(namespace="acme", pending_seconds=0, initializing_seconds=0, deleting_seconds=0) as running,
    ):
        patch.setattr(control, "FOLLOW_SECONDS", 0.01)
        yield running


def _aim(case: Any, chance: int) -> None:
    """Let most cases reach an endpoint that exists, and some bodies name hardware that does."""
    case.path_parameters = {**(case.path_parameters or {}), "namespace": "acme"}
    if "name" in case.path_parameters and chance % 4:
        case.path_parameters["name"] = "demo"
    if chance % 2 and isinstance(case.body, dict):
        case.body["provider"] = {"vendor": "aws", "region": "us-east-1"}
        if isinstance(case.body.get("compute"), dict):
            hardware = {"accelerator": "cpu", "instanceType": "intel-icl", "instanceSize": "x2"}
            case.body["compute"] = {**case.body["compute"], **hardware}


@pytest.mark.parametrize(
    ("operation", "mode"),
    # The public price list takes nothing that could be wrong.
    [(name, mode) for name in OPERATIONS for mode in GenerationMode if (name, mode) != NOTHING_WRONG],
    ids=lambda value: value if isinstance(value, str) else value.value,
)
def test_fuzz(emulator: Emulator, operation: str, mode: Any) -> None:
    """Requests as the contract describes them, and as it forbids them."""
    play, contract = Play(emulator), Contract()
    play.create()

    @hypothesis.settings(QUICK, max_examples=30)
    @given(case=OPERATIONS[operation].as_strategy(generation_mode=mode), chance=st.integers(0, 100))
    def run(case: Any, chance: int) -> None:
        _aim(case, chance)
        made = case.as_transport_kwargs(base_url=emulator.url)
        request = httpx.Request(
            made["method"],
            made["url"],
            params=[pair for pair in (made.get("params") or {}).items() if pair[1] is not None] or None,
            json=made.get("json"),
            headers={"Authorization": f"Bearer {emulator.token}"},
        )
        response = play.http.send(request)
        assert response.status_code < 500, response.text
        contract.check(response)

    run()
    assert contract.covered


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize("image", ["vLLM", "sGLang", "llamacpp", "tgi", "tei", "huggingface", "custom"])
def test_fuzz_the_data_plane(emulator: Emulator, image: str) -> None:
    """Any JSON on any engine's route is answered; llama.cpp's 500 for a long embedding is not met here."""
    play = Play(emulator)
    fields = {} if image == "huggingface" else {"url": "x", "modelPath": "/m"}
    url = play.running(f"f-{image.lower()}", model={"image": {image: fields}})
    routes = ["", "/generate", "/generate_stream", "/embed", "/rerank", "/predict", "/similarity"]
    routes += ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    keys = st.sampled_from(
        ["inputs", "parameters", "messages", "prompt", "input", "model", "max_tokens", "stream", "stop", "n",
         "response_format", "query", "texts", "text", "sampling_params", "temperature", "stream_options"]
    )  # fmt: skip

    @hypothesis.settings(QUICK, max_examples=40)
    @given(route=st.sampled_from(routes), body=JSON | st.dictionaries(keys, JSON, max_size=5))
    def run(route: str, body: Any) -> None:
        response = play.http.post(url + route, json=body)
        assert response.status_code < 500, response.text

    run()


ODD = [
    "\x00",
    "%00",
    "%2e%2e/%2e%2e",
    "..",
    "%ff%fe",
    "é",
    "%0d%0aX-Injected:1",
    "a" * 5000,
    "%25",
    "?",
    ";",
    "//",
    "*",
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_paths(emulator: Emulator, odd: str) -> None:
    """Names and namespaces of any characters are refused or not found."""
    quoted = "".join(c if c in string.printable and c not in "\x00 " else "%00" for c in odd)
    for path in (f"/v2/endpoint/acme/{quoted}", f"/v2/endpoint/{quoted}", f"/endpoints/{quoted}/health", f"/{quoted}"):
        for method in ("GET", "POST", "DELETE", "PUT"):
            response = client(emulator).request(method, path)
            assert 200 <= response.status_code < 500, (method, path)
            assert "x-injected" not in response.headers


def test_odd_requests(emulator: Emulator) -> None:
    """Broken bodies, wrong content types, methods that no route has."""
    http = client(emulator)
    for body in (b"\xff" * 10, b"null", b'"\\ud800"', b'{"tags": "\\ud800"}', b"1e999", b"[" * 50_000, b"9" * 10_000):
        for method, path in (("POST", "/v2/endpoint/acme"), ("PUT", "/v2/endpoint/acme/demo")):
            assert http.request(method, path, content=body).status_code in (400, 404, 422), body[:20]
    for method in ("PATCH", "OPTIONS", "TRACE"):
        assert http.request(method, "/v2/endpoint/acme").status_code == 405
    Play(emulator).create("surrogate")
    for value in ('"\\ud800"', '"\\u0000"', "1e400", "-0", "123456789012345678901234567890"):
        change = f'{{"tags": [{value}], "model": {{"revision": {value}}}}}'
        response = http.put("/v2/endpoint/acme/surrogate", content=change.encode(), timeout=HANG)
        assert response.status_code in (200, 400, 422), value
        assert http.get("/v2/endpoint/acme").status_code == 200
