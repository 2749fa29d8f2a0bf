"""What a user gives becomes JSON as it stands, or is refused by name before anything is sent."""

from __future__ import annotations

import dataclasses
import enum
import json
from array import array
from collections import OrderedDict, UserDict, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.client import InferenceClient
from airflow_provider_hf_endpoints.inference.given import plain
from airflow_provider_hf_endpoints.operators.inference import InferenceOperator
from tests.contract.inference_server import echo, serving

JOB: dict[str, Any] = {
    "url": "http://127.0.0.1:9",
    "task": "chat-completion",
    "input_path": "in.jsonl",
    "output_path": "out.jsonl",
}


class Word(str):
    """A text of a separate type."""


class Colour(str, enum.Enum):  # noqa: UP042 - as many people write it, also those of an older Python
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Plain(enum.Enum):
    RED = "red"


class Model(BaseModel):
    a: int = 1


@dataclasses.dataclass
class Data:
    a: int = 1


class Array:
    """As NumPy's, of which only the way to a list is asked."""

    def tolist(self) -> list[int]:
        return [1]


#: What JSON has no form of, and what the error says to give.
REFUSED: list[tuple[Any, str]] = [
    ({"b", "a"}, "a list"),
    (frozenset(), "a list"),
    ({}.keys(), "a list"),
    (range(3), "a list"),
    (deque([1]), "a list"),
    ((n for n in range(3)), "a list"),
    (array("d", [1.0]), r"a list or a number, such as its tolist\(\)"),
    (Array(), "a list or a number"),
    (b"text", "a text, such as base64"),
    (bytearray(b"x"), "a text, such as base64"),
    (memoryview(b"x"), "a text, such as base64"),
    (datetime(2026, 1, 2, tzinfo=UTC), r"a text, such as its isoformat\(\)"),
    (date(2026, 1, 2), "a text, such as its isoformat"),
    (time(1, 2), "a text, such as its isoformat"),
    (timedelta(seconds=5), "a number of seconds"),
    (Decimal("0.1"), "a float or a text"),
    (Decimal("NaN"), "a float or a text"),
    (Path("a"), r"a text, such as str\(\.\.\.\)"),
    (UUID(int=1), "a text, such as str"),
    (Plain.RED, "its value"),
    (Model(), r"a mapping, such as its model_dump\(\)"),
    (Data(), "a mapping, such as dataclasses.asdict"),
    (Model, "a value"),
    (print, "a value"),
    (1j, "a text, a number, a list or a mapping"),
    (object(), "a text, a number, a list or a mapping"),
]


@pytest.mark.parametrize(("value", "instead"), REFUSED, ids=lambda each: type(each).__name__)
def test_what_json_has_no_form_of_is_refused_with_its_place(value: Any, instead: str) -> None:
    """A writer of JSON would send some of them as something else; a set in another order each time."""
    with pytest.raises(
        ValueError, match=rf"^parameters\['extra'\]\[1\]\['x'\] cannot be written as JSON: it is an? .* Give {instead}"
    ):
        plain("parameters", {"extra": [1, {"x": value}]})


@pytest.mark.parametrize("argument", ["parameters", "row_parameters", "body", "messages", "response_schema"])
def test_every_argument_that_becomes_json_is_held_to_it(argument: str) -> None:
    """Also where only a part of it is not JSON's."""
    wrong: Any = [{"role": "user", "content": "{t}", "tags": {"a", "b"}}]
    wrong = wrong if argument == "messages" else {"x": ["{t}", {"a", "b"}], "enum": {"a", "b"}}
    prompt = None if argument in ("body", "messages") else "{t}"
    with pytest.raises(ValueError, match=rf"^{argument}\[.*\] cannot be written as JSON: it is a set"):
        BatchJob(**{**JOB, "prompt": prompt, argument: wrong})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ((1, (2,)), [1, [2]]),
        (MappingProxyType({"a": OrderedDict(b=UserDict(c=1))}), {"a": {"b": {"c": 1}}}),
        ({50256: -100}, {"50256": -100}),
        ({Word("w"): Word("x")}, {"w": "x"}),
        ({Colour.RED: Colour.RED, Size.BIG: Size.BIG}, {"red": "red", "3": 3}),
        (Fraction(1, 2), 0.5),
        ([True, None, 2**70, "\ud800", -0.0], [True, None, 2**70, "\ud800", -0.0]),
    ],
)
def test_what_can_only_mean_one_thing_is_converted(value: Any, said: Any) -> None:
    """Into exactly the types that any writer of JSON takes."""
    found = plain("x", value)
    assert said == found
    assert json.dumps(said) == json.dumps(found)
    for each in found if isinstance(found, list) else [*found, *found.values()] if isinstance(found, dict) else [found]:
        assert type(each) in (bool, int, float, str, list, dict, type(None))


