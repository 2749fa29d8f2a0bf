"""If the service refuses a token, there is one error that names the connection, and no warning before it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.settings import Token
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import AuthenticationError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.inference.client import InferenceClient
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.operators.endpoints import (
    DeleteInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.acquire import AcquireInferenceEndpointOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from tests.contract.operators_play import connect, connected, create, run

ENDPOINT: dict[str, Any] = {"task_id": "task", "endpoint": "demo"}
ACQUIRE: dict[str, Any] = {"must_exist": True, "start_task_id": "start", "release_task_id": "release"}
TASKS: dict[str, Any] = {
    "create": create,
    "update": lambda: UpdateInferenceEndpointOperator(**ENDPOINT, max_replica=2),
    "pause": lambda: PauseInferenceEndpointOperator(**ENDPOINT),
    "resume": lambda: ResumeInferenceEndpointOperator(**ENDPOINT),
    "scale_to_zero": lambda: ScaleToZeroInferenceEndpointOperator(**ENDPOINT),
    "delete": lambda: DeleteInferenceEndpointOperator(**ENDPOINT),
    "sensor": lambda: InferenceEndpointSensor(**ENDPOINT, deferrable=False),
    "deferred sensor": lambda: InferenceEndpointSensor(**ENDPOINT, deferrable=True),
    "request": lambda: InferenceOperator(**ENDPOINT, task="text-generation", inputs="a"),
    "batch": lambda: BatchInferenceOperator(
        **ENDPOINT, task="text-generation", prompt="{text}", input_path="in.jsonl", output_path="out.jsonl"
    ),
    "acquire": lambda: AcquireInferenceEndpointOperator(**ENDPOINT, **ACQUIRE),
    "sweep": lambda: SweepInferenceEndpointsOperator(task_id="task"),
}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    with connected(monkeypatch, tokens=(Token("hf_Caller1", frozenset({"infer"})),)) as emulator:
        run(create())
        yield emulator


@pytest.mark.parametrize("extra", [{}, {"namespace": "acme"}], ids=["namespace unknown", "namespace known"])
@pytest.mark.parametrize("token", ["hf_Wrong1", "hf_Caller1"])
@pytest.mark.parametrize("task", TASKS)
def test_the_error_names_the_connection_and_nothing_is_logged_before(
    task: str,
    token: str,
    extra: dict[str, str],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token that is wrong (401), and one that lacks the permission (403)."""
    connect(monkeypatch, emulator, token, lease_path=Path.cwd().as_uri(), **extra)
    caplog.clear()
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(Exception, match="token of the connection 'hf_endpoints_default'"),
    ):
        run(TASKS[task]())
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_hf_endpoints")]
    assert [] == [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def test_a_client_without_a_connection_says_what_it_knows(emulator: Emulator) -> None:
    """Its error names no source of the token."""
    with (
        EndpointsClient("hf_Wrong1", base_url=emulator.url, namespace="acme") as client,
        pytest.raises(AuthenticationError, match=r"^The service does not accept the token: "),
    ):
        client.get_inference_endpoint("demo")


CALLERS: dict[str, Any] = {
    "sensor": TASKS["sensor"],
    "request": TASKS["request"],
    "batch": TASKS["batch"],
}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("task", CALLERS)
def test_a_refused_health_route_names_the_connection(task: str, status: int, emulator: Emulator) -> None:
    """A wait that ends because the endpoint does not let the token call says whose token, which right, and where."""
    emulator.add_fault("/health", status=status)
    with pytest.raises(Exception, match=f"answers {status}") as caught:
        run(CALLERS[task]())
    _says_whose_and_what_to_do(caught.value, "namespace 'acme'")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("task", ["request", "batch"])
def test_a_refused_request_names_the_connection(task: str, status: int, emulator: Emulator) -> None:
    """The same if the health route answers, and the requests are refused: by the proxy, or by a key of the engine."""
    emulator.add_fault("/demo|/endpoints/", method="POST", status=status)
    with pytest.raises(Exception, match=f"status {status}") as caught:
        run(CALLERS[task]())
    _says_whose_and_what_to_do(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_call_of_the_hooks_client_names_the_connection(status: int, emulator: Emulator) -> None:
    """`endpoint.client` of the hook has the connection's token, so its error names the connection too."""
    emulator.add_fault("/endpoints/", method="POST", status=status)
    with InferenceEndpointsHook() as hook, pytest.raises(InferenceError) as caught:
        hook.get_inference_endpoint("demo").client.run("text-generation", "a")
    _says_whose_and_what_to_do(caught.value)
    _says_whose_and_what_to_do(pickle.loads(pickle.dumps(caught.value)))


def _says_whose_and_what_to_do(error: BaseException, *more: str) -> None:
    for part in ("token of the connection 'hf_endpoints_default'", "in a connection its password", *more):
        assert part in str(error)


def test_a_call_without_a_connection_names_none(emulator: Emulator) -> None:
    """A client that was given a token knows no connection, and its error names none."""
    emulator.add_fault("/endpoints/", method="POST", status=401)
    url = emulator.endpoint("demo")["status"]["url"]
    with InferenceClient(url, "hf_Wrong1", engine="huggingface") as client, pytest.raises(InferenceError) as caught:
        client.run("text-generation", "a")
    assert str(caught.value).startswith("The endpoint does not accept the token: ")
