"""The accounts of one run: the batch's own budget and those that it shares, from the first row to the manifest.

What a budget allows is decided in `job/budget.py`; one account is stored and followed in `job/spending.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.inference.job import spending
from airflow_provider_hf_endpoints.inference.job.budget import Notice, Spending, Spent
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.patience import patiently


class Accounts:
    """What a run has spent of each of its budgets.

    :param path: where the batch's own account is stored for the next run
    :param check: called before each write, and may raise
    :param done: rows that this run has finished so far
    """

    def __init__(self, job: BatchJob, path: UPath, check: Callable[[], None], done: Callable[[], int]) -> None:
        self._job = job
        self._path = path
        self._check = check
        self._done = done
        self._own: Spending | None = None
        self._shared: list[Spending] = []
        self._rows_to_do: int | None = None
        self.exceeded: tuple[str, Notice] | None = None  # which budget, and its last message

    async def begin(self, before: Spent, rows_to_do: int | None) -> None:
        """Start to count.

        :param before: the cost of earlier runs
        :param rows_to_do: rows that this run has to send, None if unknown
        """
        job, now = self._job, time.monotonic()
        self._rows_to_do = rows_to_do
        self._own = Spending(job.budget, now, before)
        self._shared = [
            each.spending(job.price_per_hour, job.rows_per_replica_second, time.time(), now)
            for each in job.every_shared_budget
        ]
        save = partial(spending.save, self._path, job.budget_key, before, self._check)
        await patiently(save, f"writing the budget's account {self._path}", sent=False)

    def refusal(self) -> tuple[str, Notice] | None:
        """Which budget is spent or will not cover the remaining rows, before any is sent; None if they all suffice."""
        for each in self._every:
            if (notice := each.refusal(self._rows_to_do)) is not None:
                return each.budget.name, notice
        return None

    async def follow(self, end: Callable[[Notice], None]) -> None:
        """Watch the budgets while the batch runs.

        :param end: called when the batch must stop
        """

        def done() -> tuple[int, int | None]:
            rows = self._done()
            return rows, None if self._rows_to_do is None else self._rows_to_do - rows

        def ender(name: str) -> Callable[[Notice], None]:
            def end_of_one(notice: Notice) -> None:
                self.exceeded = self.exceeded or (name, notice)
                end(notice)

            return end_of_one

        await asyncio.gather(
            *(
                spending.follow(
                    each,
                    self._path if each is self._own else None,
                    clock=time.monotonic,
                    done=done,
                    end=ender(each.budget.name),
                    check=self._check,
                )
                for each in self._every
            )
        )

    def replicas_changed(self, count: int, now: float) -> None:
        """Take the number of ready, and billed, replicas."""
        for each in self._every:
            each.replicas_changed(count, now)

    def are_exceeded(self) -> bool:
        """Whether a budget has ended the batch, or a shared one is about to."""
        soon = time.monotonic() + 2 * spending.TICK
        for each in self._shared:
            notice = each.notice(soon, self._done(), None)
            if self.exceeded is None and notice is not None and notice.end:
                self.exceeded = (each.budget.name, notice)
        return self.exceeded is not None

    def report(self, totals: Mapping[str, Any]) -> dict[str, Any] | None:
        """The batch's cost for its report; None before the account has begun.

        :param totals: the counts of the output, with those of earlier runs
        """
        if self._own is None:
            return None
        tokens = totals.get("prompt_tokens", 0) + totals.get("completion_tokens", 0)
        spent = self._own.spent(time.monotonic(), self._done())
        return self._own.report(replace(spent, rows=totals.get("rows", spent.rows)), tokens)

    @property
    def earlier_replica_seconds(self) -> float:
        """What earlier runs of the batch have used."""
        return 0.0 if self._own is None else self._own.before.replica_seconds

    @property
    def _every(self) -> list[Spending]:
        return [*([] if self._own is None else [self._own]), *self._shared]


def spent_by_earlier_runs(job: BatchJob, layout: OutputLayout) -> Spent:
    """The cost of earlier runs, read before an output is overwritten."""
    return spending.load(account_path(layout), job.budget_key)


def account_path(layout: OutputLayout) -> UPath:
    """Where the account of a batch is stored."""
    return layout.journal / "budget.json"
