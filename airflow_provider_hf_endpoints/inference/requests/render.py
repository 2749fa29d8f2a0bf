"""One line of the input turned into a request, and one answer turned into a line of the output. No I/O."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import Dialect, build_request, canonical_task
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, RERANK, SIMILARITY
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.journal.records import EMPTY, ERROR, FILTERED, RETRYABLE, TRUNCATED, Record
from airflow_provider_hf_endpoints.inference.requests.templates import columns_of, compile_text, compile_value
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

RowId = str | int


@dataclass(frozen=True, slots=True)
class Template:
    """What of a row goes into its request; at most one of `prompt`, `messages`, `body` is set.

    With none of them the row itself has the request: its column `messages` for a chat, `inputs` for other
    tasks.
    """

    task: str
    prompt: str | None = None
    messages: Any = None
    body: Any = None
    system: str | None = None
    route: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("prompt", "messages", "body") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of prompt, messages and body, not {' and '.join(given)}")
        chat = canonical_task(self.task) == CHAT
        if self.messages is not None and not chat:
            raise ValueError(f"messages are for {CHAT}; {self.task!r} takes a prompt or a body")
        if self.system is not None and (not chat or self.body is not None):
            raise ValueError(f"system is for {CHAT} with a prompt or messages")
        if self.route is not None and self.body is None:
            raise ValueError("a route of your own needs a body template")
        for name in given:
            if not columns_of(getattr(self, name)):
                raise ValueError(f"{name} names no column, so every row would be the same request: use {{column}}")

    @property
    def columns(self) -> list[str]:
        """Columns that every row must have."""
        names = [name for part in (self.prompt, self.messages, self.body, self.system) for name in columns_of(part)]
        if self.prompt is None and self.messages is None and self.body is None:
            names.append("messages" if canonical_task(self.task) == CHAT else "inputs")
        return list(dict.fromkeys(names))


class RowRequest(NamedTuple):
    """A row's request, ready to be sent.

    :param task: as what the answer is read
    """

    route: str
    body: bytes
    task: str


AnswerRecord = Callable[[int, int, RowId, InferenceResult, int, "dict[str, Any] | None"], Record]
ErrorRecord = Callable[[int, int, "RowId | None", Exception, int, "dict[str, Any] | None"], Record]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rows of a job look like on their way in and out.

    :param id_column: column that names a row, None for its place
    :param render: from a row to its request
    :param answer: the record of a row that was answered
    :param fail: the record of a row that failed
    :param accept: a last look at an answer, None for none; it may change it, or raise
    """

    id_column: str | None
    render: Callable[[Mapping[str, Any]], RowRequest]
    answer: AnswerRecord
    fail: ErrorRecord
    accept: Callable[[InferenceResult], InferenceResult] | None = None


def compile_requests(
    template: Template, target: Target, parameters: Mapping[str, Any] | None
) -> Callable[[Mapping[str, Any]], RowRequest]:
    """A function from a row to its request; it raises `BatchInputError` for a row that lacks what the
    template needs."""
    if template.body is not None:
        return _compile_body(template, target)
    inputs = _compile_inputs(template)
    task, params = canonical_task(template.task), dict(parameters or {})

    def render(row: Mapping[str, Any]) -> RowRequest:
        request = build_request(target.dialect, task, inputs(row), params, target.model)
        return RowRequest(request.route, fastjson.encode(request.json), task)

    if template.prompt is None or columns_of(template.system):
        return render
    parts = around_inputs(template, target, params)
    return render if parts is None else _compile_around_prompt(template.prompt, task, parts)


def _compile_around_prompt(
    prompt: str, task: str, parts: tuple[str, bytes, bytes]
) -> Callable[[Mapping[str, Any]], RowRequest]:
    """Requests that differ in their prompt alone: the body is made once, and each row's text put in its place."""
    text = compile_text(prompt)
    route, before, after = parts

    def render(row: Mapping[str, Any]) -> RowRequest:
        return RowRequest(route, before + fastjson.encode(text(row)) + after, task)

    return render


