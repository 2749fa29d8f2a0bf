"""No task of a DAG says what another task has given to an endpoint as a secret, however the container prints it."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.endpoints.errors import EndpointFailedError, InferenceEndpointError
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchError
from airflow_provider_hf_endpoints.operators.common.dag_secrets import secrets_of_dag
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    FromConnection,
    FromVariable,
    ResumeInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from tests.contract.operators_play import (
    FAST,
    HANG,
    MODEL,
    VLLM,
    complete,
    connected,
    create,
    event_of,
    moved,
    new_context,
    run,
    state,
)

INLINE, VAULT, VARIABLE = "canary in the DAG 4711", "canary of an extra 4712", "canary of a\nvariable 4713"
REGISTRY, MAPPED = "canary of a registry 4714", "canary of a mapped task 4715"
# What must be found nowhere: a value, or what is enough of one.
PARTS = (
    "in the DAG 4711",
    "of an extra 4712",
    "canary of a",
    "variable 4713",
    "of a registry 4714",
    "mapped task 4715",
)
VALUES = (INLINE, VAULT, VARIABLE, REGISTRY, MAPPED)
# The container knows nothing of the endpoint's names here.
PRINTED = (
    *(f"read {value}" for value in VALUES),
    json.dumps({"told": VALUES}),
    *(base64.b64encode(f"robot:{value}".encode()).decode() for value in VALUES),
)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """With the connection and the variables that the secrets stand in."""
    vault = {"conn_type": "generic", "password": REGISTRY, "extra": {"key": VAULT}}
    monkeypatch.setenv("AIRFLOW_CONN_VAULT", json.dumps(vault))
    monkeypatch.setenv("AIRFLOW_VAR_LICENCE", VARIABLE)
    monkeypatch.setenv("AIRFLOW_CONN_MAPPED", json.dumps({"conn_type": "generic", "password": MAPPED}))
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture
def dag() -> DAG:
    """A DAG that gives secrets in every way."""
    with DAG("secrets", schedule=None) as dag:
        CreateInferenceEndpointOperator(
            **{**MODEL, **FAST, "framework": "custom"},
            task_id="create",
            name="demo",
            custom_image={"url": "registry.acme/x"},
            container_registry_username="robot",
            container_registry_password=FromConnection("vault"),
            secrets={"A": INLINE, "B": FromConnection("vault", "key"), "C": FromVariable("licence")},
            wait_for_completion=False,
        )
        UpdateInferenceEndpointOperator.partial(task_id="mapped", endpoint="demo").expand(
            secrets=[{"D": FromConnection("mapped")}]
        )
    return dag


def sensor(mode: str) -> InferenceEndpointSensor:
    how = {"deferrable": True} if mode == "deferred" else {"mode": mode, "deferrable": False}
    return InferenceEndpointSensor(task_id="wait", endpoint="demo", poke_interval=0.05, timeout=HANG, **how)


def rows(folder: Path) -> dict[str, Any]:
    (folder / "in.jsonl").write_text('{"text": "row"}\n')
    return {"input_path": str(folder / "in.jsonl"), "output_path": str(folder / "out.jsonl")}


ENDS = (TaskDeferred, AirflowException, InferenceEndpointError, InferenceError, BatchError)
ASK: dict[str, Any] = {"endpoint": "demo", "task": "chat-completion", **FAST}
# What quotes the container of an endpoint that failed to start.
QUOTES: dict[str, Callable[[Path], Any]] = {
    "poke": lambda _: sensor("poke"),
    "reschedule": lambda _: sensor("reschedule"),
    "deferred sensor": lambda _: sensor("deferred"),
    "resume": lambda _: ResumeInferenceEndpointOperator(task_id="r", endpoint="demo", deferrable=False, **FAST),
    "deferred resume": lambda _: ResumeInferenceEndpointOperator(task_id="r", endpoint="demo", deferrable=True, **FAST),
    "call": lambda _: InferenceOperator(task_id="i", inputs="hi", **ASK),
    "batch": lambda folder: BatchInferenceOperator(task_id="b", prompt="{text}", **rows(folder), **ASK),
}


def failure_of(operator: Any) -> str:
    """How the task ends, carried through a trigger, with what is stored on the way."""
    context = new_context()
    with pytest.raises(ENDS) as caught:
        run(operator, context)
    deferral = caught.value
    if not isinstance(deferral, TaskDeferred):
        return told(deferral)
    event = event_of(deferral.trigger)
    with pytest.raises(ENDS) as last:
        complete(operator, deferral, event, context)
    return f"{json.dumps([moved(deferral.trigger).serialize(), event, deferral.kwargs])} {told(last.value)}"


def until_failed(operator: Any, emulator: Emulator) -> str:
    """The same, of an endpoint that has failed by now: a task that looks once at a time ends at its first look."""
    while state(emulator) != "failed":
        emulator.advance(1)
    return failure_of(operator)


def told(error: BaseException | None) -> str:
    """The error and those that it was raised from."""
    return "" if error is None else f"{error!r} {error}\n{told(error.__cause__ or error.__context__)}"


@pytest.mark.parametrize("how", QUOTES)
def test_what_one_task_was_given_no_other_quotes(
    emulator: Emulator, dag: DAG, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Printed without its name, as it is and encoded: errors, the log, and what a deferral stores have none of it."""
    caplog.set_level(logging.DEBUG)
    emulator.behave("demo", fail="\n".join(PRINTED), logs=("Booting", *PRINTED))
    run(dag.get_task("create"))
    with dag:
        operator = QUOTES[how](tmp_path)
    said = until_failed(operator, emulator) if how == "reschedule" else failure_of(operator)
    assert "Booting" in said, "the container's log is quoted, or the search proves nothing"
    assert [] == [part for part in PARTS if part in said + caplog.text]
    assert [] == [
        part for part in PARTS if base64.b64encode(f"robot:{part}".encode()).decode()[8:-4] in said + caplog.text
    ]


