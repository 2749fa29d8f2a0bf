"""What of a row goes into its request: the templates that a job gives, and what they ask of every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.inference.engines import canonical_task
from airflow_provider_hf_endpoints.inference.engines.names import CHAT
from airflow_provider_hf_endpoints.inference.requests.placeholders import columns_of


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
