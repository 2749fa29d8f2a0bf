"""The interface between the proxy and an endpoint's container: a call in, a reply out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.emulator.http import dump_json
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint


@dataclass(frozen=True)
class Call:
    """A request as the container receives it: `path` is relative to the endpoint's URL and starts with a slash."""

    endpoint: Endpoint
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    now: float  # seconds since 1970
    running: int = 0  # other requests that the container works on
    waiting: int = 0  # requests that wait for a slot
    toolkit_chats: bool = False  # the quirk with this name


@dataclass
class Reply:
    """The container's answer: `body`, or `chunks` sent one after the other, or a live `stream`.

    The token counts of a stream may be set while it runs.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    chunks: tuple[bytes, ...] | None = None
    stream: AsyncIterator[bytes] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    on_end: Callable[[], None] | None = None  # called once, when the answer is sent or the client has gone


class Engine(ABC):
    """The container of an endpoint. Used on the emulator's event loop; `close` is called once, at the end."""

    @abstractmethod
    async def respond(self, call: Call) -> Reply:
        """Answer `call`. Cancelled if the client closes the connection."""

    async def follow(self, endpoints: Iterable[Endpoint], now: float) -> None:  # noqa: B027 - nothing to do unless processes run
        """Start and stop processes by the endpoints' states. Called several times a second."""

    async def close(self) -> None:  # noqa: B027 - nothing to do unless processes run
        """Stop all processes."""


def json_reply(value: Any, status: int = 200, **rest: Any) -> Reply:
    """A reply of JSON."""
    return Reply(status, dump_json(value), **rest)


def text_reply(text: str, status: int = 200) -> Reply:
    """A reply of plain text."""
    return Reply(status, text.encode(), "text/plain; charset=utf-8")


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (value.encode() if isinstance(value, str) else dump_json(value)) + b"\n\n"


def event_reply(events: Iterable[bytes], *, prompt_tokens: int = 0, completion_tokens: int = 0) -> Reply:
    """A reply of server-sent events."""
    return Reply(
        200,
        content_type="text/event-stream",
        chunks=tuple(events),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )
