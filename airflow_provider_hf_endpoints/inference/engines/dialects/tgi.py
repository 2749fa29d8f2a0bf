"""Text Generation Inference: `/generate` and OpenAI's chat route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.dialects import openai
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, GENERATE
from airflow_provider_hf_endpoints.inference.engines.parameters import for_tgi, for_tgis_chat
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage, WireRequest


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task.

    :raises UnsupportedTaskError: TGI only generates text
    """
    if task == CHAT:
        # TGI requires the field and ignores its value.
        return openai.build(task, inputs, for_tgis_chat(parameters), model or "tgi")
    if task == GENERATE:
        return WireRequest("/generate", {"inputs": inputs, "parameters": for_tgi(parameters)})
    raise UnsupportedTaskError(f"TGI serves {CHAT} and {GENERATE}, not {task!r}")


def ask_schema(task: str, schema: dict[str, Any], engine: str | None) -> dict[str, Any]:
    """The parameters that make the engine follow a JSON schema; TGI has another name for it on each route.

    :raises UnsupportedTaskError: TGI only generates text
    """
    if task == CHAT:
        return {"response_format": {"type": "json_object", "value": schema}}
    if task == GENERATE:
        return {"grammar": {"type": "json", "value": schema}}
    return openai.ask_schema_of_chat(task, schema, engine)


def read(task: str, answer: Any) -> InferenceResult:
    """The result in a 200's body.

    :raises MalformedAnswerError: the body lacks what the task needs
    """
    if task == CHAT:
        return openai.read(task, answer)
    if isinstance(answer, list) and len(answer) > 1:
        raise MalformedAnswerError(f"{len(answer)} texts for one")
    item = answer[0] if isinstance(answer, list) and answer else answer
    item = item if isinstance(item, Mapping) else {}
    reason, usage = read_details(item)
    if not isinstance(item.get("generated_text"), str):
        raise MalformedAnswerError("the response has no generated_text", usage=usage)
    openai.refuse_given_up(reason)
    return InferenceResult(
        output=item["generated_text"],
        finish_reason=reason,
        usage=usage,
        truncated=openai.is_cut(reason),
        raw=answer,
    )


def read_details(item: Any) -> tuple[str | None, Usage]:
    """The finish reason of a text and its number of tokens, from `details`; None for each that is missing.

    Handlers of the toolkit that use TGI's form have the same.
    """
    details = item.get("details") if isinstance(item, Mapping) else None
    details = details if isinstance(details, Mapping) else {}
    prefill = details.get("prefill")
    usage = Usage(
        # Only present if decoder_input_details was requested.
        prompt_tokens=len(prefill) if isinstance(prefill, list) and prefill else None,
        completion_tokens=openai.count(details.get("generated_tokens")),
    )
    return openai.text_or_none(details.get("finish_reason")), usage
