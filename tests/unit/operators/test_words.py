"""A misspelt task, framework or accelerator is refused when the DAG is parsed; an unknown one passes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines.names import ALIASES
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered
from airflow_provider_hf_endpoints.operators.checking.words import check_word
from airflow_provider_hf_endpoints.operators.endpoints import CreateInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from tests.unit.operators.test_arguments import OPERATORS, annotated, made

MISSPELT = [
    ("task", "chat-completon", "chat-completion"),
    ("task", "text-generaton", "text-generation"),
    ("task", "Text_Generatoin", "text-generation"),
    ("task", "embeddngs", "embeddings"),
    ("task", "sentence-simularity", "sentence-similarity"),
    ("framework", "PyTorch", "pytorch"),
    ("framework", "lamacpp", "llamacpp"),
    ("accelerator", "GPU", "gpu"),
    ("accelerator", "neurons", "neuron"),
]
CASES = [(kind, *each) for kind in OPERATORS for each in MISSPELT if each[0] in annotated(kind)]
_IDS = [f"{kind.__name__}-{word}" for kind, _, word, _ in CASES]


@pytest.mark.parametrize(("kind", "name", "word", "meant"), CASES, ids=_IDS)
def test_a_misspelt_word_is_refused_with_the_one_that_is_meant(kind: Any, name: str, word: str, meant: str) -> None:
    """By every operator that takes it; otherwise every request of it would fail while the endpoint bills."""
    with pytest.raises(ValueError, match=rf"{name}='{word}' is not valid\. Did you mean '{meant}'\?"):
        made(kind, **{name: word})


@pytest.mark.parametrize("kind", [kind for kind in OPERATORS if "task" in annotated(kind)])
def test_also_what_a_template_becomes_and_what_a_task_is_mapped_over(kind: Any) -> None:
    """The same check, when the value is known."""
    if "task" in kind.template_fields:
        operator = made(kind, task="{{ params.task }}")
        operator.task = "chat-completon"
        with pytest.raises(ValueError, match="Did you mean 'chat-completion'"):
            check_rendered(operator)
    given = {name: getattr(made(kind), name) for name in annotated(kind) if name in ("endpoint", "name")}
    with pytest.raises(ValueError, match=r"expand\(task=…\), element 1: .*Did you mean 'chat-completion'"):
        kind.partial(task_id="task", **given).expand(task=["chat-completion", "chat-completon"])


@pytest.mark.parametrize(
    ("name", "word"),
    [
        *(("task", each) for each in sorted(ALIASES)),
        ("task", "Chat_Completion"),
        ("task", "translation_en_to_fr"),
        ("task", "custom"),
        ("task", "score-invoices"),
        ("framework", "tensorflow"),
        ("accelerator", "inf2"),
        ("vendor", "awz"),
    ],
)
def test_any_other_word_passes(name: str, word: str) -> None:
    """Other names of tasks, a handler's own task, and what the service may know one day."""
    assert word == check_word(name, word)


def test_a_namespace_that_cannot_be_one_is_refused() -> None:
    """A blank at its end would be found when the task runs."""
    for kind in OPERATORS:
        if "namespace" in annotated(kind):
            with pytest.raises(ValueError, match=r"namespace='acme ' is not a valid user or organisation name"):
                made(kind, namespace="acme ")
    assert "{{ params.org }}" == made(CreateInferenceEndpointOperator, namespace="{{ params.org }}").namespace


OF_REQUESTS: dict[Any, dict[str, Any]] = {
    InferenceOperator: {"task": "chat", "inputs": "a"},
    BatchInferenceOperator: {"task": "chat", "input_path": "in.jsonl", "output_path": "out", "prompt": "{text}"},
}


@pytest.mark.parametrize("kind", OF_REQUESTS)
def test_a_misspelt_parameter_is_a_warning_when_the_dag_is_parsed(kind: Any) -> None:
    """The engine is not known yet. A parameter that is like no known one is of the engine alone."""
    with pytest.warns(UserWarning, match=r"parameters has 'max_token'\. Did you mean 'max_tokens'\?"):
        kind(task_id="t", endpoint="e", parameters={"max_token": 5, "my_own": 1}, **OF_REQUESTS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind(task_id="u", endpoint="e", parameters={"max_tokens": 5, "my_own": 1}, **OF_REQUESTS[kind])
