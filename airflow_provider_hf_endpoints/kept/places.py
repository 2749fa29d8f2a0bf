"""What a place of records is, wherever it is: the two seams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any


class Document(ABC):
    """One JSON value. A write replaces it."""

    @abstractmethod
    def read(self) -> Any:
        """The value; None if there is no value. Raises `StoreError`, also for a value that is not JSON."""

    @abstractmethod
    def write(self, value: Any) -> None:
        """Replace it. Raises `StoreError`."""

    @abstractmethod
    def remove(self) -> None:
        """Remove it; one that is not there is removed. Raises `StoreError`."""


class Records(ABC):
    """JSON values by their keys. There are many writers, but each key has one. Used by one thread at a time.

    :ivar asks_airflow: whether reading and writing goes through Airflow's supervisor
    """

    asks_airflow = False

    @abstractmethod
    def read(self) -> dict[str, Any]:
        """All of them. Raises `StoreError` if one of them cannot be read, because its owner is unknown."""

    @abstractmethod
    def write(self, key: str, record: Any) -> None:
        """Keep this one, and all others as they are. Raises `StoreError`."""

    @abstractmethod
    def remove(self, keys: Iterable[str]) -> None:
        """Remove these; one that is not there is removed. Raises `StoreError`."""
