"""What the emulator remembers of each request that it has answered. A value; who records it is `app.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RecordedRequest:
    """One request that the emulator has answered. `status` 0: the connection was closed without an answer."""

    at: float  # seconds since 1970, on the emulator's clock
    method: str
    path: str  # with the query, as it was sent
    status: int
    seconds: float
    fault: bool  # whether a fault was met

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
