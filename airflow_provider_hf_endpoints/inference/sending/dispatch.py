"""The workers of a running batch: one per request in flight. Each sends one parcel after another.

A worker takes a parcel whose retry is due, or else the next one of the feed, makes an attempt at it
(`attempts.py`), and takes the next. How many workers there may be is decided in `limit/pace.py`.
"""

from __future__ import annotations

import asyncio
import time

from airflow_provider_hf_endpoints.inference.limit.pace import Pace
from airflow_provider_hf_endpoints.inference.sending.attempts import Attempts
from airflow_provider_hf_endpoints.inference.sending.feed import Feed, Skipped
from airflow_provider_hf_endpoints.inference.sending.hedging import Hedging
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel
from airflow_provider_hf_endpoints.inference.sending.retries import RetryQueue
from airflow_provider_hf_endpoints.inference.sending.state import Ending


class Dispatcher:
    """The workers: `start` them, `drain` them at the end, `cancel` the rest.

    :param feed: gives out new parcels
    :param queue: gives out parcels to send again
    :param hedging: decides what to send a second time, None for nothing
    """

    def __init__(
        self, feed: Feed, queue: RetryQueue, attempts: Attempts, hedging: Hedging | None, pace: Pace, ending: Ending
    ) -> None:
        self._feed = feed
        self._queue = queue
        self._attempts = attempts
        self._hedging = hedging
        self._pace = pace
        self._ending = ending
        self._workers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._filling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._clock = time.monotonic

    def start(self) -> None:
        """Begin to send. The ending shows when every row is recorded, or why the batch had to stop."""
        self._wake()

    async def drain(self, timeout: float) -> None:
        """Wait for the requests in flight, for so many seconds at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel the remaining workers. The caller waits for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        return tasks

    def hedge(self, now: float) -> None:
        """Send slow rows a second time, before all other rows."""
        if self._hedging is None or self._ending.over:
            return
        flights = self._hedging.due(now, closed=self._pace.gate.closed, limit=self._pace.limiter.limit)
        for flight in flights:
            self._queue.add(flight, now)
        if flights:
            self._wake()

    def _wake(self) -> None:
        """Start workers up to the limit, and check whether everything is done."""
        if self._ending.over:
            return
        self._read_ahead()
        now = self._clock()
        ready = self._queue.due(now, self._pace.limiter.limit) + self._feed.waiting
        for _ in range(min(self._pace.admits(now, self._workers), ready)):
            self._workers += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._worker_ended)
        if ready == 0 or self._workers == 0 or self._pace.opens_at(now) > now:
            self._set_timer(now, ready)
        if self._workers == 0 and not self._queue and self._feed.empty:
            self._ending.end()

    def _set_timer(self, now: float, ready: int) -> None:
        """Wake again when a waiting row is due, or the gate may open."""
        gate = self._pace.opens_at(now)
        due = self._queue.next_due
        moment = gate if ready and gate > now else None if due is None else max(due, gate)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            delay = max(0.001, moment - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _read_ahead(self) -> None:
        if self._filling is None and self._feed.wants_more:
            self._filling = asyncio.create_task(self._feed.fill())
            self._filling.add_done_callback(self._filled)

    def _filled(self, task: asyncio.Task[None]) -> None:
        self._filling = None
        self._feed.count_skipped()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._ending.end_early(error if isinstance(error, Exception) else RuntimeError(str(error)))
        self._wake()

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._workers -= 1
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                # A worker handles every failure of a request. Any other exception is a problem of the batch itself.
                self._ending.end_early(error)
        self._wake()

    async def _work(self) -> None:
        while not self._ending.over:
            now = self._clock()
            if self._pace.admits(now, self._attempts.in_flight) <= 0:
                return
            parcel = self._next(now)
            if parcel is None:
                return
            if isinstance(parcel, Skipped):
                await asyncio.sleep(0)
                continue
            self._read_ahead()
            await self._attempts.make(parcel, now)
            if self._workers < self._pace.limiter.limit:
                self._wake()

    def _next(self, now: float) -> Parcel | Skipped | None:
        """The next parcel: one that is due again, or a new one."""
        while (waited := self._queue.take(now)) is not None:
            if isinstance(waited, Parcel):
                return waited
            if self._hedging is not None and self._hedging.is_out(waited) and not self._pace.gate.closed:
                return waited.parcel
        return self._feed.next()
