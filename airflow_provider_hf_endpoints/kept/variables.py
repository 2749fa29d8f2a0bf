"""A value in an Airflow Variable. Needs no configuration, and is known to one Airflow deployment only.

The one file that calls Airflow's `Variable`.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from airflow.providers.common.compat.sdk import Variable

from airflow_provider_hf_endpoints.kept.attempts import attempt
from airflow_provider_hf_endpoints.kept.places import Document

WRITE_TRIES = 10
_SETTLE = 0.5  # seconds between writing a variable and reading it back: another writer's turn takes milliseconds
_ROUND_TRIPS = 4  # and on a server that is slow, so many times as long as the turn took


class VariableDocument(Document):
    """An Airflow Variable.

    :param key: without a slash: in the path of a request, Airflow 3.0 finds no variable of such a name
    """

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description

    def __str__(self) -> str:
        return f"The Airflow variable {self._key!r}"

    def read(self) -> Any:
        """The value."""

        def get() -> Any:
            value = Variable.get(self._key, default=None)
            # From 3.1 on an API server that fails reads as a variable that is not there (seen in 3.3.2,
            # `ExecutionAPISecretsBackend.get_variable`). Listing says which of the two; 3.0 raises.
            if value is None and can_list() and self._key in Variable.keys(prefix=self._key):
                raise ConnectionError("Airflow lists it, but does not return its value")
            return None if value is None else json.loads(value)

        return attempt(self, "read", get)

    def write(self, value: Any) -> None:
        """Replace it."""
        attempt(self, "written", lambda: Variable.set(self._key, json.dumps(value), description=self._description))

    def remove(self) -> None:
        """Remove it, whether it is there or not."""
        attempt(self, "removed", lambda: Variable.delete(self._key))


def can_list() -> bool:
    """Whether a task may list Variables: Airflow 3.3 (seen in 3.3.2), not 3.0."""
    return hasattr(Variable, "keys")


def listed(prefix: str) -> list[str]:
    """The keys of all Variables that begin so. Raises `StoreError`."""
    return attempt(f"The list of Airflow variables {prefix}…", "read", lambda: list(Variable.keys(prefix=prefix)))


def settle(turn: int, took: float) -> None:
    """Wait until every writer that read before our write has also written.

    :param turn: from 0; with each turn, concurrent writers spread over more time
    :param took: seconds of our read and write
    """
    time.sleep(max(_SETTLE, _ROUND_TRIPS * took) * (1 + (turn + 1) * random.random()))
