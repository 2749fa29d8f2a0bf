"""The record of a request that the emulator has answered. A value; `app.py` makes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RecordedRequest:
    """One request that the emulator has answered. `status` 0: the connection was closed without an answer."""

    at: float  # seconds since 1970, on the emulator's clock
    method: str
    path: str  # with the query, unchanged
    status: int
    seconds: float
    fault: bool  # whether a fault applied

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