@pytest.mark.usefixtures("emulator")
def test_every_way_of_giving_a_secret_is_known(dag: DAG) -> None:
    """Alone, in `partial`, in `expand` and in `expand_kwargs`; but not those of the task itself."""
    update = UpdateInferenceEndpointOperator
    with dag:
        update.partial(task_id="p", endpoint="demo", secrets={"E": FromVariable("licence")}).expand(changes=[{}])
        update.partial(task_id="k").expand_kwargs(
            [{"endpoint": "demo", "container_registry_password": FromConnection("vault")}]
        )
        wait = sensor("poke")
        own = update(task_id="own", endpoint="demo", secrets={"F": "of its own"})
    assert {INLINE, VAULT, VARIABLE, REGISTRY, MAPPED, "of its own"} == set(secrets_of_dag(wait))
    assert "of its own" not in secrets_of_dag(own)
    assert [] == secrets_of_dag(InferenceEndpointSensor(task_id="alone", endpoint="demo"))


def test_a_secret_that_cannot_be_looked_up_leaves_the_rest_hidden(
    emulator: Emulator, dag: DAG, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be another endpoint's: the log is quoted, and a warning says that its name alone hides it."""
    emulator.behave("demo", fail=f"exit 1 after {INLINE}, MAPPED={MAPPED}")
    run(dag.get_task("create"))
    monkeypatch.delenv("AIRFLOW_CONN_MAPPED")
    with dag:
        said = failure_of(sensor("poke"))
    assert "exit 1 after ***" in said
    assert "redacted by its name only" in caplog.text


@pytest.mark.parametrize("how", ["call", "batch"])
def test_what_an_engine_answers_is_concealed(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """An engine that fails may answer with its environment: the endpoint's names say what to hide, before it is cut."""
    caplog.set_level(logging.DEBUG)
    run(create(custom_image=VLLM, secrets={"LICENCE": "4716 value"}))
    body = f"{'x' * 1980} LICENCE=4716 value"
    emulator.add_fault("/v1/chat/completions$", status=400, body={"error": {"message": body}})
    operator = QUOTES[how](tmp_path)
    operator.fail_on_errors = True
    said = failure_of(operator)
    written = "".join(path.read_text() for path in tmp_path.rglob("out*") if path.is_file())
    assert "xxx" in said + written
    assert "4716" not in said + written + caplog.text


def test_the_hooks_endpoint_conceals_too(emulator: Emulator) -> None:
    """A task of the user's own that waits, or returns the log: the names are the endpoint's, also for another DAG."""
    emulator.behave("demo", fail="exit 1 after LICENCE=4716 value", logs=("Booting", "LICENCE=4716 value"))
    run(create(wait_for_completion=False, secrets={"LICENCE": "4716 value"}))
    with InferenceEndpointsHook() as hook:
        endpoint = hook.get_inference_endpoint("demo")
        with pytest.raises(EndpointFailedError) as caught:
            endpoint.wait(timeout=HANG)
        shown = [str(caught.value), repr(endpoint.raw), str(endpoint.error_message), repr(endpoint.logs())]
    assert [] == [text for text in shown if "4716 value" in text]
    assert "LICENCE=***" in shown[0]
