"""`transformers serve`: OpenAI's routes for chats and texts, with fewer features.

Seen with transformers 5.23: it ignores what it does not support, for example `n`, `logprobs`, `response_format` and
penalties (`asking/ignored.py` lists them). A text that ends at a stop contains the stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.dialects import openai
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, GENERATE
from airflow_provider_hf_endpoints.inference.errors import UnsuitableInputsError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.wire import WireRequest


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task.

    :raises UnsupportedTaskError: the engine has no route for the task, or takes only one text per call
    """
    if task not in (CHAT, GENERATE):
        raise UnsupportedTaskError(f"transformers serve supports {CHAT} and {GENERATE}, not {task!r}")
    if task == GENERATE and not isinstance(inputs, str):
        raise UnsuitableInputsError(
            f"transformers serve takes one text per request, not a {type(inputs).__name__}. {openai.FOR_SEVERAL_TEXTS}"
        )
    return openai.build(task, inputs, parameters, model)


def ask_schema(task: str, schema: dict[str, Any], engine: str | None) -> dict[str, Any]:
    """Always raises: no parameter makes this engine follow a schema.

    :raises UnsupportedTaskError: always
    """
    del task, schema, engine
    raise UnsupportedTaskError(
        "transformers serve ignores schemas, so answers that do not match response_schema would still be paid for. "
        "Ask for JSON in the prompt, or serve the model with vLLM"
    )
