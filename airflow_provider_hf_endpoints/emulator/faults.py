"""Failures on demand: which requests fail, how often, and how. Decisions only.

`app.py` asks `FaultBook.draw` for every request and does what the fault says.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from pydantic import ConfigDict

Cut = Literal["drop", "cut", "not_json"]


@dataclass(frozen=True)
class Fault:
    """One failure. `path` is a regular expression searched in the request's path, `method` one of HTTP's or None.

    With `status` the request is answered at once with `body` (text, or any other value as JSON) and `headers`, and does
    not reach its route. `kind`: "drop" closes the connection without an answer, "cut" sends half of the route's real
    answer and closes, "not_json" answers 200 with a page of HTML. `after` passes the request to its route first
    and then fails it, like a create that succeeds although its answer is lost. `delay_seconds` comes before everything
    else, also without other settings. `late_seconds` comes between the route's work and its answer.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # of `POST /_emulator/faults`

    path: str = ""
    method: str | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: int | None = None
    delay_seconds: float = 0.0
    late_seconds: float = 0.0
    kind: Cut | None = None
    after: bool = False
    skip: int = 0  # matching requests that succeed first
    count: int | None = None  # how many requests fail; None: all
    rate: float = 1.0  # the share of matching requests that fail

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path is not a valid regular expression: {error}") from None
        if self.kind is not None and self.kind not in get_args(Cut):
            raise ValueError(f"kind={self.kind!r} is not valid. Use one of {', '.join(get_args(Cut))}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status must be 200 to 599, not {self.status}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be 0 to 1, not {self.rate}")

    def matches(self, method: str, path: str) -> bool:
        return (self.method is None or self.method.upper() == method) and re.search(self.path, path) is not None


@dataclass
class _Entry:
    fault: Fault
    seen: int = 0
    hits: int = 0


class FaultBook:
    """The faults, in order. The first that matches and is not used up applies."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._entries.append(_Entry(fault))

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def draw(self, method: str, path: str) -> Fault | None:
        """The fault for this request, or None."""
        if not self._entries:
            return None
        with self._lock:
            for entry in self._entries:
                fault = entry.fault
                if not fault.matches(method, path) or (fault.count is not None and entry.hits >= fault.count):
                    continue
                entry.seen += 1
                if entry.seen <= fault.skip or (fault.rate < 1 and self._random.random() >= fault.rate):
                    continue
                entry.hits += 1
                return fault
        return None

    def report(self) -> list[dict[str, Any]]:
        with self._lock:
            return [{**asdict(e.fault), "seen": e.seen, "hits": e.hits} for e in self._entries]
