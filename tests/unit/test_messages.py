"""What messages advise: no argument that the object of the reader does not have."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.operators import endpoints, inference
from airflow_provider_hf_endpoints.operators.requesting.options import BOTH, FIELDS, TOLD
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.tables import SqlRows, SqlTable
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from airflow_provider_hf_endpoints.triggers.events import InferenceEndpointEventTrigger

PACKAGE = Path(__file__).resolve().parents[2] / "airflow_provider_hf_endpoints"
# `name=value` with a value that the text itself gives is advice. `name={value!r}` repeats what was given.
ADVICE = re.compile(r"\b([a-z_]+)=(?:True|False|None|'[^']+'|\"[^\"]+\"|…|\d+|\{'|\{\")")
_STARTING = (endpoints.CreateInferenceEndpointOperator, endpoints.ResumeInferenceEndpointOperator)
_CHANGING = (
    endpoints.UpdateInferenceEndpointOperator,
    endpoints.PauseInferenceEndpointOperator,
    endpoints.ScaleToZeroInferenceEndpointOperator,
    endpoints.DeleteInferenceEndpointOperator,
)
# Whose arguments the messages of a room may advise: the first room that a file is in.
READERS: dict[str, tuple[Any, ...]] = {
    "inference/shards/": (inference.PlanBatchShardsOperator, inference.MergeBatchShardsOperator),
    "inference/": (inference.BatchInferenceOperator, BatchJob),
    "operators/requesting/shards": (inference.PlanBatchShardsOperator, inference.MergeBatchShardsOperator),
    "operators/requesting/call": (inference.InferenceOperator,),
    "operators/requesting/served": _STARTING,
    "operators/requesting/rows": (inference.BatchInferenceOperator, SqlRows, SqlTable),
    "operators/requesting/": (inference.BatchInferenceOperator,),
    "decorators/": (inference.BatchInferenceOperator,),
    "tables/": (SqlRows, SqlTable),
    "operators/starting/": _STARTING,
    "operators/changing/": _CHANGING,
    "operators/sweep": (SweepInferenceEndpointsOperator,),
    "operators/common/": (*_STARTING, *_CHANGING),
    "task_groups/_serving": _STARTING,
    "task_groups/endpoints": (inference_endpoint,),
    "sensors/": (InferenceEndpointSensor,),
    "triggers/events": (InferenceEndpointEventTrigger,),
    "endpoints/waiting/": (InferenceEndpointSensor,),
    "endpoints/": (*_STARTING, EndpointsClient.__init__),
}
# Advice to set an argument of Airflow's own, and what a text says of an operator that it names.
OF_AIRFLOW = {"max_active_runs", "trigger_rule"}
OF_ANOTHER = re.compile(r"\((\w+Operator): [^)]*\)")


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every text but docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


def advice() -> Iterator[Any]:
    """Each file with the arguments that its texts advise."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith("emulator/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name for text in texts(tree) for name in ADVICE.findall(OF_ANOTHER.sub("", str(text.value)))}
        if names:
            yield pytest.param(place, names, id=place)


def parameters(kind: Any) -> set[str]:
    """What may be given to the object, those of its base classes too."""
    kinds = kind.__mro__ if isinstance(kind, type) else [kind]
    return {name for each in kinds for name in inspect.signature(each).parameters}


def named_advice() -> Iterator[tuple[str, set[str]]]:
    """Operators that a text names, with the arguments of theirs that it advises."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for found in OF_ANOTHER.finditer(str(text.value)):
                yield found[1], set(re.findall(r"\b([a-z_]+)=", found[0]))


def test_an_operator_that_is_named_has_the_arguments() -> None:
    """Advice of the form `(UpdateInferenceEndpointOperator: min_replica=0)`."""
    found = list(named_advice())
    assert found
    for kind, names in found:
        by_name = set(EndpointUpdate.model_fields) if kind.startswith("Update") else set()
        assert set() == names - parameters(getattr(endpoints, kind).__init__) - by_name, kind


@pytest.mark.parametrize(("place", "names"), advice())
def test_a_message_advises_arguments_that_there_are(place: str, names: set[str]) -> None:
    """Of one of the objects whose users meet the messages of that room."""
    readers = next((kinds for room, kinds in READERS.items() if place.startswith(room)), ())
    known = set.union(set(), *map(parameters, readers))
    assert set() == names - known - OF_AIRFLOW


def test_what_a_batch_advises_can_be_given_to_its_operator() -> None:
    """A message of the batch reaches users of the operator, too: each name is an argument or an option of it."""
    advised = {name for each in advice() if each.values[0].startswith("inference/") for name in each.values[1]}
    taken = parameters(inference.BatchInferenceOperator) | (set(FIELDS) - set(TOLD)) | set(BOTH)
    of_shards = parameters(inference.PlanBatchShardsOperator) | parameters(inference.MergeBatchShardsOperator)
    assert set() == advised - taken - of_shards
