"""The data that a start stores across a deferral. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_hf_endpoints.operators.starting.search import Search


@dataclass(frozen=True)
class StartState:
    """JSON-native in both directions: kwargs of `execute_complete`. Values at their default are not stored.

    :param started_here: whether the task owns the endpoint, see `ownership.Ownership`
    :param budget: from `StartBudget.stored`
    :param search: the state of the search for hardware
    """

    started_here: bool = False
    budget: Mapping[str, Any] | None = None
    search: Search | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The state from a deferral."""
        return cls(stored.get("started_here") is True, stored.get("budget"), Search.of(stored.get("search")))

    def stored(self) -> dict[str, Any]:
        """For a deferral's kwargs."""
        search = None if self.search is None else self.search.stored()
        told = {"started_here": self.started_here or None, "budget": self.budget, "search": search}
        return {name: value for name, value in told.items() if value is not None}
