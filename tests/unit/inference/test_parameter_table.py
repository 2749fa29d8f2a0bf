"""The tables of parameters in `docs/reference/engines.md` say what the code does: each cell is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.engines import Dialect, build_request, traits
from airflow_provider_hf_endpoints.inference.errors import UnsupportedParameterError, UnsupportedTaskError

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "engines.md"
COLUMNS: dict[str, tuple[Dialect, str | None]] = {
    "vLLM": (Dialect.OPENAI, "vllm"),
    "SGLang": (Dialect.OPENAI, "sglang"),
    "llama.cpp": (Dialect.OPENAI, "llamacpp"),
    "TGI": (Dialect.TGI, None),
    "transformers serve": (Dialect.SERVE, "hfserve"),
    "toolkit": (Dialect.TOOLKIT, None),
}
SCHEMA = {"type": "object"}
#: Each parameter with a value that asks for something.
VALUES: dict[str, dict[str, Any]] = {
    "max_tokens": {"max_tokens": 5},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "min_tokens": {"min_tokens": 2},
    "stop": {"stop": ["a", "b"]},
    "n": {"n": 2},
    "n at temperature 0": {"n": 2, "temperature": 0},
    "temperature": {"temperature": 0.5},
    "temperature of 0": {"temperature": 0},
    "top_p": {"top_p": 0.5},
    "top_k": {"top_k": 3},
    "seed": {"seed": 3},
    "logprobs": {"logprobs": True},
    "logprobs of 2": {"logprobs": 2},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "logit_bias": {"logit_bias": {"5": 1}},
    "return_full_text": {"return_full_text": True},
    "stop with return_full_text": {"stop": ["a"], "return_full_text": True},
    "truncate": {"truncate": 5},
    "response_format": {"response_format": {"type": "json_object"}},
    "tools": {"tools": [{}]},
    "response_schema": {},
}


def tables() -> dict[str, list[list[str]]]:
    """By task, the rows of its table on the page, the head first."""
    found: dict[str, list[list[str]]] = {}
    for task, text in re.findall(r"^### `([a-z-]+)`\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.M | re.S):
        lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
        found[task] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return found


def fields(body: dict[str, Any]) -> dict[str, Any]:
    """What a body asks for beside its inputs: its own fields, or those of its `parameters`, `sampling_params` …"""
    inside = [value for name, value in body.items() if name.endswith(("parameters", "params"))]
    return dict(inside[0] if inside else body)


def cell(dialect: Dialect, engine: str | None, task: str, parameter: str) -> str:
    """What becomes of a parameter, in the page's words."""
    given, schema = VALUES[parameter], parameter == "response_schema"
    try:
        if schema:
            given = traits(dialect).ask_schema(task, SCHEMA, engine)
        request = build_request(dialect, task, "hi", given, "m", engine)
    except (UnsupportedParameterError, UnsupportedTaskError):
        return "refused"
    plain = fields(build_request(dialect, task, "hi", {}, "m", engine).json)
    sent = {name: value for name, value in fields(request.json).items() if plain.get(name) != value}
    words = [f"`{name}`" for name in sent]
    if request.asked is not None and request.asked.cut_at:
        words.append("cut here")
    return ", ".join(words)


CELLS = [
    (task, column, row[0], row[place + 1])
    for task, rows in tables().items()
    for row in rows[1:]
    for place, column in enumerate(rows[0][1:])
]


def test_every_parameter_is_in_each_table() -> None:
    """A task's table has a row for each parameter that is asked about here, in this order."""
    assert set(tables()) == {"chat-completion", "text-generation"}
    for rows in tables().values():
        assert list(VALUES) == [row[0].replace("`", "") for row in rows[1:]]


@pytest.mark.parametrize(("task", "column", "parameter", "said"), CELLS)
def test_the_page_says_what_becomes_of_a_parameter(task: str, column: str, parameter: str, said: str) -> None:
    """Under which name it is sent, whether this provider sees to it, or that it is refused."""
    dialect, engine = COLUMNS[column]
    assert cell(dialect, engine, task, parameter.replace("`", "")) == said


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("task", ["feature-extraction", "text-classification", "rerank", "sentence-similarity"])
@pytest.mark.parametrize("parameter", [name for name in VALUES if name not in ("response_schema", "tools", "seed")])
def test_what_only_texts_have_is_refused_for_other_tasks(dialect: Dialect, task: str, parameter: str) -> None:
    """An engine that embeds or classifies would ignore a stop, which no user wants."""
    texts = ("n", "stop", "logprobs", "return_full_text", "response_format")
    if not parameter.startswith(texts):
        return
    inputs = {"query": "q", "texts": ["a"]} if task in ("rerank", "sentence-similarity") else "hi"
    with pytest.raises((UnsupportedParameterError, UnsupportedTaskError)):
        build_request(dialect, task, inputs, VALUES[parameter])


@pytest.mark.parametrize("value", [{"n": 1}, {"logprobs": False}, {"presence_penalty": 0}, {"logit_bias": {}}])
@pytest.mark.parametrize("dialect", [Dialect.SERVE, Dialect.TOOLKIT, Dialect.TGI])
def test_a_parameter_that_asks_for_nothing_is_refused_nowhere(dialect: Dialect, value: dict[str, Any]) -> None:
    """Templates give every parameter a value; the usual one is as good as none, and is not sent."""
    body = fields(build_request(dialect, "text-generation", "hi", value).json)
    assert not set(value) & set(body)


def test_the_error_says_which_parameter_and_why() -> None:
    """Parameter, task, engine, reason, and what to do."""
    with pytest.raises(
        UnsupportedParameterError,
        match=r"`n` for 'chat-completion' on transformers-serve: the engine ignores it.*Leave",
    ):
        build_request(Dialect.SERVE, "chat", "hi", {"n": 2}, engine="hfserve")
