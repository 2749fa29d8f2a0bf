"""The values that pass between engines, transports, the limit and clients: a request, a response, a result, a load.
Nothing happens here.

Nobody changes one of them. Those that are made for each row are not frozen all the same: that makes the making three
times as dear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: What sends requests, as a user may ask for: `auto` is the fast transport, or httpx where there is a proxy.
TransportName = Literal["auto", "httpx"]
#: Far above any answer in text or vectors; one that passes this is of an engine that has lost its way.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for and its engine does not see to: it is seen to when the answer is read.

    :param cut_at: stop texts: the answer ends before the first of them
    :param most_tokens: of one text, None where nothing was said
    :param texts: how many there are to be, 0 where that cannot be told: of several, no count of tokens tells which
        reached the limit
    :param as_it_came: the whole answer is handed on, so it is cut in the answer too
    """

    cut_at: tuple[str, ...] = ()
    most_tokens: int | None = None
    texts: int = 1
    as_it_came: bool = False


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One call to an engine: a route below the endpoint's URL, and what is posted there as JSON.

    :param asked: what is to be seen to when the answer is read, None for nothing
    """

    route: str
    json: Any = None
    method: str = "POST"
    asked: Asked | None = None


@dataclass(slots=True)
class WireResponse:
    """An answer that arrived whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Usage:
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        """Sum of what is known, None when nothing is."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def as_dict(self) -> dict[str, int | None]:
        """The three counts under OpenAI's names."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(slots=True)
class InferenceResult:
    """What an engine answered to a task.

    :param output: text for generation tasks, vectors for embeddings, the pipeline's own JSON otherwise
    :param finish_reason: the engine's own word (`stop`, `length`, `eos_token` …), None where it gives none
    :param usage: tokens, None where the engine does not count them
    :param truncated: the text stops because a token limit was reached, not because it was complete; None where the
        engine does not say why it stopped
    :param filtered: the engine withheld the text (`content_filter`)
    :param model: model name in the answer
    :param extra: what an answer says beside its text, under the engine's own names, such as `tool_calls`, `refusal`,
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
    """What an engine said about itself along with an answer.

    :param waiting: requests in its queue
    :param cache: share of its cache in use, None where it does not say
    """

    waiting: float
    cache: float | None = None
