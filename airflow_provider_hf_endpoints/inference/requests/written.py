"""Chats and queries in a column that are a text of JSON, as always in CSV: they are parsed, not sent as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError

#: The beginning of a chat that was written as text: by JSON or, with single quotes, by Python's `str`.
_CHAT = re.compile(r"""\s*(\[\s*)?\{\s*["'](role|content|messages|name|tool_calls)["']\s*:""")


def chat_in(value: Any) -> Any:
    """The chat in a column: messages, or a text that is JSON of messages; else the text of one message.

    :raises BatchInputError: the text begins like messages, and is not JSON
    """
    if not isinstance(value, str):
        return value if isinstance(value, list | dict) else json.dumps(value)
    if not _CHAT.match(value):
        return value
    try:
        found = fastjson.decode(value.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise BatchInputError(
            f"the chat starts like a JSON list of messages, but is not valid JSON ({error}): {value[:80]!r}. Write it "
            "with json.dumps (names in single quotes are Python, not JSON)"
        ) from None
    return found if _is_chat(found) else value


def _is_chat(value: Any) -> bool:
    match value:
        case {"messages": list()} | {"role": _, "content": _}:
            return True
        case [_, *_]:
            return all(isinstance(message, Mapping) and "role" in message for message in value)
        case _:
            return False


def query_in(value: Any) -> Any:
    """The query and its texts in a column, also if they are a text of JSON."""
    if not isinstance(value, str):
        return value
    try:
        found = fastjson.decode(value.encode("utf-8", "surrogatepass"))
    except ValueError:
        return value
    return found if isinstance(found, Mapping) else value
