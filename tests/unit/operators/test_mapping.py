"""What a task is mapped over is refused when the DAG is parsed, if the same argument of a single task is.

The cases are made from the operators' arguments, so a new argument is tested too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import DAG, BaseOperator

from airflow_provider_hf_endpoints.operators.checking import mapping
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from tests.contract.operators_play import MODEL
from tests.unit.operators.test_arguments import NEEDED, OPERATORS, annotated, made

ODD: list[Any] = [5, -1, 1.5, "no such word", [1], [[1]], {"no": "such setting"}, True, None, b"x", ["a b"]]
# Refused in any case: secrets (see `test_dags.py`), and by Airflow what the scheduler must know.
APART = ("secrets", "container_registry_password", "retries", "retry_delay")
CALL: dict[str, Any] = {"task_id": "task", "endpoint": "demo", "task": "chat-completion"}


@pytest.fixture(autouse=True)
def dag() -> Iterator[DAG]:
    with DAG("dag", schedule=None) as dag, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Airflow's, of tasks that are never mapped
        yield dag


def refusal(make: Any) -> str | None:
    """What it is refused with."""
    try:
        make()
    except (ValueError, TypeError, AirflowException) as error:
        return str(error)
    return None


def needed(kind: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in {**NEEDED, **MODEL}.items() if name in annotated(kind)}


CASES = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind in OPERATORS
    if "partial" in {name for cls in kind.__mro__[:-1] if cls is not BaseOperator for name in vars(cls)}
    for name in annotated(kind)
    if name not in (*APART, "kwargs")
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_literal_is_refused_as_in_a_single_task(kind: type[Any], name: str) -> None:
    """In `expand` and in `expand_kwargs`, with the place at which it stands."""
    fixed = {key: value for key, value in needed(kind).items() if key != name}
    for number, value in enumerate(ODD):
        single = refusal(lambda value=value, number=number: made(kind, task_id=f"s{number}", **{name: value}))
        partial = {"task_id": f"m{number}", **fixed}
        mapped = refusal(lambda value=value, partial=partial: kind.partial(**partial).expand(**{name: [value]}))
        partial = {"task_id": f"k{number}", **fixed}
        by_kwargs = refusal(lambda value=value, partial=partial: kind.partial(**partial).expand_kwargs([{name: value}]))
        assert (single is None, single is None) == (mapped is None, by_kwargs is None), (value, single, mapped)
        if single is not None:
            assert f"expand({name}=…), element 0: " in str(mapped)
            assert "expand_kwargs(…), element 0: " in str(by_kwargs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: PauseInferenceEndpointOperator.partial(task_id="t").expand(endpoint=["a", 2]),
            "element 1: endpoint=2",
        ),
        (
            lambda: InferenceEndpointSensor.partial(task_id="t", endpoint="a").expand(
                target_states=["running", "runing"]
            ),
            "element 1: target_states='runing' .* Did you mean 'running'",
        ),
        (
            lambda: InferenceOperator.partial(**CALL).expand_kwargs([{"inputs": "a"}, {"inptus": "b"}]),
            "element 1: unknown argument 'inptus'. Did you mean 'inputs'",
        ),
        (lambda: InferenceOperator.partial(**CALL).expand_kwargs([{"inputs": "a"}, {}]), "element 1: .*'inputs'"),
        (
            lambda: InferenceOperator.partial(**CALL).expand_kwargs([{"inputs": "a", "task": "rerank"}]),
            "element 0: .*already specified.*task",
        ),
        (
            lambda: CreateInferenceEndpointOperator.partial(task_id="t", name="a", **MODEL).expand(
                min_replica=[0, 3], max_replica=[1, 2]
            ),
            r"expand\(min_replica=…\), element 1: ",
        ),
        (
            lambda: UpdateInferenceEndpointOperator.partial(task_id="t", endpoint="a").expand(
                changes=[{"max_replica": 2}, {"max_replicas": 2}]
            ),
            "element 1: Unknown argument 'max_replicas'. Did you mean 'max_replica'",
        ),
        (
            lambda: BatchInferenceOperator.partial(**CALL, input_path="i", output_path="o").expand(prompt=["{a}", "b"]),
            "element 1: ",
        ),
    ],
)
def test_the_place_of_a_literal(make: Any, words: str) -> None:
    """The argument, the element and what it should be."""
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_what_another_task_returns_is_known_later(dag: DAG) -> None:
    """Alone, and among literals."""
    first: Any = BaseOperator(task_id="first").output
    PauseInferenceEndpointOperator.partial(task_id="a").expand(endpoint=first)
    PauseInferenceEndpointOperator.partial(task_id="b").expand(endpoint=["x", first])
    PauseInferenceEndpointOperator.partial(task_id="c", endpoint="x").expand(timeout=first)
    PauseInferenceEndpointOperator.partial(task_id="d").expand_kwargs([first, {"endpoint": "x"}])
    PauseInferenceEndpointOperator.partial(task_id="e").expand_kwargs(first)
    assert {"first", "a", "b", "c", "d", "e"} == set(dag.task_ids)
    with pytest.raises(ValueError, match="element 1: endpoint=5"):
        PauseInferenceEndpointOperator.partial(task_id="f").expand(endpoint=[first, 5])


def test_what_another_task_has_returned_and_is_not_valid_is_final() -> None:
    """Airflow makes the operator when the task runs; the same value comes with each retry."""
    first: Any = BaseOperator(task_id="first").output
    mapped = PauseInferenceEndpointOperator.partial(task_id="pause").expand(endpoint=first)
    for value in (5, ["a"], "No_name"):
        with pytest.raises(AirflowFailException, match=r"endpoint(=| is a list)|name="):
            mapped.unmap({"endpoint": value})
    sensor = InferenceEndpointSensor.partial(task_id="sensor", endpoint="a").expand(target_states=first)
    with pytest.raises(AirflowFailException, match="Did you mean 'running'"):
        sensor.unmap({"target_states": ["runing"]})


def test_many_literals_cost_little(dag: DAG, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many tasks are made, and no more; the values behind are held to their annotations."""
    made: list[Any] = []
    monkeypatch.setattr(mapping, "_try", lambda *given: made.append(given))
    InferenceOperator.partial(**CALL).expand(inputs=[f"row {n}" for n in range(3000)])
    assert mapping._MOST == len(made)
    with pytest.raises(ValueError, match="element 2999: endpoint=7"):
        PauseInferenceEndpointOperator.partial(task_id="p").expand(endpoint=["a"] * 2999 + [7])


