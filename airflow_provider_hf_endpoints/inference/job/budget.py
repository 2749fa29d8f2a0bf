"""What a batch may cost and has cost: replica-seconds times a price, compared with a limit. Decisions only; the clock
is an argument.

The service bills per replica and second whether it is used or not (documentation, October 2026), so the cost of a batch
is the sum of the ready replicas over its time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_hf_endpoints._money import usd

WARN_AT = 0.8  # share of the budget
#: An estimate counts after this many seconds and rows: before, the limit of requests in flight is not yet found.
SETTLED_SECONDS = 60.0
SETTLED_ROWS = 100
WINDOW = 30.0  # seconds over which the throughput is measured
MARGIN = 1.1  # an estimate above the limit by less than this factor is ignored: the limit itself will stop the batch


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of a batch over all its runs with the same `key`.

    :param max_cost: USD; needs `price_per_hour`
    :param max_runtime: seconds of wall-clock time while the batch runs
    :param price_per_hour: USD per replica and hour
    :param rows_per_replica_second: of an earlier run; a batch that would not fit is refused at its start
    :param key: a run with another key starts again
    :param name: of the budget, for messages
    """

    max_cost: float | None = None
    max_runtime: float | None = None
    price_per_hour: float | None = None
    rows_per_replica_second: float | None = None
    key: str = ""
    name: str = "budget"

    def __post_init__(self) -> None:
        for name, unit in (("max_cost", "USD"), ("max_runtime", "seconds"), ("rows_per_replica_second", "rows")):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r} is not valid. Give a positive number of {unit}")
        if self.price_per_hour is not None and not 0 <= self.price_per_hour < math.inf:
            raise ValueError(f"price_per_hour={self.price_per_hour!r} is not valid. Give a number of USD")
        if self.max_cost is not None and self.price_per_hour is None:
            raise ValueError(
                "max_cost needs price_per_hour, and the price of the endpoint's hardware is not known. Use "
                "max_runtime instead"
            )


