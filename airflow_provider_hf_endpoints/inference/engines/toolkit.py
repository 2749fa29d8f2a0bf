"""The Hugging Face inference toolkit (image key `huggingface`): `POST /` with `inputs` and `parameters`, any
pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines import openai
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE, gives_text
from airflow_provider_hf_endpoints.inference.engines.parameters import for_toolkit
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireRequest

# Pipelines whose answer is a text in a list of one object, and the name it goes by there.
_TEXT_FIELDS = {
    GENERATE: "generated_text",
    "text2text-generation": "generated_text",
    "image-to-text": "generated_text",
    "summarization": "summary_text",
    "translation": "translation_text",
}
#: Pipelines that list what they found, which may be nothing.
_MAY_FIND_NOTHING = frozenset(
    ("token-classification", "ner", "object-detection", "zero-shot-object-detection", "image-segmentation")
)


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task. Chat goes to OpenAI's route, which newer images serve for text-generation
    models."""
    if task == CHAT:
        return openai.build(task, inputs, parameters, model)
    params = for_toolkit(parameters, continues=task == GENERATE) if gives_text(task) else dict(parameters)
    body: dict[str, Any] = {"inputs": inputs}
    if params:
        body["parameters"] = params
    return WireRequest("/", body)


def read(task: str, answer: Any) -> InferenceResult:
    """The result in a 200's body: the text of a text pipeline, the pipeline's own JSON of any other.

    :raises MalformedAnswerError: the body lacks what the task needs
    """
    if task == CHAT:
        return openai.read(task, answer)
    if task == EMBED:
        return InferenceResult(_vectors(answer), raw=answer)
    field = "translation_text" if task.startswith("translation") else _TEXT_FIELDS.get(task)
    if field is None:
        if _is_empty(answer) and not (answer == [] and task in _MAY_FIND_NOTHING):
            raise MalformedAnswerError("an empty answer")
        return InferenceResult(answer, raw=answer)
    # A list of inputs comes back as a list of lists, each of one object for each text that was asked for.
    items = answer if isinstance(answer, list) else [answer]
    texts = [_text(each, field) for item in items for each in (item if isinstance(item, list) else [item])]
    if not texts:
        raise MalformedAnswerError("an empty answer")
    # It tells neither why a text ends nor how many tokens it has, so that nobody can tell whether it was cut.
    return InferenceResult(texts[0] if len(texts) == 1 else texts, truncated=None, raw=answer)


def _is_empty(answer: Any) -> bool:
    """Whether an answer says nothing, in as many brackets as it likes."""
    if isinstance(answer, list):
        return all(map(_is_empty, answer))
    return answer in (None, "", {})


def _text(item: Any, field: str) -> str:
    if not isinstance(item, Mapping) or not isinstance(item.get(field), str):
        raise MalformedAnswerError(f"no {field} in the answer")
    text: str = item[field]
    return text


def _vectors(answer: Any) -> list[Any]:
    """One vector per input. A pipeline that gives one vector per token keeps that third dimension."""
    if isinstance(answer, Mapping):
        answer = answer.get("embeddings", answer.get("embedding"))
    if not isinstance(answer, list) or not answer:
        raise MalformedAnswerError("no embeddings in the answer")
    return answer if isinstance(answer[0], list) else [answer]
