"""One Airflow Variable with many writers, each of which changes a part of its value.

Variables have no compare-and-swap. Two writers at the same moment can lose the change of one. So a writer reads the
value back after a moment, and changes it again if its change is gone. A change is lost only if another writer stands
still for longer than that moment between its read and its write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from airflow_provider_hf_endpoints.kept.attempts import StoreError
from airflow_provider_hf_endpoints.kept.variables import WRITE_TRIES, VariableDocument, settle


class SharedVariable:
    """A Variable that many tasks change at the same time."""

    def __init__(self, key: str, description: str) -> None:
        self._document = VariableDocument(key, description)

    def __str__(self) -> str:
        return str(self._document)

    def read(self) -> Any:
        """The value; None if the Variable does not exist. Raises `StoreError`."""
        return self._document.read()

    def update(self, change: Callable[[Any], Any], holds: Callable[[Any], bool]) -> None:
        """Write what `change` makes of the value, and see that it stays. Raises `StoreError`.

        :param change: called again if the change is lost: without side effects
        :param holds: whether a value has the change
        """
        for turn in range(WRITE_TRIES):
            began = time.monotonic()
            self._document.write(change(self.read()))
            settle(turn, time.monotonic() - began)
            if holds(self.read()):
                return
        raise StoreError(f"{self} lost a written change {WRITE_TRIES} times in a row.")
