"""A row's output line, as a record for the journal: with its answer, or with its error."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.lines import RowId
from airflow_provider_hf_endpoints.inference.journal.records import EMPTY, ERROR, FILTERED, RETRYABLE, TRUNCATED, Record
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


def answer_record(
    index: int, key: int, identity: RowId, result: InferenceResult, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The record of a row with an answer."""
    usage = result.usage
    line: dict[str, Any] = {
        "id": identity,
        "index": index,
        "output": result.output,
        "finish_reason": result.finish_reason,
        "usage": None if usage is None else usage.as_dict(),
        "error": None,
        "truncated": result.truncated,
        "attempts": attempts,
    }
    if result.extra is not None:
        line["extra"] = result.extra
    if columns is not None:
        line["columns"] = columns
    return counted_record(index, key, result, line)


def keeping_record(
    index: int, key: int, identity: RowId, result: InferenceResult, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The same with the engine's whole answer, under `response`."""
    record = answer_record(index, key, identity, result, attempts, columns)
    return record._replace(payload=record.payload[:-1] + b',"response":' + fastjson.encode(result.raw) + b"}")


def counted_record(index: int, key: int, result: InferenceResult, line: dict[str, Any]) -> Record:
    """The record of an answer, with its counts."""
    usage = result.usage
    empty = result.output in ("", [], None)
    flags = TRUNCATED * bool(result.truncated) | FILTERED * result.filtered | EMPTY * empty
    prompt = usage.prompt_tokens or 0 if usage else 0
    completion = usage.completion_tokens or 0 if usage else 0
    return Record(index, key, flags, prompt, completion, fastjson.encode(line))


def error_record(
    index: int, key: int, identity: RowId | None, error: Exception, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The record of a failed row."""
    words = error_words(error)
    line: dict[str, Any] = {
        "id": identity,
        "index": index,
        "output": None,
        "finish_reason": None,
        "usage": None,
        "error": words,
        "truncated": False,
        "attempts": attempts,
    }
    if columns is not None:
        line["columns"] = columns
    flags = ERROR | RETRYABLE if words["retryable"] else ERROR
    return Record(index, key, flags, 0, 0, fastjson.encode(line))


def error_words(error: Exception) -> dict[str, Any]:
    """An error as the column `error` of an output line."""
    if isinstance(error, InferenceError):
        return error.as_row_error()
    kind = "bad_row" if isinstance(error, BatchInputError) else "internal"
    return {"type": kind, "message": str(error), "status": None, "fault": "caller", "retryable": False}
