"""Which parts of a row go into its request: the job's templates, and the columns that they need."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from airflow_provider_hf_endpoints.inference.engines import canonical_task
from airflow_provider_hf_endpoints.inference.engines.asking.media import KINDS
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import as_messages
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, OF_FILES, RERANK, SIMILARITY
from airflow_provider_hf_endpoints.inference.media.values import medium_of
from airflow_provider_hf_endpoints.inference.requests.placeholders import Row, columns_of, compile_text, compile_value
from airflow_provider_hf_endpoints.inference.requests.written import chat_in, query_in

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")  # an engine may know others
_ONE_COLUMN = re.compile(r"\{[^{}]+\}")


@dataclass(frozen=True, slots=True)
class Template:
    """Which parts of a row go into its request. At most one of `prompt`, `messages`, `body` is set.

    Without them, the row itself contains the request: its column `messages` for a chat, `inputs` for other
    tasks.

    :param row_parameters: parameters that differ from row to row, by name
    :param rows_are_files: the rows are of a listing, so the file of a task on files is in the column `path`
    """

    task: str
    prompt: str | None = None
    messages: Any = None
    body: Any = None
    system: str | None = None
    route: str | None = None
    row_parameters: Mapping[str, Any] | None = None
    rows_are_files: bool = False

    def __post_init__(self) -> None:
        given = [name for name in ("prompt", "messages", "body") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"only one of prompt, messages and body is allowed, but these are given: {' and '.join(given)}. Leave "
                "the others out"
            )
        chat = canonical_task(self.task) == CHAT
        if self.messages is not None and not chat:
            raise ValueError(f"messages are only for {CHAT}; use a prompt or a body for {self.task!r}")
        _check_chat(self.messages)
        if self.system is not None and (not chat or self.body is not None):
            raise ValueError(f"system is only for {CHAT} with a prompt or messages")
        if self.route is not None and self.body is None:
            raise ValueError("route needs a body template. Give body, or leave route out")
        for name in given:
            if not columns_of(getattr(self, name)):
                hint = _single_braces(str(getattr(self, name))) or "Write a column's name in braces: {column}"
                raise ValueError(f"{name} names no column, so every row would be the same request. {hint}")
        if self.row_parameters and self.body is not None:
            raise ValueError("body is given together with row_parameters. Write the row_parameters into the body")
        for name, part in (self.row_parameters or {}).items():
            if not columns_of(part):
                raise ValueError(
                    f"row_parameters[{name!r}] is {part!r} and names no column, so it is the same for every row. Move "
                    "it to parameters, or use {column}"
                )

    @property
    def has_media(self) -> bool:
        """Whether messages have images, sounds or videos."""
        return self.file_column is not None or bool(media_templates(self.messages))

    @property
    def file_column(self) -> str | None:
        """The column with the file, if the task is one on files and the row itself contains the request."""
        whole = self.prompt is None and self.body is None
        if not whole or canonical_task(self.task) not in OF_FILES:
            return None
        return "path" if self.rows_are_files else "inputs"

    @property
    def media_columns(self) -> list[str]:
        """Columns that may have the bytes of a file."""
        if self.file_column is not None:
            return [self.file_column]
        alone = [part for part in media_templates(self.messages) if _ONE_COLUMN.fullmatch(part)]
        return [name for part in alone for name in columns_of(part)]

    @property
    def columns(self) -> list[str]:
        """Columns that every row must have."""
        parts = (self.prompt, self.messages, self.body, self.system, self.row_parameters)
        names = [name for part in parts for name in columns_of(part)]
        if self.file_column is not None:
            names.append(self.file_column)
        elif self.prompt is None and self.messages is None and self.body is None:
            names.append("messages" if canonical_task(self.task) == CHAT else "inputs")
        return list(dict.fromkeys(names))


def media_templates(messages: Any) -> list[str]:
    """The templates of the media in a chat's template."""
    return [part[part["type"]] for part in _media_parts(messages)]


def _media_parts(messages: Any) -> list[Mapping[str, Any]]:
    """The parts of messages that are media. The same object elsewhere, as in the call of a tool, is only JSON."""
    found = []
    for message in messages if isinstance(messages, list | tuple) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list | tuple) else ():
            if _medium_in(part) is not None:
                found.append(part)
    return found


