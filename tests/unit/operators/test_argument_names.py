"""Every misspelt argument of an operator, a sensor or a group is refused with its right name.

The cases are made from the signatures, so a new argument is tested too.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_hf_endpoints.operators.endpoints import UpdateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.contract.operators_play import MODEL
from tests.unit.operators.test_arguments import NEEDED, OPERATORS, annotated

CASES = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind in OPERATORS
    for name in annotated(kind)
    if name != "kwargs"
]
BATCH: dict[str, Any] = {
    "task_id": "batch",
    **{name: NEEDED[name] for name in ("endpoint", "task", "prompt", "input_path", "output_path")},
}


def misspelt(name: str) -> str:
    """With its last two letters exchanged, or the last one twice where they are the same."""
    return f"{name[:-2]}{name[-1]}{name[-2]}" if name[-1] != name[-2] else f"{name}{name[-1]}"


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_misspelt_argument_is_answered_with_the_right_one(kind: type[Any], name: str) -> None:
    """A needed argument too, which is then missing: the misspelt one is what the reader has to see. Mapped or not."""
    needed = {**NEEDED, **MODEL}
    given = {each: needed[each] for each in annotated(kind) if each in needed and each != name}
    wrong = {misspelt(name): needed.get(name, 1)}
    expected = rf"unknown argument '{misspelt(name)}'\. Did you mean '{name}'\?"
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(task_id='task'\): {expected}"):
        kind(task_id="task", **given, **wrong)
    with pytest.raises(TypeError, match=rf"{kind.__name__}\.partial\(task_id='task'\): {expected}"):
        kind.partial(task_id="task", **given, **wrong)
    with DAG("dag", schedule=None):
        partial = kind.partial(task_id="task")
        with pytest.raises(TypeError, match=rf"{kind.__name__}\.expand\(…\): {expected}"):
            partial.expand(**{each: [value] for each, value in wrong.items()})
        with pytest.raises(TypeError, match=rf"{kind.__name__}\.expand_kwargs\(…\), element 0: {expected}"):
            partial.expand_kwargs([wrong])
        partial._expand_called = True  # Airflow warns of a task that was never mapped


@pytest.mark.parametrize("name", [*list(inspect.signature(inference_endpoint).parameters)[:-1], "if_exists", "retries"])
def test_a_misspelt_argument_of_a_group_is_answered_with_the_right_one(name: str) -> None:
    """Those of the start too, and of every task."""
    given: dict[str, Any] = {**({} if name == "name" else {"name": "demo"}), misspelt(name): 1}
    with pytest.raises(TypeError, match=rf"inference_endpoint\(…\): .* '{misspelt(name)}'\. Did you mean '{name}'\?"):
        inference_endpoint(**given)


def test_an_argument_that_belongs_into_a_mapping_is_answered_with_the_mapping() -> None:
    """An option of a job, also misspelt; and a setting where an update is mapped."""
    with pytest.raises(TypeError, match=r"Give it in job_options=\{'max_attempts': …\}"):
        BatchInferenceOperator(**BATCH, max_attempts=3)
    with pytest.raises(TypeError, match="Did you mean 'max_attempts', in job_options"):
        BatchInferenceOperator(**BATCH, max_atempts=3)
    with pytest.raises(TypeError, match=r"Give it in changes=\{'instance_size': …\}"):
        UpdateInferenceEndpointOperator.partial(task_id="update", instance_size="x1")


def test_a_part_of_a_name_is_answered_with_the_name_and_nothing_near_with_advice() -> None:
    """Every unknown name is named."""
    with pytest.raises(TypeError) as caught:
        BatchInferenceOperator(**BATCH, conn_id="x", zzz=1)
    expected = (
        "BatchInferenceOperator(task_id='batch'): unknown argument 'conn_id'. Did you mean 'hf_endpoints_conn_id'? "
        "Unknown argument 'zzz'. Check its spelling, or leave it out."
    )
    assert expected == str(caught.value)


class Derived(BatchInferenceOperator):
    """A subclass as users write it: it has an argument that is in no signature."""

    def __init__(self, **kwargs: Any) -> None:
        self.own = kwargs.pop("own", None)
        super().__init__(**kwargs)


def test_a_subclass_takes_what_it_likes_from_its_keywords() -> None:
    """What it passes on is checked; and a copy, which Airflow makes of a task, is made without arguments."""
    assert "mine" == copy.deepcopy(Derived(**BATCH, own="mine")).own
    with pytest.raises(
        TypeError, match=r"Derived\(task_id='batch'\): unknown argument 'promt'\. Did you mean 'prompt'"
    ):
        Derived(**{name: value for name, value in BATCH.items() if name != "prompt"}, promt="{text}", own="mine")


def test_the_signature_stays_that_of_the_class() -> None:
    """For editors, and for Airflow, which reads it for `default_args`."""
    assert "prompt" in inspect.signature(BatchInferenceOperator).parameters
    with DAG("dag", schedule=None, default_args={"model": "m"}):
        assert "m" == BatchInferenceOperator(**BATCH).model
