"""A stand-in for Airflow's Variables, which outside of a task only a database could keep."""

from __future__ import annotations

import time
from typing import Any


class Variables:
    """As a task sees them: each call takes a moment, and nothing holds two of them together."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.broken = False

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default."""
        self._take_a_moment()
        return self.values.get(key, default)

    def set(self, key: str, value: str, description: str) -> None:
        """Replace it."""
        assert description
        self._take_a_moment()
        self.values[key] = value

    def _take_a_moment(self) -> None:
        if self.broken:
            raise ConnectionError("no API server")
        time.sleep(0.002)
