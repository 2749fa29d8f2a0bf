"""What a created endpoint serves is taken from the work inside its group; a DAG that can't work is warned of."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

MODEL: dict[str, Any] = {"repository": "gpt2", "hardware": "aws/us-east-1/intel-icl/x2"}
FILES: dict[str, Any] = {"input_path": "in.jsonl", "output_path": "out.jsonl", "prompt": "{text}"}
VLLM = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0"}}


def start_of(*tasks: str, **given: Any) -> Any:
    """The start of a group whose work asks for these tasks."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **{**MODEL, **given}) as endpoint:
        for number, each in enumerate(tasks):
            BatchInferenceOperator(task_id=f"work-{number}", endpoint=endpoint, task=each, **FILES)
    return dag.get_task("demo.start")


@pytest.fixture(autouse=True)
def strict() -> Any:
    """A warning that a test does not expect is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.mark.parametrize("tasks", [("feature-extraction",), ("embeddings", "feature-extraction")])
def test_the_task_of_the_work_is_what_the_endpoint_is_created_for(tasks: tuple[str, ...]) -> None:
    """By any of the task's names."""
    assert "feature-extraction" == start_of(*tasks).task_of_work


def test_mapped_work_tells_its_task() -> None:
    """What `partial` was given."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        InferenceOperator.partial(task_id="ask", endpoint=endpoint, task="text-generation").expand(inputs=["a"])
    start: Any = dag.get_task("demo.start")
    assert "text-generation" == start.task_of_work


@pytest.mark.parametrize(
    "given", [{"task": "text-generation"}, {"custom_image": VLLM}, {"repository": None, "hardware": None}]
)
def test_who_says_what_is_served_is_believed(given: dict[str, Any]) -> None:
    """A task, an engine, or an endpoint that exists."""
    assert getattr(start_of("chat-completion", **given), "task_of_work", None) is None


def test_a_template_is_known_later() -> None:
    """There is nothing to say of it when the DAG is read."""
    assert start_of("{{ params.task }}").task_of_work is None


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (("chat-completion",), "does not serve chats.*demo.work-0.*custom_image="),
        (("chat", "text-generation"), "does not serve chats"),
        (("text-generation", "feature-extraction"), "use several tasks"),
    ],
)
def test_work_that_would_not_be_served_is_warned_of(tasks: tuple[str, ...], words: str) -> None:
    """While the endpoint bills, every request would be answered with 404."""
    with pytest.warns(UserWarning, match=words):
        assert start_of(*tasks).task_of_work is None


def test_work_that_does_not_tell_is_warned_of() -> None:
    """A Python function may ask for anything."""

    @task
    def work(endpoint: Any) -> None:
        """Whatever."""

    def read() -> None:
        with DAG("dag", schedule=None), inference_endpoint("demo", **MODEL) as endpoint:
            work(endpoint)

    with pytest.warns(UserWarning, match="no operator in the group names the task"):
        read()
