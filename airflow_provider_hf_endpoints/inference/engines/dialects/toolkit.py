"""The Hugging Face inference toolkit (image key `huggingface`): `POST /` with `inputs` and `parameters`, any
pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.dialects import openai, shapes
from airflow_provider_hf_endpoints.inference.engines.dialects.tgi import read_details
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE, gives_text
from airflow_provider_hf_endpoints.inference.engines.parameters import for_toolkit
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage, WireRequest

# Pipelines whose answer is a text in a list of one object, and the name of the text there.
_TEXT_FIELDS = {
    CHAT: "generated_text",
    GENERATE: "generated_text",
    "text2text-generation": "generated_text",
    "image-to-text": "generated_text",
    "summarization": "summary_text",
    "translation": "translation_text",
}
#: Pipelines that list what they find. The list may be empty.
_MAY_FIND_NOTHING = frozenset(("token-classification", "ner", "zero-shot-object-detection"))


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task.

    The toolkit has no route for chats. Its text-generation pipeline takes messages as `inputs`, and applies the
    model's chat template.
    """
    del model  # a container serves one model
    continues = task in (CHAT, GENERATE)
    params = for_toolkit(parameters, continues=continues) if gives_text(task) else dict(parameters)
    body: dict[str, Any] = {"inputs": openai.as_messages(inputs) if task == CHAT else inputs}
    if params:
        body["parameters"] = params
    return WireRequest("/", body)


def ask_schema(task: str, schema: dict[str, Any], engine: str | None) -> dict[str, Any]:
    """Always raises: no parameter makes a pipeline follow a schema.

    :raises UnsupportedTaskError: always
    """
    del task, schema, engine
    raise UnsupportedTaskError(
        "the pipelines of the toolkit ignore schemas, so answers that do not match response_schema would still be paid "
        "for. Ask for JSON in the prompt, or serve the model with vLLM or TGI"
    )


def read(task: str, answer: Any) -> InferenceResult:
    """The result in a 200's body: the text of a text pipeline, the pipeline's own JSON of any other.

    :raises MalformedAnswerError: the body lacks what the task needs
    """
    if task == CHAT and isinstance(answer, Mapping) and "choices" in answer:
        return openai.read(task, answer)  # a custom handler that uses OpenAI's form
    if task == EMBED:
        return InferenceResult(_vectors(answer), raw=answer)
    if task in shapes.OF_TASK:
        return InferenceResult(shapes.OF_TASK[task](answer), raw=answer)
    field = "translation_text" if task.startswith("translation") else _TEXT_FIELDS.get(task)
    if field is None:
        if _is_empty(answer) and not (answer == [] and task in _MAY_FIND_NOTHING):
            raise MalformedAnswerError("an empty response")
        return InferenceResult(answer, raw=answer)
    # The answer to a list of inputs is a list of lists, with one object for each requested text.
    items = answer if isinstance(answer, list) else [answer]
    texts = [each for item in items for each in (item if isinstance(item, list) else [item])]
    if not texts:
        raise MalformedAnswerError("an empty response")
    return _read_texts(texts, field, answer)


def _read_texts(texts: list[Any], field: str, answer: Any) -> InferenceResult:
    """The pipelines report neither the finish reason nor the number of tokens. Some handlers do."""
    told = [read_details(each) for each in texts]
    reasons = [reason for reason, _ in told]
    made = [usage.completion_tokens for _, usage in told]
    usage = Usage(completion_tokens=sum(filter(None, made))) if None not in made else openai.read_usage(answer)
    outputs = [_text(each, field) for each in texts]
    for reason in reasons:
        openai.refuse_given_up(reason)
    return InferenceResult(
        outputs[0] if len(outputs) == 1 else outputs,
        openai.reason_of(reasons),
        usage,
        truncated=openai.is_truncated(reasons),
        raw=answer,
    )


def _is_empty(answer: Any) -> bool:
    """Whether an answer is empty, however deeply nested."""
    if isinstance(answer, list):
        return all(map(_is_empty, answer))
    return answer in (None, "", {})


def _text(item: Any, field: str) -> str:
    match item.get(field) if isinstance(item, Mapping) else None:
        case str(text):
            return text
        case [*_, {"role": "assistant", "content": str(text)}]:  # a chat that is returned whole
            return text
        case _:
            raise MalformedAnswerError(f"the response has no {field}")


def _vectors(answer: Any) -> list[Any]:
    """One vector per input. A pipeline that gives one vector per token keeps this third dimension."""
    if isinstance(answer, Mapping):
        answer = answer.get("embeddings", answer.get("embedding"))
    if not isinstance(answer, list) or not answer:
        raise MalformedAnswerError("the response has no embeddings")
    return answer if isinstance(answer[0], list) else [answer]
