"""Text Embeddings Inference: embeddings, classification, reranking, similarity.

TEI can truncate a long text silently (`auto_truncate`). Requests here disable it, so that a text that does not fit
is an error. With `truncate=True` the text is truncated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.dialects.openai import as_query
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED, RERANK, SIMILARITY
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireRequest


def build(task: str, inputs: Any, parameters: Mapping[str, Any], model: str | None) -> WireRequest:
    """The request for a task; `model` is ignored, because a TEI server has one model.

    :raises UnsupportedTaskError: TEI does not generate text
    """
    del model
    params = {"truncate": False, **parameters}
    match task:
        case t if t == EMBED:
            return WireRequest("/embed", {"inputs": inputs, **params})
        case t if t == CLASSIFY:
            return WireRequest("/predict", {"inputs": inputs, **params})
        case t if t == RERANK:
            query, texts = as_query(inputs)
            return WireRequest("/rerank", {"query": query, "texts": texts, **params})
        case t if t == SIMILARITY:
            source, sentences = as_query(inputs)
            body = {"inputs": {"source_sentence": source, "sentences": sentences}, "parameters": params}
            return WireRequest("/similarity", body)
        case _:
            raise UnsupportedTaskError(f"TEI serves {EMBED}, {CLASSIFY}, {RERANK} and {SIMILARITY}, not {task!r}")


def read(task: str, answer: Any) -> InferenceResult:
    """The result in a 200's body.

    :raises MalformedAnswerError: the body lacks what the task needs
    """
    if not isinstance(answer, list) or not answer:
        raise MalformedAnswerError(f"expected a list, not {str(answer)[:100]}")
    if task == EMBED and not (isinstance(answer[0], list) and answer[0]):
        raise MalformedAnswerError("expected one vector per input")
    return InferenceResult(answer, raw=answer)
