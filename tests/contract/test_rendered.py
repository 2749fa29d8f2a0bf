"""The value of a rendered template is checked by the annotation of its argument: no traceback, and nothing done
before.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.operators.checking.kinds import alternatives
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
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
from tests.contract.operators_play import FAST, MODEL, connected, create, new_context, run

ENDPOINT: dict[str, Any] = {"endpoint": "demo", **FAST}
CALL: dict[str, Any] = {**ENDPOINT, "task": "text-generation"}
BATCH: dict[str, Any] = {**CALL, "prompt": "{a}", "transport": "httpx"}
IDS: dict[str, Any] = {"must_exist": False, "start_task_id": "start", "release_task_id": "release"}
OPERATORS: dict[type[Any], dict[str, Any]] = {
    AcquireInferenceEndpointOperator: {"endpoint": "demo", **IDS},
    CreateInferenceEndpointOperator: {"name": "other", **MODEL, **FAST},
    ResumeInferenceEndpointOperator: ENDPOINT,
    PauseInferenceEndpointOperator: ENDPOINT,
    ScaleToZeroInferenceEndpointOperator: ENDPOINT,
    DeleteInferenceEndpointOperator: ENDPOINT,
    UpdateInferenceEndpointOperator: {**ENDPOINT, "changes": {"max_replica": 2}},
    InferenceEndpointSensor: {"endpoint": "demo", "timeout": 20, "poke_interval": 0.1},
    InferenceOperator: {**CALL, "inputs": "x"},
    BatchInferenceOperator: {**BATCH, "input_path": "i.jsonl", "output_path": "o.jsonl"},
    SweepInferenceEndpointsOperator: {"only_report": False},
}
NEVER: list[Any] = ["None", 5, {"k": "v"}, None, ""]


def annotated(kind: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in kind.__mro__:
        if cls.__module__.startswith("airflow_provider_hf_endpoints") and "__init__" in vars(cls):
            found = {**get_type_hints(inspect.unwrap(vars(cls)["__init__"])), **found}
    return found


def may_be(value: Any, annotation: Any) -> bool:
    """Whether the annotation allows what a template has become."""
    kinds = [*alternatives(annotation)]
    if Any in kinds:
        return True
    if value == 5:
        return int in kinds
    if value in (None, ""):
        return type(None) in kinds
    return isinstance(value, dict) and any("apping" in str(kind) for kind in kinds)


CASES = [
    pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{value!r}")
    for kind in OPERATORS
    for name, annotation in annotated(kind).items()
    if name in kind.template_fields
    for value in NEVER
    if not may_be(value, annotation)
    if not (isinstance(value, str) and name in ("names", "namespaces", "keep"))  # one text names several there
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as patch, connected(patch) as emulator:
        run(create(), new_context())
        yield emulator


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_a_value_that_is_not_valid_fails_the_task_for_good(
    emulator: Emulator, kind: type[Any], name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the argument. No retry can help, nothing is sent, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    before = len(emulator.requests)
    operator = kind(task_id="task", **OPERATORS[kind])
    setattr(operator, name, value)
    with pytest.raises(AirflowFailException, match=rf"{name}\W.*"):
        run(operator, new_context())
    assert [] == [each.method for each in emulator.requests[before:] if each.method != "GET"]
    assert [] == list(tmp_path.iterdir())


def test_a_text_becomes_what_the_argument_is(emulator: Emulator) -> None:
    """Templates give texts. A misspelt state is refused with the nearest one, and not waited for."""
    sensor = InferenceEndpointSensor(task_id="task", endpoint="demo", timeout=20, poke_interval=0.1)
    sensor.target_states = "running"
    assert "running" == run(sensor, new_context())["state"]
    assert not isinstance(sensor.target_states, str)
    sensor.target_states = "runing"
    with pytest.raises(AirflowFailException, match="Did you mean 'running'"):
        run(sensor, new_context())
