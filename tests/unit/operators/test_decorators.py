"""`@task.hf_inference` and `@task.hf_batch` when the DAG is parsed: names, values, mapped functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, task

CALL: dict[str, Any] = {"endpoint": "demo", "task": "chat-completion"}
BATCH: dict[str, Any] = {**CALL, "prompt": "{text}", "output_path": "/out/{{ ti.map_index }}.jsonl"}


@pytest.fixture(autouse=True)
def dag() -> Iterator[Any]:
    with DAG("d", schedule=None) as made:
        yield made


def rows(word: str = "a") -> list[dict[str, str]]:
    return [{"text": word}]


def parsed(decorator: Any, given: dict[str, Any], mapped: bool) -> None:
    decorated = decorator(**given)(rows)
    decorated.expand(word=["a", "b"]) if mapped else decorated()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"promt": "{text}"}, "promt.*Did you mean 'prompt'"),
        ({"max_tokens": 3}, "parameters={'max_tokens'"),
        ({"input_path": "in.jsonl"}, "input_path is not an argument: the function returns the rows"),
        ({"shard": {}}, "shard is not an argument.*Map the function"),
        ({"max_concurrency": "many"}, "max_concurrency"),
        ({"output_path": "~/out"}, "output_path.*shell"),
        ({"max_cost": -1}, "max_cost"),
        ({"messages": [{"role": "user", "content": "{text}"}]}, "prompt"),
        ({"job_options": {"max_retries": 3}}, "max_attempts"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_argument_of_a_batch(changes: dict[str, Any], words: str, mapped: bool) -> None:
    """As for the operator, and for a mapped function too, whose operator Airflow makes only when the task runs."""
    given = {**BATCH, **changes}
    with pytest.raises((ValueError, TypeError), match=words):
        parsed(task.hf_batch, given, mapped)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": "a"}, "inputs is what the function returns"),
        ({"input": "a"}, "unknown argument 'input'"),
        ({"request_timeout": 0}, "request_timeout"),
        ({"parameters": {"stream": True}}, "stream"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_argument_of_a_call(changes: dict[str, Any], words: str, mapped: bool) -> None:
    """The same for one call."""
    given = {**CALL, **changes}
    with pytest.raises((ValueError, TypeError), match=words):
        parsed(task.hf_inference, given, mapped)


def test_an_argument_that_override_adds() -> None:
    """`override` and `partial` keep the checks."""
    decorated: Any = task.hf_inference(**CALL)(rows)
    with pytest.raises((ValueError, TypeError), match="request_timeout"):
        decorated.override(request_timeout=0).expand(word=["a"])
    with pytest.raises((ValueError, TypeError), match="promt"):
        decorated.override(promt="a").partial().expand(word=["a"])


def test_one_output_for_all_mapped_tasks() -> None:
    """An output has one writer."""
    with pytest.raises(ValueError, match=r"output_path='/out'.*map_index"):
        task.hf_batch(**{**BATCH, "output_path": "/out"})(rows).expand(word=["a", "b"])
    task.hf_batch(**BATCH)(rows).expand(word=["a", "b"])


def test_an_async_function() -> None:
    """It would return a coroutine."""

    async def ask() -> str:
        return "a"

    with pytest.raises(TypeError, match="Remove async"):
        task.hf_inference(**CALL)(ask)


def test_the_task_in_its_dag(dag: Any) -> None:
    """It has the function's name and docstring, links and colour of the operator, and a result with known keys."""

    @task.hf_inference(**CALL)  # type: ignore[untyped-decorator]
    def ask(word: str) -> dict[str, str]:
        """Ask about a word."""
        return {"word": word}

    result = ask("a")
    operator = dag.get_task("ask")
    assert ("@task.hf_inference", "Ask about a word.", False) == (
        operator.custom_operator_name,
        operator.doc_md,
        operator.multiple_outputs,
    )
    assert "output" == result["output"].key
    assert operator.multiple_outputs
    with pytest.raises(ValueError, match="has no 'text'"):
        result["text"]
    assert not {"inputs"} & set(operator.template_fields)
    ask.expand(word=["b"])
    assert "ask__1" in dag.task_ids


def test_a_bare_decorator_names_what_is_missing() -> None:
    """Without arguments there is no endpoint."""
    with pytest.raises(Exception, match="endpoint"):
        task.hf_inference(rows)()
