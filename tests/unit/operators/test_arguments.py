"""No argument of a public operator or sensor takes a text in silence where its annotation says something else.

The cases are made of the annotations: whatever argument is added is held to the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.operators import endpoints, inference
from airflow_provider_hf_endpoints.operators.common.arguments import _alternatives, understand
from airflow_provider_hf_endpoints.operators.endpoints import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.acquire import AcquireInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.release import ReleaseAcquiredOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from tests.contract.operators_play import MODEL

PUBLIC = [getattr(module, name) for module in (endpoints, inference) for name in module.__all__]
OPERATORS: list[type[Any]] = [kind for kind in PUBLIC if hasattr(kind, "template_fields")]
OPERATORS += [InferenceEndpointSensor, SweepInferenceEndpointsOperator]
OPERATORS += [AcquireInferenceEndpointOperator, ReleaseAcquiredOperator]
NEEDED = {
    "endpoint": "demo",
    "name": "demo",
    "task": "text-generation",
    "inputs": "a",
    "input_path": "in.jsonl",
    "output_path": "out.jsonl",
    "shards": 2,
    "acquired": {},
    "must_exist": True,
    "start_task_id": "start",
    "release_task_id": "release",
}


def own_init(kind: type[Any]) -> Iterator[Any]:
    for cls in kind.__mro__:
        if cls.__module__.startswith("airflow_provider_hf_endpoints") and "__init__" in vars(cls):
            yield inspect.unwrap(vars(cls)["__init__"])


def annotated(kind: type[Any]) -> dict[str, Any]:
    """Every parameter of ours with its annotation, those of its base class too."""
    found: dict[str, Any] = {}
    for init in own_init(kind):
        found = {**get_type_hints(init), **found}
    found.pop("return", None)
    return found


def made(kind: type[Any], **changes: Any) -> Any:
    taken = set(annotated(kind))
    needed = {name: value for name, value in {**NEEDED, **MODEL}.items() if name in taken}
    return kind(**{"task_id": "task", **needed, **changes})


def cases(wanted: Any) -> list[Any]:
    return [
        pytest.param(kind, name, annotation, id=f"{kind.__name__}-{name}")
        for kind in OPERATORS
        for name, annotation in annotated(kind).items()
        if wanted([*_alternatives(annotation)])
    ]


def is_choice(kinds: list[Any]) -> bool:
    return str not in kinds and any(get_origin(each) is Literal for each in kinds)


def is_number(kinds: list[Any]) -> bool:
    return not {str, Any} & set(kinds) and bool({int, float, timedelta} & set(kinds)) and not is_choice(kinds)


def is_list(kinds: list[Any]) -> bool:
    return str not in kinds and any(get_origin(each) in (list, tuple, Sequence) for each in kinds)


def is_truth(kinds: list[Any]) -> bool:
    return kinds == [bool]


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_choice))
def test_a_misspelt_word_is_refused_with_the_nearest(kind: type[Any], name: str, annotation: Any) -> None:
    """When the DAG is read, and not by the timeout."""
    words = [word for each in _alternatives(annotation) if get_origin(each) is Literal for word in get_args(each)]
    misspelt = f"{words[0]}x"
    with pytest.raises(ValueError, match=f"{name}='{misspelt}' is not valid. Use one of .*Did you mean '{words[0]}'"):
        made(kind, **{name: misspelt})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_number))
def test_a_text_that_is_no_number_is_refused(kind: type[Any], name: str, annotation: Any) -> None:
    """With the argument, the value and the fix; a template too, where the argument is not rendered."""
    with pytest.raises(ValueError, match=f"{name}='soon' is not a number. Give a"):
        made(kind, **{name: "soon"})
    if name not in kind.template_fields:
        with pytest.raises(ValueError, match=f"{name}='{{{{ x }}}}' is a template, but {name} is not a template field"):
            made(kind, **{name: "{{ x }}"})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_number))
def test_a_text_that_is_a_number_is_one(kind: type[Any], name: str, annotation: Any) -> None:
    """As it comes from an environment variable or an Airflow Variable."""
    value = understand(name, "600", annotation)
    assert isinstance(value, int | float | timedelta)
    made(kind, **{name: "600"} if name not in ("max_error_rate", "price_above") else {})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_list))
def test_a_text_is_no_list_of_letters(kind: type[Any], name: str, annotation: Any) -> None:
    """One word is one element; several in one text are refused."""
    word = "running" if name == "target_states" else "abc"
    assert [word] == list(getattr(made(kind, **{name: word}), name))
    with pytest.raises(ValueError, match=f"{name}='a b' is a single string, but a list is expected"):
        made(kind, **{name: "a b"})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_truth))
def test_no_text_counts_as_true(kind: type[Any], name: str, annotation: Any) -> None:
    """`"False"` is a text, and Python takes every text for true."""
    assert understand(name, "False", annotation) is False
    with pytest.raises(ValueError, match=f"{name}='no' is a string, and any string counts as true"):
        made(kind, **{name: "no"})


@pytest.mark.parametrize("field", ["tags", "container_args", "container_command"])
def test_the_lists_of_an_endpoint(field: str) -> None:
    """Also where the argument has no parameter of its own; a template may become a list."""
    create: Any = CreateInferenceEndpointOperator
    given = {"task_id": "task", "name": "demo", **MODEL}
    assert ["a"] == getattr(create(**given, **{field: "a"}), field)
    assert "{{ x }}" == getattr(create(**given, **{field: "{{ x }}"}), field)
    with pytest.raises(ValueError, match=f"{field}='--a 1' is a single string, but a list is expected"):
        create(**given, **{field: "--a 1"})


def test_a_misspelt_state_is_refused_with_the_nearest() -> None:
    """Not by the timeout of the sensor."""
    with pytest.raises(ValueError, match=r"target_states='runing' is not valid. Use one of .*Did you mean 'running'"):
        InferenceEndpointSensor(task_id="wait", endpoint="demo", target_states=("paused", "runing"))
    InferenceEndpointSensor(task_id="wait", endpoint="demo", target_states=["{{ params.state }}"])


def test_a_batch_without_airflow_takes_no_letters_for_columns() -> None:
    """The same of `BatchJob`."""
    columns: Any = "id"
    with pytest.raises(ValueError, match=r"keep_columns must be a list, not the text 'id'. Give \['id'\]"):
        BatchJob(url="http://u", task="chat-completion", input_path="i", output_path="o", keep_columns=columns)


def test_the_cases_are_there() -> None:
    """The generator finds arguments of each sort."""
    for wanted in (is_choice, is_number, is_list, is_truth):
        assert cases(wanted)
