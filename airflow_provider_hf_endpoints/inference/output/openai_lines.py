"""A row's output line in the form of OpenAI Batch: `custom_id`, `response`, `error`."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.inputs.lines import RowId
from airflow_provider_hf_endpoints.inference.journal.records import ERROR, RETRYABLE, Record
from airflow_provider_hf_endpoints.inference.output.lines import counted_record, error_words
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


def answer_record(
    index: int, key: int, identity: RowId, result: InferenceResult, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The record of a row with an answer. Such a line has no field for `attempts` and `columns`."""
    del attempts, columns
    response = {"status_code": 200, "request_id": f"req-{key:016x}", "body": result.raw}
    line = {"id": f"batch_req_{key:016x}", "custom_id": identity, "response": response, "error": None}
    return counted_record(index, key, result, line)


def error_record(
    index: int, key: int, identity: RowId | None, error: Exception, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The record of a failed row."""
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
