"""The objects that calls return, in the form of `huggingface_hub` and `openai`. They keep fields that they
do not define."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class ChatMessage(_Answer):
    """The message of the model."""

    role: str = "assistant"
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatChoice(_Answer):
    """One of the answers to a chat; `finish_reason` is `length` if the text was truncated at a token limit."""

    index: int = 0
    message: ChatMessage
    finish_reason: str | None = None


class ChatUsage(_Answer):
    """Tokens as the engine counted them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class ChatCompletion(_Answer):
    """The answer to a chat: `.choices[0].message.content`, `.usage.total_tokens`."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[ChatChoice]
    usage: ChatUsage | None = None
