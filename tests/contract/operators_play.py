"""What the operators' tests have in common: a stand-in for a context, a whole deferral, the calls that arrived."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.emulator.service.clock import Clock
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import KeptAt
from airflow_provider_hf_endpoints.operators.endpoints import CreateInferenceEndpointOperator

TOKEN = "hf_OperatorsTestsSecretToken"
HANG = 30.0  # seconds after which something that does not end is a failure
FAST: dict[str, Any] = {"poll_interval": 0.05}
MODEL: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "task": "text-generation",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
}
VLLM = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "healthRoute": "/health"}}
TEI = {"tei": {"url": "ghcr.io/huggingface/text-embeddings-inference:cpu-1.8"}}

_clocks: list[Clock] = []  # of the emulators that run


class TaskInstance:
    """What operators ask of a task instance."""

    task_id = "task"
    map_index = -1

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.first_reschedule: datetime | None = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, key: str, **_: Any) -> Any:
        return self.xcoms.get(key)

    def get_first_reschedule_date(self, _: Any) -> datetime | None:
        return self.first_reschedule


def new_context() -> Any:
    """A context for `execute`."""
    return {"ti": TaskInstance()}


def context_of_a_task_in(states: dict[str, Any] | None) -> Any:
    """A context whose task is, as Airflow says, in the state that `states` tells; None: it does not say."""
    context = new_context()
    ti = context["ti"]
    ti.dag_id, ti.run_id, ti.id = "nightly", "run-1", "attempt-1"

    def get_task_states(**_: Any) -> dict[str, Any]:
        if states is None:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={"status_code": 500}))
        return states

    ti.get_task_states = get_task_states
    return context


def connect(monkeypatch: pytest.MonkeyPatch, emulator: Emulator, token: str = TOKEN, **extra: Any) -> None:
    """The default connection, in the environment, so that no database of Airflow is needed."""
    connection = {"conn_type": "hf_endpoints", "host": emulator.url, "password": token, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT", json.dumps(connection))


def kept_at() -> KeptAt:
    """Where the tasks with the default connection keep their records."""
    return InferenceEndpointsHook().kept_at


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Iterator[Emulator]:
    """An emulator, and the default connection to it, with leases in a folder: no Airflow keeps Variables here."""
    settings.setdefault("clock", Clock())
    with Emulator(token=TOKEN, namespace="acme", **settings) as emulator, TemporaryDirectory() as folder:
        connect(monkeypatch, emulator, lease_path=f"file://{folder}")
        _clocks.append(settings["clock"])
        yield emulator
        _clocks.remove(settings["clock"])


def create(name: str = "demo", **changes: Any) -> CreateInferenceEndpointOperator:
    """A create that would succeed, with some arguments changed."""
    return CreateInferenceEndpointOperator(**{"task_id": "create", "name": name, **FAST, **MODEL, **changes})


@contextmanager
def chains_that_end() -> Iterator[None]:
    """An error that is raised from itself fails the test: what renders its traceback may never end.

    On Airflow 3.0 it did not, and the task ran on until somebody killed it.
    """
    try:
        yield
    except Exception as error:
        seen: list[BaseException] = []
        at: BaseException | None = error
        while at is not None:
            assert all(at is not each for each in seen), f"raised from itself: {at!r}"
            seen.append(at)
            at = at.__cause__ or at.__context__
        raise


def run(operator: Any, context: Any = None) -> Any:
    """Execute, as a worker does, where nothing is deferred."""
    with chains_that_end():
        return operator.execute(context if context is not None else new_context())


def deferred(operator: Any, context: Any = None) -> TaskDeferred:
    """Execute up to the deferral, on a clock that stands: an endpoint that is ready by then is not waited for."""
    with ExitStack() as held:
        for clock in _clocks:
            held.enter_context(clock.held())
        with pytest.raises(TaskDeferred) as caught:
            run(operator, context)
    return caught.value


def moved(trigger: Any) -> Any:
    """The trigger as another process makes it, from what Airflow has stored of it."""
    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)(**json.loads(json.dumps(kwargs)))


def overdue(trigger: Any) -> Any:
    """The trigger with a deadline of now. The steps before the deferral can then take any time."""
    _, kwargs = trigger.serialize()
    return type(trigger)(**{**kwargs, "deadline": time.time()})


async def fire(trigger: Any) -> list[dict[str, Any]]:
    """Every event of a trigger, as Airflow stores them."""
    async with asyncio.timeout(HANG):
        return [json.loads(json.dumps(event.payload)) async for event in trigger.run()]


def event_of(trigger: Any) -> dict[str, Any]:
    """The one event of a trigger that another process has made."""
    (event,) = asyncio.run(fire(moved(trigger)))
    return event


def complete(operator: Any, deferral: TaskDeferred, event: Any, context: Any = None) -> Any:
    """What the worker does with the event."""
    method = getattr(operator, deferral.method_name)
    with chains_that_end():
        return method(context if context is not None else new_context(), event, **(deferral.kwargs or {}))


def run_deferred(operator: Any, context: Any = None) -> Any:
    """Execute, and where the endpoint is not there yet, wait in a trigger, and complete."""
    try:
        return run(operator, context)
    except TaskDeferred as caught:
        deferral = caught
    return complete(operator, deferral, event_of(deferral.trigger), context)


def received(emulator: Emulator) -> list[str]:
    """Every request that has arrived, as `METHOD /path`, oldest first."""
    # A request is noted after its answer was sent: one more round trip, and all before it are there.
    # `verify`: to read all the CA certificates for each would be most of what these tests compute.
    httpx.get(f"{emulator.url}/_emulator", trust_env=False, verify=False)
    return [f"{request.method} {request.path}" for request in emulator.requests]


def calls(emulator: Emulator, *methods: str) -> list[str]:
    """The calls of the control plane that change something, without the part of the path that all share."""
    wanted = methods or ("POST", "PUT", "DELETE")
    each = [line.split(" ") for line in received(emulator) if "/metrics/" not in line]  # a POST that only reads
    prefix = "/v2/endpoint/acme"
    return [f"{method} {path.removeprefix(prefix)}" for method, path in each if method in wanted and prefix in path]


def state(emulator: Emulator, name: str = "demo") -> str:
    """The endpoint's state now."""
    return str(emulator.endpoint(name)["status"]["state"])
