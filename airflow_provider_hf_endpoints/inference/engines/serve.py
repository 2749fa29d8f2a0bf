"""`transformers serve`: OpenAI's routes for chats and texts, with less behind them.

Seen with transformers 5.23: what it does not do it ignores, `n`, `logprobs`, `response_format` and penalties among them
(`refusals.py` names them), and a text that a stop ends has the stop in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines import openai
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, GENERATE
from airflow_provider_hf_endpoints.inference.errors import UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.wire import WireRequest


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task.

    :raises UnsupportedTaskError: it has no route for the task, or takes one text for each call
    """
    if task not in (CHAT, GENERATE):
        raise UnsupportedTaskError(f"transformers serve supports {CHAT} and {GENERATE}, not {task!r}")
    if task == GENERATE and not isinstance(inputs, str):
        raise UnsupportedTaskError(f"transformers serve takes one text per request, not {type(inputs).__name__}")
    return openai.build(task, inputs, parameters, model)


def ask_schema(task: str, schema: dict[str, Any], engine: str | None) -> dict[str, Any]:
    """Nothing makes it keep to a schema.

    :raises UnsupportedTaskError: always
    """
    del task, schema, engine
    raise UnsupportedTaskError(
        "transformers serve ignores schemas, so answers that do not match response_schema would still be paid for. "
        "Ask for JSON in the prompt, or serve the model with vLLM"
    )
