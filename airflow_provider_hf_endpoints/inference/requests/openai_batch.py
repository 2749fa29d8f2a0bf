"""OpenAI Batch files as they are: lines of `custom_id`, `method`, `url`, `body`, answered in the same form.

A file that was made for OpenAI or for vLLM's `run-batch` runs unchanged. Its model names are not the endpoint's,
which serves one model: `model` in every body becomes that one, where it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError
from airflow_provider_hf_endpoints.inference.journal.records import ERROR, RETRYABLE, Record
from airflow_provider_hf_endpoints.inference.requests.render import (
    RowId,
    RowRequest,
    Shape,
    counted_record,
    error_words,
)
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

COLUMNS = ["custom_id", "url", "body"]
_TASKS = {"/v1/chat/completions": CHAT, "/v1/completions": GENERATE, "/v1/embeddings": EMBED}


def shape(target: Target) -> Shape:
    """How such lines are read and answered."""
    return Shape("custom_id", _compile(target), _answer, _fail)


def _compile(target: Target) -> Callable[[Mapping[str, Any]], RowRequest]:
    def render(row: Mapping[str, Any]) -> RowRequest:
        url, body = row.get("url"), row.get("body")
        if row.get("method", "POST") != "POST" or url not in _TASKS or not isinstance(body, dict):
            raise BadLineError(
                f"a line of an OpenAI Batch needs method POST, a body, and one of {', '.join(_TASKS)} as url; "
                f"got {row.get('method')!r}, {type(body).__name__}, {url!r}"
            )
        if body.get("stream"):
            raise BadLineError("an OpenAI Batch cannot stream")
        if target.model is not None:
            body = {**body, "model": target.model}
        return RowRequest(url, fastjson.encode(body), _TASKS[url])

    return render


def _answer(
    index: int, key: int, identity: RowId, result: InferenceResult, attempts: int, columns: dict[str, Any] | None
) -> Record:
    del attempts, columns
    response = {"status_code": 200, "request_id": f"req-{key:016x}", "body": result.raw}
    line = {"id": f"batch_req_{key:016x}", "custom_id": identity, "response": response, "error": None}
    return counted_record(index, key, result, line)


def _fail(
    index: int, key: int, identity: RowId | None, error: Exception, attempts: int, columns: dict[str, Any] | None
) -> Record:
    del attempts, columns
    words = error_words(error)
    line = {
        "id": f"batch_req_{key:016x}",
        "custom_id": identity,
        "response": None
        if words["status"] is None
        else {"status_code": words["status"], "request_id": f"req-{key:016x}", "body": {"error": words}},
        "error": {"code": words["type"], "message": words["message"]},
    }
    flags = ERROR | RETRYABLE if words["retryable"] else ERROR
    return Record(index, key, flags, 0, 0, fastjson.encode(line))
