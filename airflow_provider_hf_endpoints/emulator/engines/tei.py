"""TEI's routes on the echo engine: embeddings, reranking, classification, similarity. Pure."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.emulator.engines import dialects, words
from airflow_provider_hf_endpoints.emulator.engines.base import Call, Reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.openai import BadRequest

MAX_PAYLOAD = 2_000_000  # bytes
MAX_INPUT = 512  # tokens; longer texts are truncated silently


def info(call: Call) -> Reply:
    """`GET /info`."""
    model = call.endpoint.spec["model"]
    return json_reply(
        {
            "model_id": model["repository"],
            "model_sha": model.get("revision"),
            "model_dtype": "float32",
            "model_type": {"embedding": {"pooling": "mean"}},
            "max_concurrent_requests": dialects.refuse_over(call.endpoint) or 512,
            "max_input_length": MAX_INPUT,
            "max_batch_tokens": 16384,
            "max_client_batch_size": dialects.max_batch(call.endpoint),
            "auto_truncate": True,
            "version": "1.8.2",
        }
    )


def route(call: Call, body: dict[str, Any]) -> Reply:
    """`/embed`, `/rerank`, `/predict`, `/similarity`; `/` is the route of the endpoint's task."""
    if len(call.body) > MAX_PAYLOAD:
        raise BadRequest("payload too large", 413)
    path = call.path
    if path == "/":
        path = {
            "text-ranking": "/rerank",
            "sentence-ranking": "/rerank",
            "text-classification": "/predict",
            "sentence-similarity": "/similarity",
        }.get(call.endpoint.spec["model"].get("task", ""), "/embed")
    match path:
        case "/embed":
            texts = _texts(call, body.get("inputs"))
            return json_reply(
                [words.embed(_cut(text)) for text in texts], prompt_tokens=sum(map(words.count_tokens, texts))
            )
        case "/rerank":
            return _rerank(call, body)
        case "/predict":
            return _predict(call, body)
        case _:
            return _similarity(call, body)


def _texts(call: Call, given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("`inputs` must be a string or a non-empty list of strings", 422)
    _check_count(call, len(texts))
    if not all(texts):
        raise BadRequest("`inputs` cannot be empty", 422)
    return texts


def _check_count(call: Call, count: int) -> None:
    limit = dialects.max_batch(call.endpoint)
    if count > limit:
        raise BadRequest(f"batch size {count} > maximum allowed batch size {limit}", 413)


def _cut(text: str) -> str:
    return " ".join(text.split()[:MAX_INPUT])


def _rerank(call: Call, body: dict[str, Any]) -> Reply:
    query, texts = body.get("query"), _texts(call, body.get("texts"))
    if not isinstance(query, str):
        raise BadRequest("`query` must be a string", 422)
    scored = [
        {
            "index": index,
            **({"text": text} if body.get("return_text") is True else {}),
            "score": words.similarity(query, text),
        }
        for index, text in enumerate(texts)
    ]
    return json_reply(sorted(scored, key=lambda line: -line["score"]))


def _predict(call: Call, body: dict[str, Any]) -> Reply:
    """A text, a pair of texts, or a list of such lists: `["a", "b"]` is one pair, `[["a"], ["b"]]` two texts."""
    given = body.get("inputs")
    if isinstance(given, list) and given and all(isinstance(part, list) for part in given):
        _check_count(call, len(given))
        return json_reply([classify(_pair(part)) for part in given])
    return json_reply(classify(_pair(given if isinstance(given, list) else [given])))


def _pair(texts: list[Any]) -> str:
    if not 1 <= len(texts) <= 2 or not all(isinstance(text, str) for text in texts):
        raise BadRequest("`inputs` must be a string, a pair of strings or a batch of lists of one or two strings", 422)
    if not all(texts):
        raise BadRequest("`inputs` cannot be empty", 422)
    return " ".join(texts)


def classify(text: str, labels: tuple[str, str] = ("POSITIVE", "NEGATIVE")) -> list[dict[str, Any]]:
    """Two labels with scores that add up to 1, the likelier first."""
    label, score = words.pick(text, labels), words.score(text)
    other = labels[1] if label == labels[0] else labels[0]
    return [{"label": label, "score": score}, {"label": other, "score": round(1 - score, 6)}]


def _similarity(call: Call, body: dict[str, Any]) -> Reply:
    inputs = body.get("inputs")
    if not isinstance(inputs, dict) or not isinstance(inputs.get("source_sentence"), str):
        raise BadRequest("`inputs` must have `source_sentence` and `sentences`", 422)
    sentences = _texts(call, inputs.get("sentences"))
    return json_reply([words.similarity(inputs["source_sentence"], sentence) for sentence in sentences])