def test_the_tasks_that_are_made_to_be_checked_are_not_in_the_dag(dag: DAG) -> None:
    """Nor are they before or after another one."""
    start = PauseInferenceEndpointOperator(task_id="first", endpoint="a")
    mapped = InferenceOperator.partial(**{**CALL, "endpoint": start.output}).expand(inputs=["a", "b"])
    assert {"first", "task"} == set(dag.task_ids)
    assert ({"task"}, set()) == (start.downstream_task_ids, mapped.downstream_task_ids)


def test_a_dry_run_is_asked_for_in_so_many_words() -> None:
    """Any other word would be a dry run, which the DAG's author may not have meant."""
    with pytest.raises(ValueError, match=r"only_report='Flase' is not valid\. Give True or False"):
        SweepInferenceEndpointsOperator(task_id="sweep", only_report="Flase")
    words: tuple[bool | str, ...] = (True, False, "false", "No", "{{ params.dry }}")
    for number, word in enumerate(words):
        sweep = SweepInferenceEndpointsOperator(task_id=f"sweep{number}", only_report=word)
        assert word == sweep.only_report


def test_one_output_for_several_mapped_tasks() -> None:
    """The second task would find the output of another job. A warning says how each task gets its own output."""
    batch: dict[str, Any] = {**CALL, "prompt": "{text}"}
    inputs = ["a.jsonl", "b.jsonl"]
    with pytest.warns(UserWarning, match=r"output_path='out.jsonl' is the same for all 2 mapped tasks.*ti.map_index"):
        BatchInferenceOperator.partial(**batch, output_path="out.jsonl").expand(input_path=inputs)
    warnings.filterwarnings("error", message="output_path=")
    for number, (output, mapped) in enumerate(
        [
            ("out-{{ ti.map_index }}.jsonl", {"input_path": inputs}),
            ("out.jsonl", {"input_path": ["a.jsonl"]}),
            (None, {"input_path": inputs, "output_path": ["out"]}),
        ]
    ):
        given = {} if output is None else {"output_path": output}
        BatchInferenceOperator.partial(**{**batch, "task_id": f"task{number}"}, **given).expand(**mapped)
