"""A replacement for Airflow's Variables, which need a database outside of a task."""

from __future__ import annotations

import random
import threading
import time
from typing import Any


class Variables:
    """As a task of Airflow 3.3 sees them: each call takes a moment, and nothing holds two of them together.

    :ivar broken: nothing answers
    :ivar failing: how many of the next calls fail, as an API server that is being restarted
    :ivar slow: seconds that a call takes on its way there, and again on its way back, times 0 to 2
    """

    def __init__(self, slow: float = 0.001) -> None:
        self.values: dict[str, str] = {}
        self.broken = False
        self.failing = 0
        self.slow = slow
        self.calls = 0
        self._lock = threading.Lock()

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default; that also where the server fails, as Airflow 3.3 does."""
        with self._lock:
            self.calls += 1
            failing, self.failing = self.failing, max(0, self.failing - 1)
        if failing:
            return default
        self._travel()
        value = self.values.get(key, default)
        self._travel()
        return value

    def set(self, key: str, value: str, description: str) -> None:
        """Replace it."""
        assert description
        assert len(key) <= 250
        self._fail()
        self._travel()
        self.values[key] = value
        self._travel()

    def delete(self, key: str) -> None:
        """Remove it; one that is not there is removed."""
        self._fail()
        self._travel()
        self.values.pop(key, None)

    def keys(self, prefix: str | None = None) -> list[str]:
        """The keys that begin so."""
        self._fail()
        self._travel()
        return [each for each in list(self.values) if each.startswith(prefix or "")]

    def _fail(self) -> None:
        with self._lock:
            self.calls += 1
            failing, self.failing = self.failing, max(0, self.failing - 1)
        if self.broken or failing:
            raise ConnectionError("no API server")

    def _travel(self) -> None:
        if self.broken:
            raise ConnectionError("no API server")
        time.sleep(self.slow * 2 * random.random())


class OldVariables:
    """The same on Airflow 3.0: a task can't list, an error of reading is raised, and one of writing is logged only."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default."""
        if self._variables.failing:
            self._variables._fail()
        return self._variables.get(key, default)

    def set(self, key: str, value: str, description: str) -> None:
        """Replace it, where that can be done."""
        try:
            self._variables.set(key, value, description)
        except ConnectionError:
            return

    def delete(self, key: str) -> None:
        """Remove it, where that can be done."""
        try:
            self._variables.delete(key)
        except ConnectionError:
            return