@pytest.mark.parametrize("name", [None, True, 1.5, (1, 2), b"a"])
def test_a_name_is_a_text(name: Any) -> None:
    """Or a whole number, which logit_bias has."""
    with pytest.raises(ValueError, match=r"the name .* is not a text"):
        plain("parameters", {"x": {name: 1}})


def test_two_names_that_become_one_are_refused() -> None:
    """One of the values would be lost."""
    with pytest.raises(ValueError, match=r"parameters\['x'\] .* has the name '1' twice"):
        plain("parameters", {"x": {1: "a", "1": "b"}})


def test_what_contains_itself_is_refused() -> None:
    """It has no end."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="parameters is nested too deeply"):
        plain("parameters", endless)


@pytest.mark.parametrize(
    ("inputs", "parameters", "words"),
    [
        ("x", {"stop": {"a"}}, r"parameters\['stop'\] cannot be written as JSON: it is a set"),
        ("x", {"temperature": float("nan")}, r"parameters\['temperature'\] contains NaN"),
        (b"x", None, "inputs cannot be written as JSON: it is a bytes"),
    ],
)
def test_one_call_is_held_to_it_too(inputs: Any, parameters: Any, words: str) -> None:
    """By the client before it asks anything, and by the operator when the DAG is read."""
    with serving(echo) as server, InferenceClient(server.url, engine="vllm", model="m") as client:
        with pytest.raises(ValueError, match=words):
            client.run("chat-completion", inputs, parameters)
        with pytest.raises(ValueError, match=r"payload\['a'\] cannot be written as JSON"):
            client.call("/x", {"a": {1}})
        assert [] == server.requests
    with pytest.raises(ValueError, match=words):
        InferenceOperator(task_id="t", endpoint="e", task="chat-completion", inputs=inputs, parameters=parameters)


@pytest.mark.parametrize("task", ["chat-completion", "chat", "conversational"])
@pytest.mark.parametrize(
    "inputs", [["One", "Two"], ("One",), [{"role": "user", "content": "a"}, "b"], 5, {"text": "a"}]
)
def test_inputs_that_are_not_a_chat(task: str, inputs: Any) -> None:
    """An error when the DAG is read, or mapped, or rendered: with what a chat takes, and how several texts are sent."""
    with pytest.raises(ValueError, match=f"inputs do not fit task='{task}': .*a list of messages"):
        InferenceOperator(task_id="t", endpoint="e", task=task, inputs=inputs)
    with pytest.raises(ValueError, match=r"expand\(inputs=…\), element 0: inputs do not fit"):
        InferenceOperator.partial(task_id="t", endpoint="e", task=task).expand(inputs=[inputs])
    late = InferenceOperator(task_id="t", endpoint="e", task=task, inputs="{{ params.texts }}")
    late.inputs = inputs
    with pytest.raises(ValueError, match="inputs do not fit"):
        late._check()


@pytest.mark.parametrize(
    "inputs",
    [
        "One",
        [{"role": "user", "content": "a"}],
        ({"role": "user", "content": "a"},),
        {"messages": []},
        {"messages": ({"role": "user", "content": "a"},)},
        "{{ params.text }}",
    ],
)
def test_inputs_that_are_a_chat(inputs: Any) -> None:
    """A text, messages, and what is known only when the task runs. Other tasks take lists of texts."""
    InferenceOperator(task_id="t", endpoint="e", task="chat", inputs=inputs)._check()
    InferenceOperator(task_id="t", endpoint="e", task="embeddings", inputs=["One", "Two"])