def _medium_in(part: Any) -> str | None:
    """The kind of a part `{"type": "image", "image": "{column}"}`; None for another part."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return kind if kind in KINDS and isinstance(part.get(kind), str) else None


def _compile_medium(part: Mapping[str, Any]) -> Callable[[Row], Any]:
    kind = part["type"]
    value = compile_value(part[kind], nulls=False)
    return lambda row: medium_of(kind, value(row))


def _check_chat(messages: Any) -> None:
    """
    :param messages: a chat of a job's template; a text in it may name a column whose value is a message
    :raises ValueError: it is not a list of messages: an engine would refuse every row
    """
    if isinstance(messages, Mapping) and "messages" not in messages:
        raise ValueError("messages must be a list, not one message. Write the message in brackets: [{'role': …}]")
    for number, message in enumerate(messages if isinstance(messages, list | tuple) else ()):
        if isinstance(message, str) and not _ONE_COLUMN.fullmatch(message):
            raise ValueError(f"messages[{number}] is the text {message!r}. Write {{'role': 'user', 'content': …}}")
        if not isinstance(message, Mapping):
            continue
        role = message.get("role")
        if role is None or not (message.keys() - {"role"}):
            raise ValueError(
                f"messages[{number}] needs `role` and `content`, but has {', '.join(map(str, message)) or 'nothing'}. "
                "Write {'role': 'user', 'content': …}"
            )
        near = get_close_matches(str(role).lower(), _ROLES, n=1, cutoff=0.7)
        if near and role not in _ROLES:
            raise ValueError(f"messages[{number}] has the role {role!r}. Did you mean {near[0]!r}?")


def _single_braces(text: str) -> str | None:
    """The correct form of Jinja's `{{ text }}`, which is literal braces in a row's template."""
    jinja = re.search(r"\{\{\s*(\w+)", text)
    return f"Use single braces: {{{jinja[1]}}}. Jinja is not applied to this argument" if jinja else None


class Parts(NamedTuple):
    """The content of a row's request: the task's inputs, and all parameters, the row's and the job's."""

    inputs: Any
    parameters: Mapping[str, Any]


def in_order(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters by name. A resumed batch finds its rows by their requests, so the order in the DAG must not matter."""
    return dict(sorted((parameters or {}).items()))


def compile_parts(template: Template, parameters: Mapping[str, Any]) -> Callable[[Row], Parts]:
    """A function from a row to the content of its request, without `body`.

    :param parameters: of every row
    """
    inputs = _compile_inputs(template)
    if not template.row_parameters:
        return lambda row: Parts(inputs(row), parameters)
    # A null is an error: an engine would treat it as "default", which is not what the row says.
    own = compile_value(in_order(template.row_parameters), nulls=False)
    return lambda row: Parts(inputs(row), {**parameters, **own(row)})


def _compile_inputs(template: Template) -> Callable[[Row], Any]:
    task = canonical_task(template.task)
    if task == CHAT:
        return _compile_chat(template)
    if template.prompt is not None:
        return compile_text(template.prompt)
    inputs = compile_value("{inputs}", nulls=False)
    return (lambda row: query_in(inputs(row))) if task in (RERANK, SIMILARITY) else inputs


def _compile_chat(template: Template) -> Callable[[Row], Any]:
    messages: Callable[[Row], Any]
    if template.prompt is not None:
        text = compile_text(template.prompt)
        messages = lambda row: [{"role": "user", "content": text(row)}]  # noqa: E731
    elif template.messages is None or isinstance(template.messages, str):
        whole = compile_value("{messages}" if template.messages is None else template.messages, nulls=False)
        messages = lambda row: chat_in(whole(row))  # noqa: E731
    else:
        media = _media_parts(template.messages)
        messages = compile_value(
            template.messages,
            scalars_as_text=True,
            special=lambda part: _compile_medium(part) if any(part is each for each in media) else None,
        )
    if template.system is None:
        return messages
    system = compile_text(template.system)
    return lambda row: [{"role": "system", "content": system(row)}, *as_messages(messages(row))]
