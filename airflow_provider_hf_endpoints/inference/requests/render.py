"""Renders a row as its request: row by row, or as one text in a frame that all rows share. No I/O."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import (
    Dialect,
    asked_in_body,
    build_request,
    canonical_task,
    traits,
)
from airflow_provider_hf_endpoints.inference.engines.asking.media import form_of
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import TRANSCRIBE_ROUTE
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import EMBED, OF_FILES, RERANK, SIMILARITY, TRANSCRIBE
from airflow_provider_hf_endpoints.inference.engines.routes import is_openais, task_of
from airflow_provider_hf_endpoints.inference.errors import InferenceError, UnsupportedTaskError
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.media.bodies import (
    Media,
    MediaPart,
    alone,
    compose,
    form_data,
    form_fields,
)
from airflow_provider_hf_endpoints.inference.media.values import Medium, medium_of
from airflow_provider_hf_endpoints.inference.requests.placeholders import compile_text, compile_value
from airflow_provider_hf_endpoints.inference.requests.template import Parts, Template, compile_parts, in_order
from airflow_provider_hf_endpoints.inference.requests.written import chat_in
from airflow_provider_hf_endpoints.inference.wire import Asked, MediaForm


class RowRequest(NamedTuple):
    """A row's request, ready to be sent.

    :param task: how the answer is read
    :param asked: what to check in the answer, None for nothing
    :param media: images, sounds and videos that are put into the body when it is sent, None for none
    """

    route: str
    body: bytes
    task: str
    asked: Asked | None = None
    media: Media | None = None

    @property
    def whole(self) -> bytes:
        """Everything that identifies the request."""
        cut_at = () if self.asked is None else self.asked.cut_at
        whole = b"%b %b%b" % (self.route.encode(), self.body, repr(cut_at).encode() if cut_at else b"")
        return whole if self.media is None else b"%b %b" % (whole, self.media.identity)


Render = Callable[[Mapping[str, Any]], RowRequest]


class Frame(NamedTuple):
    """The request that all rows share, except for one text: the body before and after this text, as JSON."""

    route: str
    before: bytes
    after: bytes
    asked: Asked | None = None


def compile_requests(template: Template, target: Target, parameters: Mapping[str, Any] | None) -> Render:
    """A function from a row to its request; it raises `BatchInputError` for a row that lacks what the
    template needs."""
    frame = None if template.prompt is None else frame_of(template, target, parameters)
    if template.prompt is None or frame is None:
        return _compile_one_by_one(template, target, parameters)
    text, task = compile_text(template.prompt), canonical_task(template.task)
    route, before, after, asked = frame

    def render(row: Mapping[str, Any]) -> RowRequest:
        return RowRequest(route, before + fastjson.encode(text(row)) + after, task, asked)

    return render


def frame_of(template: Template, target: Target, parameters: Mapping[str, Any] | None) -> Frame | None:
    """The frame around a row's prompt, or around its column `inputs`; None if rows differ in more than that.

    All faster ways to make requests rely on a frame. Whether there is one is therefore tested, not listed: a row with
    only this one text is rendered in the usual way. There is none if anything looks for another column of the row, even
    for one that a row may lack, or if the text appears twice.
    """
    if template.body is not None:
        return None
    mark = f"column-{uuid.uuid4().hex}"
    row = _OneColumn("inputs" if template.prompt is None else mark, mark)
    lone = template if template.prompt is None else replace(template, prompt=f"{{{mark}}}")
    try:
        request = _compile_one_by_one(lone, target, parameters)(row)
    except (InferenceError, BatchInputError):
        return None  # if the engine is the reason, the first row reports it
    before, found, after = request.body.partition(fastjson.encode(mark))
    alone = found and request.body.count(mark.encode()) == 1 and not row.others_were_asked_for
    return Frame(request.route, before, after, request.asked) if alone else None


class _OneColumn(Mapping[str, str]):
    """A row with one column, which notes whether anything else of the row is looked at."""

    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value
        self.others_were_asked_for = False

    def __getitem__(self, name: str) -> str:
        if name == self._name:
            return self._value
        self.others_were_asked_for = True
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        self.others_were_asked_for = True
        return iter((self._name,))

    def __len__(self) -> int:
        self.others_were_asked_for = True
        return 1


def _compile_one_by_one(template: Template, target: Target, parameters: Mapping[str, Any] | None) -> Render:
    if template.body is not None:
        return _compile_body(template, target)
    if template.file_column is not None:
        return _compile_file(template, template.file_column, target, in_order(parameters))
    parts, task = compile_parts(template, in_order(parameters)), canonical_task(template.task)
    if template.has_media:
        return _compile_with_media(parts, task, target)

    def render(row: Mapping[str, Any]) -> RowRequest:
        inputs, parameters_of_row = parts(row)
        request = build_request(target.dialect, task, inputs, parameters_of_row, target.model, target.engine)
        return RowRequest(request.route, fastjson.encode(request.json), task, request.asked)

    return render


def _compile_file(template: Template, column: str, target: Target, parameters: Mapping[str, Any]) -> Render:
    """Requests whose input is a file: as the body, beside parameters as base64, or in a form.

    What `huggingface_hub`'s client sends is the same.
    """
    task = canonical_task(template.task)
    file = compile_value(f"{{{column}}}", nulls=False)
    own = compile_value(in_order(template.row_parameters), nulls=False)

    def render(row: Mapping[str, Any]) -> RowRequest:
        medium = medium_of(OF_FILES[task], file(row))
        given = {**parameters, **own(row)}
        if traits(target.dialect).transcribes and task == TRANSCRIBE:
            if medium.is_url:
                raise BatchInputError(
                    f"the row's {medium.kind} is an http URL, but {TRANSCRIBE_ROUTE} takes the bytes. Copy "
                    "the file to a store, and give its path"
                )
            fields = {**({} if target.model is None else {"model": target.model}), **given}
            body, media = form_data(form_fields(fields), medium)
            return RowRequest(TRANSCRIBE_ROUTE, body, task, None, media)
        inputs = medium.source if medium.is_url else MediaPart(medium, MediaForm.BASE64)
        request = build_request(target.dialect, task, inputs, given, None, target.engine)
        if not medium.is_url and not given:
            return RowRequest(request.route, b"", task, request.asked, alone(medium))
        whole, found = compose(request.json)
        return RowRequest(request.route, whole, task, request.asked, found)

    return render


def _compile_with_media(parts: Callable[[Mapping[str, Any]], Parts], task: str, target: Target) -> Render:
    """Requests whose messages have media, each in the form of the engine."""
    forms = traits(target.dialect).media

    def in_form(value: Any) -> Any:
        match value:
            case Medium():
                kind, fetched = value.kind, value.is_url
                return MediaPart(value, form_of(kind, forms, target.dialect, target.engine, fetched=fetched))
            case {"role": _, "content": [*content]}:
                return {**value, "content": [in_form(part) for part in content]}
            case _:
                return value

    def render(row: Mapping[str, Any]) -> RowRequest:
        messages, parameters_of_row = parts(row)
        messages = [in_form(message) for message in messages]
        request = build_request(target.dialect, task, messages, parameters_of_row, target.model, target.engine)
        body, media = compose(request.json)
        return RowRequest(request.route, body, task, request.asked, media)

    return render


def _compile_body(template: Template, target: Target) -> Callable[[Mapping[str, Any]], RowRequest]:
    body = compile_value(template.body)
    route, task = _route_and_task(template, target.dialect)
    openais = is_openais(route)
    named = traits(target.dialect).lists_models and target.model is not None and template.route is None

    def render(row: Mapping[str, Any]) -> RowRequest:
        content = body(row)
        if isinstance(content, dict) and isinstance(content.get("messages"), str):
            content["messages"] = chat_in(content["messages"])
        if named and isinstance(content, dict):
            content.setdefault("model", target.model)
        asked = asked_in_body(target.dialect, task, content, target.engine) if openais else None
        return RowRequest(route, fastjson.encode(content), task, asked)

    return render


def gives_vectors(template: Template, target: Target) -> bool:
    """Whether the answers to a template's requests are read as vectors."""
    if template.body is None:
        return canonical_task(template.task) == EMBED
    return _route_and_task(template, target.dialect)[1] == EMBED


def _route_and_task(template: Template, dialect: Dialect) -> tuple[str, str]:
    """The route of a body, and how its answer is read."""
    if template.route is None:
        return _route_of(dialect, template.task), canonical_task(template.task)
    try:
        own = _route_of(dialect, template.task)
    except UnsupportedTaskError:
        own = None
    route = template.route if template.route.startswith("/") else f"/{template.route}"
    return route, task_of(route, template.task, own)


def _route_of(dialect: Dialect, task: str) -> str:
    name = canonical_task(task)
    inputs: Any = {"query": "?", "texts": ["?"]} if name in (RERANK, SIMILARITY) else "?"
    return build_request(dialect, name, inputs).route