def around_inputs(template: Template, target: Target, parameters: Mapping[str, Any]) -> tuple[str, bytes, bytes] | None:
    """Route and body before and behind a row's inputs, where that is all that rows differ in.

    None where the engine cannot be asked so, which the first row will say.
    """
    mark = f"inputs-{uuid.uuid4().hex}"
    name = "inputs" if template.prompt is None else "prompt"
    inputs = _compile_inputs(template if template.prompt is None else replace(template, prompt="{prompt}"))
    try:
        request = build_request(
            target.dialect, canonical_task(template.task), inputs({name: mark}), parameters, target.model
        )
    except InferenceError:
        return None
    before, after = fastjson.encode(request.json).split(fastjson.encode(mark))
    return request.route, before, after


def _compile_inputs(template: Template) -> Callable[[Mapping[str, Any]], Any]:
    chat = canonical_task(template.task) == CHAT
    if template.messages is not None:
        messages = compile_value(template.messages, scalars_as_text=True)
    elif template.prompt is not None:
        text = compile_text(template.prompt)
        if not chat:
            return text
        messages = lambda row: [{"role": "user", "content": text(row)}]  # noqa: E731
    else:
        messages = compile_value("{messages}" if chat else "{inputs}")
    if template.system is None:
        return messages
    system = compile_text(template.system)
    return lambda row: [{"role": "system", "content": system(row)}, *messages(row)]


def _compile_body(template: Template, target: Target) -> Callable[[Mapping[str, Any]], RowRequest]:
    body = compile_value(template.body)
    route = template.route or _route_of(target.dialect, template.task)
    task = canonical_task(template.task)
    named = target.dialect is Dialect.OPENAI and target.model is not None and template.route is None

    def render(row: Mapping[str, Any]) -> RowRequest:
        content = body(row)
        if named and isinstance(content, dict):
            content.setdefault("model", target.model)
        return RowRequest(route, fastjson.encode(content), task)

    return render


def _route_of(dialect: Dialect, task: str) -> str:
    name = canonical_task(task)
    inputs: Any = {"query": "?", "texts": ["?"]} if name in (RERANK, SIMILARITY) else "?"
    return build_request(dialect, name, inputs).route


def parse_line(line: Line) -> dict[str, Any]:
    """The row in a line.

    :raises BadLineError: no JSON, or no object
    """
    try:
        row = fastjson.decode(line.raw)
    except ValueError as error:
        raise BadLineError(f"{line.where} is no JSON ({error}): {_start(line.raw)}") from None
    if not isinstance(row, dict):
        raise BadLineError(f"{line.where} is no JSON object but {_start(line.raw)}")
    return row


def _start(raw: bytes) -> str:
    return repr(raw[:80].decode("utf-8", "replace"))


def row_id(row: Mapping[str, Any], line: Line, id_column: str | None) -> RowId:
    """The row's id: the value of `id_column`, or its place.

    :raises BadLineError: the column is missing, or holds neither text nor a whole number
    """
    if id_column is None:
        return line.place
    value = row.get(id_column)
    if value is None or isinstance(value, bool) or not isinstance(value, str | int):
        raise BadLineError(f"{line.where} has no usable id: {id_column!r} is {value!r}")
    return value


def answer_record(
    index: int, key: int, identity: RowId, result: InferenceResult, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The record of a row that was answered."""
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
    if columns is not None:
        line["columns"] = columns
    return counted_record(index, key, result, line)


def counted_record(index: int, key: int, result: InferenceResult, line: dict[str, Any]) -> Record:
    """The record of an answer, with what is counted about it."""
    usage = result.usage
    empty = result.output in ("", [], None)
    flags = TRUNCATED * result.truncated | FILTERED * result.filtered | EMPTY * empty
    prompt = usage.prompt_tokens or 0 if usage else 0
    completion = usage.completion_tokens or 0 if usage else 0
    return Record(index, key, flags, prompt, completion, fastjson.encode(line))


def error_record(
    index: int, key: int, identity: RowId | None, error: Exception, attempts: int, columns: dict[str, Any] | None
) -> Record:
    """The record of a row that failed."""
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
