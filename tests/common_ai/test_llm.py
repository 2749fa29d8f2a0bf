"""An endpoint as the model of common-ai's decorators, on the emulator: `make test-ai`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task

from airflow_provider_hf_endpoints.common_ai.hook import PydanticAIInferenceEndpointHook
from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError, InferenceEndpointError
from airflow_provider_hf_endpoints.leases.records import Lease
from airflow_provider_hf_endpoints.leases.store import store_for
from airflow_provider_hf_endpoints.operators.endpoints import (
    PauseInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
)
from tests.contract.operators_play import (
    HANG,
    TEI,
    TOKEN,
    VLLM,
    connected,
    context_of_a_task_in,
    create,
    new_context,
    received,
    run,
    state,
)

CONN = "pydanticai_hf_endpoints_default"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch) as running:
        run(create(custom_image=VLLM))
        yield running


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str = CONN, **extra: Any) -> None:
    extra.setdefault("startup_timeout", HANG)
    given = {"conn_type": "pydanticai_hf_endpoints", "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(given))


def asked(function: Callable[[], Any], **arguments: Any) -> Any:
    with DAG("d", schedule=None):
        decorated: Any = task.llm(**{"llm_conn_id": CONN, "system_prompt": "Be brief.", **arguments})(function)
        operator = decorated().operator
    return operator.execute(new_context())


def question() -> str:
    return "Name a city"


def test_an_llm_task_by_the_endpoints_name(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection names the endpoint; URL, token and model's name are found. The result is the answer."""
    connect(monkeypatch, endpoint="demo", namespace="acme")
    assert "Name a city" in asked(question)
    sent = [line for line in received(emulator) if "chat/completions" in line]
    assert 1 == len(sent)


def test_the_endpoint_as_model_id(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection for all endpoints: the task names the endpoint."""
    connect(monkeypatch)
    for given in ("demo", "hf-endpoint:demo"):
        assert "Name a city" in asked(question, model_id=given)
    with pytest.raises(InferenceEndpointError, match=r"names no endpoint.*model_id"):
        asked(question)


def test_an_endpoint_at_zero_is_woken(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task waits for it."""
    connect(monkeypatch, endpoint="demo")
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    assert "Name a city" in asked(question)
    assert "running" == state(emulator)


def test_a_paused_endpoint_is_an_error_in_our_words(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no request is sent."""
    connect(monkeypatch, endpoint="demo")
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    with pytest.raises(EndpointFailedError, match="paused") as caught:
        asked(question)
    assert TOKEN not in repr(caught.value)
    assert not [line for line in received(emulator) if "chat/completions" in line]


def test_a_paused_endpoint_has_a_fallback(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another endpoint answers."""
    run(create("other", custom_image=VLLM))
    run(PauseInferenceEndpointOperator(task_id="p", endpoint="demo"))
    connect(monkeypatch, "other_llm", endpoint="other")
    connect(monkeypatch, endpoint="demo", fallback_conn_ids=["other_llm"])
    assert "Name a city" in asked(question)


def test_an_engine_without_chats(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what the engine is, and how to create an endpoint for chats."""
    run(create("embedder", task="sentence-embeddings", custom_image=TEI))
    connect(monkeypatch, endpoint="embedder")
    with pytest.raises(InferenceEndpointError, match=r"does not serve chats.*custom_image"):
        asked(question)


def test_a_group_gives_lease_and_budget(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the group's start returns, as model_id: the lease is renewed, and a spent budget sends nothing."""
    connect(monkeypatch)
    lease_path = json.loads(os.environ["AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT"])["extra"]["lease_path"]
    store = store_for(lease_path, "acme", "demo")
    lease = Lease(holder="d1", who="d", acquired=1.0, expires=1.0, seconds=600.0)
    store.write(lease)
    given = {
        "name": "demo",
        "namespace": "acme",
        "lease": {"record": lease.stored(), "namespace": "acme", "name": "demo"},
    }
    assert "Name a city" in asked(question, model_id=given)
    assert store.read()[0].expires > 600.0
    budget = {"began": 1.0, "max_runtime": 1.0, "max_cost": None, "gone": 0.0}
    before = len(received(emulator))
    with pytest.raises(AirflowFailException, match=r"No further request was sent: .*max_runtime"):
        asked(question, model_id={**given, "budget": budget})
    assert not [line for line in received(emulator)[before:] if "chat/completions" in line]


def test_an_agent(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`@task.agent` uses the same hook."""
    connect(monkeypatch, endpoint="demo")
    with DAG("d", schedule=None):
        decorated: Any = task.agent(llm_conn_id=CONN, system_prompt="Be brief.")(question)
        operator = decorated().operator
    context = context_of_a_task_in({})
    context["ti"].try_number, context["ti"].map_index = 1, -1
    assert "Name a city" in operator.execute({**context, "task_instance": context["ti"]})


def test_the_connection_is_tested_without_a_start(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The button of the connection's form wakes nothing."""
    connect(monkeypatch, endpoint="demo")
    run(ScaleToZeroInferenceEndpointOperator(task_id="z", endpoint="demo"))
    hook = PydanticAIHook.get_hook(CONN)
    assert isinstance(hook, PydanticAIInferenceEndpointHook)
    assert (True, "Endpoint acme/demo is scaledToZero.") == hook.test_connection()
    assert "scaledToZero" == state(emulator)
    connect(monkeypatch, endpoint="demo", startup_timeout="soon")
    with pytest.raises(InferenceEndpointError, match="startup_timeout='soon'"):
        asked(question)
