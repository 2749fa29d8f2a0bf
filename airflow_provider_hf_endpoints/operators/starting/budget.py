"""The budget of a start over its attempts and deferrals: what it still allows, by the cost that the service reports.

The account is in the start note of the endpoint (`leases/notes.py`), so a retry continues it on every Airflow version.
`endpoints/costs/budgets.py` makes the decisions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs import metering
from airflow_provider_hf_endpoints.endpoints.costs.budgets import Account, BudgetSpentError, Limits
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, Place
from airflow_provider_hf_endpoints.hooks.spent import usd_since
from airflow_provider_hf_endpoints.leases.notes import StartNote

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Starts:
    """What to start: where, and with how many replicas."""

    name: str
    namespace: str | None
    place: Place
    replicas: int

    @classmethod
    def again(cls, endpoint: InferenceEndpoint) -> Starts:
        """For an existing endpoint."""
        replicas = max(1, endpoint.min_replica or 0, endpoint.target_replica)
        return cls(endpoint.name, endpoint.namespace, endpoint.place, replicas)


class StartBudget:
    """The budget of one attempt. Without a limit, it sends no request and does nothing.

    :param limits: of the start alone
    :param key: changes with every clear, and stays the same in every retry
    :param shared: the account of the whole use that the start begins, opened by `AcquireInferenceEndpointOperator`
    """

    def __init__(self, limits: Limits, key: str, shared: Mapping[str, Any] | None = None) -> None:
        self._limits = limits
        self._shared = Account.of(shared)
        self._key = key if self._shared is None else f"use {self._shared.began}"
        self.account: Account | None = None
        self._ends: float | None = None  # when the current wait has used it up
        self._rate: float | None = None  # USD per hour of the endpoint that is starting

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self._shared is not None or self._limits.are_set

    def open(self, note: StartNote | None, mine: StartNote | None, now: float) -> None:
        """At the beginning of an attempt: continue the account of the previous attempt, from the endpoint's `note`."""
        before = note.budget if note is not None and mine is not None and note.task == mine.task else None
        account = Account.of(before) if before is not None and before.get("key") == self._key else None
        new = Account(max_cost=self._limits.max_cost, max_runtime=self._limits.max_runtime, began=now)
        self.account = account or self._shared or new

    def take_up(self, stored: Mapping[str, Any] | None) -> None:
        """After a deferral."""
        self.account = Account.of(stored)
        if stored is not None:
            self._ends, self._rate = stored.get("ends"), stored.get("rate")

    def stored(self) -> dict[str, Any] | None:
        """For a note or a deferral, JSON-native; None without a limit."""
        if self.account is None:
            return None
        return {**self.account.stored(), "key": self._key, "ends": self._ends, "rate": self._rate}

    def check(self, client: EndpointsClient, *choices: Starts) -> dict[Place, str]:
        """The choices that the budget does not cover, each with the reason.

        :raises BudgetSpentError: the budget covers no choice
        """
        if self.account is None or not choices:
            return {}
        rates = [self._rate_of(client, each) for each in choices]
        spent = self._spent(client, choices[0].name, choices[0].namespace, max(filter(None, rates), default=None))
        refused = {}
        for each, rate in zip(choices, rates, strict=True):
            what = f"Endpoint {each.name!r} ({each.replicas} x {each.place.path})"
            if refusal := self.account.refusal(what, spent, rate, time.time()):
                refused[each.place] = refusal
        if len(refused) == len(choices):
            raise BudgetSpentError("\n".join([*refused.values(), "Raise the budget, or choose cheaper hardware."]))
        return refused

    def deadline(self, client: EndpointsClient, endpoint: InferenceEndpoint, otherwise: float | None) -> float | None:
        """When a wait for `endpoint` ends. Without the budget it ends at `otherwise`."""
        if self.account is None:
            return otherwise
        starts = Starts.again(endpoint)
        self._rate = self._rate_of(client, starts)
        spent = self._spent(client, starts.name, starts.namespace, self._rate)
        ends = self.account.deadline(spent, self._rate, time.time())
        self._ends = ends if ends is not None and (otherwise is None or ends <= otherwise) else None
        return otherwise if self._ends is None else self._ends

    @property
    def ends_the_wait(self) -> bool:
        """Whether the budget ends the current wait, and not another limit."""
        return self._ends is not None

    def error(self, client: EndpointsClient, name: str, namespace: str | None, why: str) -> BudgetSpentError:
        """The error for the end of the wait, with the figures."""
        assert self.account is not None
        spent = self._spent(client, name, namespace, self._rate)
        words = self.account.words(spent, self._rate, time.time())
        return BudgetSpentError(
            f"The budget was spent before endpoint {name!r} was ready: {words}. Waiting for hardware also counts. {why}"
        )

    def lose(self, client: EndpointsClient, name: str, namespace: str | None) -> None:
        """Before the endpoint is deleted: add its cost to the account."""
        if self.account is not None and self.account.max_cost is not None:
            spent = self._spent(client, name, namespace, self._rate)
            self.account = self.account.with_lost(spent - self.account.gone)

    def _rate_of(self, client: EndpointsClient, starts: Starts) -> float | None:
        if self.account is None or self.account.max_cost is None:
            return None
        price = client.run(metering.price_at(client.session, starts.place))
        return None if price is None else price * starts.replicas

    def _spent(self, client: EndpointsClient, name: str, namespace: str | None, rate: float | None) -> float:
        """The whole cost. It is not requested if nothing depends on it."""
        if self.account is None or self.account.max_cost is None:
            return 0.0
        return self.account.gone + usd_since(client, name, namespace, self.account.began, rate)