@dataclass(slots=True)
class Spent:
    """What was used: replica-seconds that were billed, seconds of time, and rows that were finished."""

    replica_seconds: float = 0.0
    seconds: float = 0.0
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class SharedBudget:
    """Limits on the endpoint's cost from a moment on, by all its users: the tasks of a group, the shards of a batch.

    Each user counts the whole endpoint since the same moment, so all reach the limit at the same time.

    :param name: of the budget, for messages
    :param began: the moment, seconds since the epoch
    :param usd: its cost from then until `at`; None to assume one replica all the time
    """

    name: str
    began: float
    max_cost: float | None = None
    max_runtime: float | None = None
    usd: float | None = None
    at: float | None = None

    @classmethod
    def of_shards(
        cls,
        began: float,
        max_cost: float | None,
        max_runtime: float | None,
        usd: float | None = None,
        at: float | None = None,
    ) -> SharedBudget:
        """The budget of a batch divided among workers. It begins when the batch is planned."""
        return cls(name="budget of all shards", began=began, max_cost=max_cost, max_runtime=max_runtime, usd=usd, at=at)

    def spending(self, price_per_hour: float | None, pace: float | None, wall: float, now: float) -> Spending:
        """Its account from now on.

        :param pace: rows per replica-second of an earlier run
        :param wall: now, in seconds since the epoch
        :param now: the same moment on the clock of `Spending`
        """
        passed = replica_seconds = max(0.0, wall - self.began)
        if self.usd is not None and self.at is not None and price_per_hour:
            replica_seconds = self.usd / price_per_hour * 3600.0 + max(0.0, wall - self.at)
        budget = Budget(
            max_cost=self.max_cost,
            max_runtime=self.max_runtime,
            price_per_hour=price_per_hour,
            rows_per_replica_second=pace,
            name=self.name,
        )
        return Spending(budget, now, Spent(replica_seconds, passed), shared=True)

    def refusal(self, price_per_hour: float | None, wall: float) -> str | None:
        """Why nothing more may be sent; None if something may."""
        if self.max_cost is not None and price_per_hour is None:
            return f"the {self.name} has a max_cost, but the service does not list the price of the endpoint's hardware"
        notice = self.spending(price_per_hour, None, wall, 0.0).refusal(None)
        return None if notice is None else notice.text


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about the budget. `end` means to send nothing more."""

    kind: Literal["warning", "spent", "cannot fit"]
    text: str

    @property
    def end(self) -> bool:
        """Whether the batch must stop."""
        return self.kind != "warning"


class Spending:
    """Adds up the cost of a batch, and reports when it is too much.

    :param before: what earlier runs used of the same budget
    :param shared: whether others send at the same time, so that this run's throughput does not show when rows are done
    """

    def __init__(self, budget: Budget, now: float, before: Spent | None = None, *, shared: bool = False) -> None:
        self.budget = budget
        self._shared = shared
        #: What earlier runs used.
        self.before = before or Spent()
        self._began = self._at = now
        self._replicas = 1
        self._replica_seconds = 0.0
        self._window = (now, 0.0, 0)
        self._best: float | None = None  # rows per replica-second
        self._warned = False

    def replicas_changed(self, replicas: int, now: float) -> None:
        """From `now` on, so many replicas are billed."""
        self._pass(now)
        self._replicas = max(1, replicas)

    def spent(self, now: float, rows: int) -> Spent:
        """Everything used until `now`, with earlier runs."""
        self._pass(now)
        return Spent(
            self.before.replica_seconds + self._replica_seconds,
            self.before.seconds + now - self._began,
            self.before.rows + rows,
        )

    def notice(self, now: float, rows: int, left: int | None) -> Notice | None:
        """The message for now, each only once.

        :param rows: rows that this run has finished
        :param left: remaining rows, None if unknown
        """
        spent = self.spent(now, rows)
        self._measure(now, rows)
        over = self._share(spent)
        if over >= 1.0:
            return Notice("spent", f"the {self.budget.name} is spent: {self.words(spent)}")
        settled = not self._shared and now - self._began >= SETTLED_SECONDS and rows >= SETTLED_ROWS
        if settled and left and self._best is not None:
            refusal = self._cannot_fit(spent, left, self._best, "at the best pace of this run")
            if refusal is not None:
                return refusal
        if over >= WARN_AT and not self._warned:
            self._warned = True
            return Notice("warning", f"{over:.0%} of the {self.budget.name} is spent: {self.words(spent)}")
        return None

    def refusal(self, rows: int | None) -> Notice | None:
        """Why the batch must not begin: the budget is spent, or would not last at the throughput of an earlier run.

        :param rows: rows to send, None if unknown
        """
        if rows == 0:
            return None
        spent = self.before
        if self._share(spent) >= 1.0:
            return Notice("spent", f"the {self.budget.name} is spent: {self.words(spent)}")
        pace = self.budget.rows_per_replica_second
        return (
            None
            if pace is None or rows is None
            else self._cannot_fit(spent, rows, pace, "at the pace of an earlier run")
        )

    def words(self, spent: Spent) -> str:
        """How much of which limit is used, in words."""
        budget, parts = self.budget, []
        if budget.max_cost is not None and budget.price_per_hour is not None:
            parts.append(
                f"{usd(self._usd(spent.replica_seconds), places=4)} of max_cost {usd(budget.max_cost)} "
                f"({spent.replica_seconds / 60:.1f} replica-minutes at {usd(budget.price_per_hour)} an hour)"
            )
        if budget.max_runtime is not None:
            parts.append(f"{spent.seconds:.0f} s of max_runtime {budget.max_runtime:g} s")
        return ", ".join(parts)

    def report(self, spent: Spent, tokens: int) -> dict[str, Any]:
        """The same for a manifest, as JSON. Money is null without a price."""
        usd = None if self.budget.price_per_hour is None else self._usd(spent.replica_seconds)
        return {
            "replica_minutes": round(spent.replica_seconds / 60, 3),
            "price_per_hour": self.budget.price_per_hour,
            "usd": usd,
            "usd_per_1000_rows": None if usd is None or not spent.rows else usd * 1000 / spent.rows,
            "usd_per_million_tokens": None if usd is None or not tokens else usd * 1e6 / tokens,
            "rows_per_replica_second": spent.rows / spent.replica_seconds if spent.replica_seconds else None,
            "source": "observed replicas during the batch",
        }

    def _pass(self, now: float) -> None:
        self._replica_seconds += self._replicas * max(0.0, now - self._at)
        self._at = max(self._at, now)

    def _measure(self, now: float, rows: int) -> None:
        since, used, done = self._window
        if now - since < WINDOW:
            return
        pace = (rows - done) / max(self._replica_seconds - used, 1e-9)
        if pace > (self._best or 0.0):
            self._best = pace
        self._window = (now, self._replica_seconds, rows)

    def _usd(self, replica_seconds: float) -> float:
        return (self.budget.price_per_hour or 0.0) * replica_seconds / 3600.0

    def _share(self, spent: Spent) -> float:
        budget = self.budget
        cost = 0.0 if budget.max_cost is None else self._usd(spent.replica_seconds) / budget.max_cost
        time = 0.0 if budget.max_runtime is None else spent.seconds / budget.max_runtime
        return max(cost, time)

    def _cannot_fit(self, spent: Spent, rows: int, pace: float, why: str) -> Notice | None:
        needed = rows / pace
        whole = Spent(spent.replica_seconds + needed, spent.seconds + needed / self._replicas, spent.rows + rows)
        if self._share(whole) < MARGIN:
            return None
        return Notice(
            "cannot fit",
            f"{rows} rows do not fit into the {self.budget.name} {why}: they would need {self.words(whole)}",
        )
