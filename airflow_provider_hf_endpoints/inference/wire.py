"""The values that engines, transports, the limit and clients exchange: a request, a response, a result, a load.
No behaviour here.

They are never changed. Those that are made for each row are still not frozen, because a frozen dataclass takes
three times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

#: The transports that a user may choose: `auto` is the fast transport, or httpx if there is a proxy.
TransportName = Literal["auto", "httpx"]
#: Far above any answer in text or vectors. A larger answer means that the engine does not stop.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
#: Of one file of a row. Engines refuse larger ones, and a request is in memory as a whole.
MAX_MEDIA_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for and its engine does not do: this provider does it when it reads the answer.

    :param cut_at: stop texts: the text is cut before the first of them
    :param most_tokens: of one text, None if not set
    :param texts: the number of requested texts, 0 if unknown. With several texts, the number of tokens does not show
        which text reached the limit
    :param as_it_came: whether the whole answer is the result, so that its texts are cut inside of it
    """

    cut_at: tuple[str, ...] = ()
    most_tokens: int | None = None
    texts: int = 1
    as_it_came: bool = False


class MediaForm(StrEnum):
    """What stands for a medium in a request: a data URL or the URL itself, its base64, the word for its format, its
    bytes, its content type, or the boundary of the form around it."""

    URL = "url"
    BASE64 = "base64"
    FORMAT = "format"
    BYTES = "bytes"
    TYPE = "type"
    BOUNDARY = "boundary"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One call to an engine: a route below the endpoint's URL, and its JSON body.

    :param asked: what to check when the answer is read, None for nothing
    """

    route: str
    json: Any = None
    method: str = "POST"
    asked: Asked | None = None


@dataclass(slots=True)
class WireResponse:
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Usage:
    """Tokens as the engine counted them; None if unknown."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        """The sum of the known counts, None if there are none."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def as_dict(self) -> dict[str, int | None]:
        """The three counts, by OpenAI's names."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(slots=True)
class InferenceResult:
    """The engine's result of a task.

    :param output: text for generation tasks, vectors for embeddings, otherwise the pipeline's JSON
    :param finish_reason: the engine's own word (`stop`, `length`, `eos_token` …), None without one
    :param usage: tokens, None if the engine does not count them
    :param truncated: whether the text stops at a token limit; None if the
        engine does not report why it stopped
    :param filtered: whether the engine withheld the text (`content_filter`)
    :param model: model name in the answer
    :param extra: other fields of an answer, by the engine's names, such as `tool_calls`, `refusal`,
        `reasoning_content`, `annotations`, `logprobs`; of several choices a list; None for nothing
    :param raw: the whole answer, parsed
    """

    output: Any
    finish_reason: str | None = None
    usage: Usage | None = None
    truncated: bool | None = False
    filtered: bool = False
    model: str | None = None
    extra: Any = None
    raw: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Load:
    """The load that an engine reports with an answer.

    :param waiting: requests in its queue
    :param cache: share of its cache in use, None if unknown
    """

    waiting: float
    cache: float | None = None
