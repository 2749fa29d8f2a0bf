"""common-ai with a real model: llama.cpp behind an endpoint of the emulator. `make test-ai`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.common_ai.test_llm import CONN, asked, connect
from tests.contract.emulator.test_emulator_llamacpp import MISSING
from tests.contract.operators_play import VLLM, connected, context_of_a_task_in, create, run

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with connected(monkeypatch, engine="llamacpp") as running:
        run(create(custom_image=VLLM, timeout=600))
        connect(monkeypatch, endpoint="demo", startup_timeout=600)
        yield running


def test_a_question(emulator: Emulator) -> None:
    """The model's own words, and not those of the echo engine."""
    answer = asked(lambda: "What is the capital of France?", task_id="ask")
    print(f"the model's answer: {answer}")
    assert len(answer) > 3
    assert "capital of France?" not in answer


def test_an_agent_with_a_tool(emulator: Emulator) -> None:
    """The tool's schema is taken by the engine. A model of this size need not call the tool."""
    from pydantic_ai.toolsets import FunctionToolset

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"It rains in {city}."

    with DAG("d", schedule=None):
        decorated: Any = task.agent(
            llm_conn_id=CONN, system_prompt="Be brief.", toolsets=[FunctionToolset([weather])], task_id="ask"
        )(lambda: "What is the weather in Lyon?")
        operator = decorated().operator
    context = context_of_a_task_in({})
    context["ti"].try_number = 1
    answer = operator.execute({**context, "task_instance": context["ti"]})
    print(f"the agent's answer: {answer}")
    assert answer
