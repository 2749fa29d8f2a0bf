"""What an endpoint may cost from a moment on, its start included: limits, an account, and what it still allows. Pure.

For a start alone, or for a whole use of an endpoint that a start begins; a batch's own is `inference/job/budget.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Self

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.durations import seconds_of
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointTimeoutError, InvalidArgumentError

#: Replicas are billed by the minute (documentation), so less than one buys no start.
SMALLEST_BILL = 60.0  # seconds


class BudgetSpentError(InferenceEndpointTimeoutError):
    """What a start, or the use that it begins, may cost or take is used up, or is too small for it."""

    retryable = False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an endpoint may cost (USD) and take (seconds of wall-clock time); None for no limit."""

    max_cost: float | None = None
    max_runtime: float | None = None

    @classmethod
    def of(cls, max_cost: float | None, max_runtime: float | timedelta | None) -> Self:
        """As a DAG writes them. Raises `InvalidArgumentError` for a value that is not a limit."""
        seconds = seconds_of(max_runtime)
        for name, value in (("max_cost", max_cost), ("max_runtime", seconds)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                unit = "USD" if name == "max_cost" else "seconds"
                raise InvalidArgumentError(
                    f"{name}={value!r} is not valid. Give a positive number of {unit}, or leave {name} out."
                )
        return cls(max_cost=max_cost, max_runtime=seconds)

    @property
    def are_set(self) -> bool:
        """Whether there is one."""
        return self.max_cost is not None or self.max_runtime is not None


@dataclass(frozen=True, kw_only=True)
class Account:
    """Limits, and the spent amounts that are known without a request. Moments are seconds since the epoch.

    :param began: when it was opened: what the endpoint costs from then on counts
    :param gone: USD of endpoints that were deleted since, whose cost cannot be read any more
    """

    max_cost: float | None
    max_runtime: float | None
    began: float
    gone: float = 0.0

    @classmethod
    def of(cls, stored: object) -> Self | None:
        """The account that a store or a result of a task contains; None for anything else."""
        if not isinstance(stored, Mapping):
            return None
        try:
            began, gone = float(stored["began"]), float(stored.get("gone", 0.0))
            limits = Limits.of(stored.get("max_cost"), stored.get("max_runtime"))
        except (KeyError, TypeError, ValueError):
            return None
        return cls(max_cost=limits.max_cost, max_runtime=limits.max_runtime, began=began, gone=gone)

    def stored(self) -> dict[str, Any]:
        """JSON-native."""
        return asdict(self)

    def with_lost(self, usd: float) -> Self:
        """The same after an endpoint that has cost so much was deleted."""
        return replace(self, gone=self.gone + usd)

    def refusal(self, what: str, spent: float, usd_per_hour: float | None, now: float) -> str | None:
        """Why `what` is not to be started, None where it may be.

        :param spent: USD since the account was opened, `gone` among them
        :param usd_per_hour: with all replicas that a start begins with; None where no price is listed
        """
        if self.max_runtime is not None and now - self.began >= self.max_runtime:
            return f"{what} is not started: the budget is spent: {self.words(spent, usd_per_hour, now)}"
        if self.max_cost is None:
            return None
        if usd_per_hour is None:
            return (
                f"{what} is not started: max_cost needs a price, and the service does not list the price of this "
                "hardware"
            )
        if self.max_cost - spent >= usd_per_hour * SMALLEST_BILL / 3600.0:
            return None
        return (
            f"{what} is not started: {self.words(spent, usd_per_hour, now)}, and the rest does not cover one billed "
            f"minute ({usd(usd_per_hour * SMALLEST_BILL / 3600.0, places=4)})"
        )

    def deadline(self, spent: float, usd_per_hour: float | None, now: float) -> float | None:
        """The moment at which it is used up, if the endpoint bills from now on; None where it never is."""
        ends = []
        if self.max_runtime is not None:
            ends.append(self.began + self.max_runtime)
        if self.max_cost is not None and usd_per_hour:
            ends.append(now + max(0.0, self.max_cost - spent) / usd_per_hour * 3600.0)
        return min(ends, default=None)

    def words(self, spent: float, usd_per_hour: float | None, now: float) -> str:
        """How much of which limit."""
        parts = []
        if self.max_cost is not None:
            price = "" if usd_per_hour is None else f" at {usd(usd_per_hour)} an hour"
            parts.append(f"{usd(spent, places=4)} of max_cost {usd(self.max_cost)}{price}")
        if self.max_runtime is not None:
            parts.append(f"{max(0.0, now - self.began):.0f} s of max_runtime {self.max_runtime:g} s")
        return ", ".join(parts)
