"""What a place of records is, wherever it is: the two seams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any


class Document(ABC):
    """One JSON value in the place of whatever was there before."""

    @abstractmethod
    def read(self) -> Any:
        """The value; None where there is none. Raises `StoreError`, also for what is not JSON."""

    @abstractmethod
    def write(self, value: Any) -> None:
        """Replace it. Raises `StoreError`."""

    @abstractmethod
    def remove(self) -> None:
        """Remove it; one that is not there is removed. Raises `StoreError`."""


class Records(ABC):
    """JSON values by their keys, of many writers, of whom none writes another's. Used by one thread at a time.

    :ivar asks_airflow: whether reading and writing goes through Airflow's supervisor
    """

    asks_airflow = False

    @abstractmethod
    def read(self) -> dict[str, Any]:
        """All of them. Raises `StoreError` where one of them can't be read: it may be anybody's."""

    @abstractmethod
    def write(self, key: str, record: Any) -> None:
        """Keep this one, and all others as they are. Raises `StoreError`."""

    @abstractmethod
    def remove(self, keys: Iterable[str]) -> None:
        """Remove these; one that is not there is removed. Raises `StoreError`."""
