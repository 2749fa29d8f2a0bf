"""The answers to tasks on files, in one form on every engine, checked. `docs/how_to/media.md` lists the forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.names import TRANSCRIBE
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def transcript(answer: Any) -> dict[str, Any]:
    """`{"text"}`, with `chunks` of `{"timestamp": [start, end], "text"}` if the engine gives times.

    :raises MalformedAnswerError: there is no text
    """
    if not isinstance(answer, Mapping) or not isinstance(answer.get("text"), str):
        raise MalformedAnswerError(f"a transcript without text: {str(answer)[:200]}")
    chunks = answer.get("chunks")
    if chunks is None and isinstance(answer.get("segments"), list):  # OpenAI's verbose_json
        chunks = [
            {"timestamp": [each.get("start"), each.get("end")], "text": each.get("text")}
            for each in answer["segments"]
            if isinstance(each, Mapping)
        ]
    if chunks is None:
        return {"text": answer["text"]}
    for chunk in chunks if isinstance(chunks, list) else [chunks]:
        times = chunk.get("timestamp") if isinstance(chunk, Mapping) else None
        if not isinstance(times, list) or len(times) != 2 or not isinstance(chunk.get("text"), str):
            raise MalformedAnswerError(f"a part of a transcript without text or times: {str(chunk)[:200]}")
    parts = [{"timestamp": each["timestamp"], "text": each["text"]} for each in chunks]
    return {"text": answer["text"], "chunks": parts}


def labels(answer: Any) -> list[Any]:
    """A list of `{"label", "score"}`, the best first.

    :raises MalformedAnswerError: it is empty, or a label or score is missing
    """
    found = _labelled(answer, score=True)
    if not found:
        raise MalformedAnswerError("an empty response")
    return sorted(found, key=lambda each: -each["score"])


def boxes(answer: Any) -> list[Any]:
    """A list of `{"label", "score", "box": {"xmin", "ymin", "xmax", "ymax"}}`; empty if nothing was found.

    :raises MalformedAnswerError: a label, a score or an edge is missing
    """
    found = _labelled(answer, score=True)
    for each in found:
        box = each.get("box")
        if not isinstance(box, Mapping) or not all(_is_number(box.get(edge)) for edge in _EDGES):
            raise MalformedAnswerError(f"an object without its box: {str(each)[:200]}")
    return found


def masks(answer: Any) -> list[Any]:
    """A list of `{"label", "score", "mask"}`, the mask as base64 of a PNG, and the score null if the model has none.

    :raises MalformedAnswerError: a label or a mask is missing
    """
    found = _labelled(answer, score=False)
    for each in found:
        if not isinstance(each.get("mask"), str):
            raise MalformedAnswerError(f"a segment without its mask: {str(each)[:200]}")
    return found


def _labelled(answer: Any, *, score: bool) -> list[Any]:
    if not isinstance(answer, list):
        raise MalformedAnswerError(f"not a list of labels: {str(answer)[:200]}")
    for each in answer:
        if not isinstance(each, Mapping) or not isinstance(each.get("label"), str):
            raise MalformedAnswerError(f"an entry without a label: {str(each)[:200]}")
        if (score or each.get("score") is not None) and not _is_number(each.get("score")):
            raise MalformedAnswerError(f"a score is not a number: {str(each)[:200]}")
    return answer


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


OF_TASK: Mapping[str, Callable[[Any], Any]] = {
    TRANSCRIBE: transcript,
    "audio-classification": labels,
    "image-classification": labels,
    "image-segmentation": masks,
    "object-detection": boxes,
}
