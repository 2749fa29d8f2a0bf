"""Checks while a batch runs: whether it must end early, which rows take too long, what the engine's metrics
report, and every few seconds the progress.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.engines import scrape
from airflow_provider_hf_endpoints.inference.engines.scrape import Scraper
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.limit.pace import Pace
from airflow_provider_hf_endpoints.inference.sending.attempts import Attempts
from airflow_provider_hf_endpoints.inference.sending.outcomes import Outcomes
from airflow_provider_hf_endpoints.inference.sending.progress import Progress, WaitLog
from airflow_provider_hf_endpoints.inference.sending.retries import RetryQueue
from airflow_provider_hf_endpoints.inference.sending.state import Ending, Tally

log = logging.getLogger(__name__)

TICK = 0.05  # seconds until a stop is noticed


@dataclass(frozen=True, slots=True)
class WatchRules:
    """When a batch ends early, and how often it reports.

    :param why_stop: called every few milliseconds; why to stop, in words, None to continue
    :param progress_interval: seconds between two lines in the log
    :param host: of the endpoint
    """

    why_stop: Callable[[], str | None]
    progress_interval: float
    host: str = ""


class Status:
    """The progress of a batch, for its log and its observer.

    :param queue: parcels to send again
    """

    def __init__(self, progress: Progress, tally: Tally, pace: Pace, attempts: Attempts, queue: RetryQueue) -> None:
        self.progress = progress
        self._tally = tally
        self._pace = pace
        self._attempts = attempts
        self._queue = queue
        self._clock = time.monotonic

    def tell(self, now: float) -> None:
        """Log a line, and give the observer a snapshot."""
        flight = f"{self._attempts.in_flight} in flight of {self._pace.limiter.limit} ({self._pace.state})"
        busy = f"{flight}, {len(self._queue)} waiting for a retry"
        log.info("%s", self.progress.line(self._tally, now, busy))
        self.observe()

    def observe(self) -> None:
        """Give the observer a snapshot."""
        limit = self._pace.limiter.limit
        self.progress.observe(self._tally, self._clock(), self._attempts.in_flight, limit, self._pace.state)


class BatchWatch:
    """Checks every few milliseconds while a batch runs.

    :param status: reports the progress
    :param on_tick: called with the time at each check
    """

    def __init__(
        self,
        rules: WatchRules,
        pace: Pace,
        ending: Ending,
        status: Status,
        on_tick: Sequence[Callable[[float], None]] = (),
    ) -> None:
        self._rules = rules
        self._pace = pace
        self._ending = ending
        self._status = status
        self._on_tick = on_tick
        self._clock = time.monotonic
        self._wait_log = WaitLog(rules.host)

    async def run(self, count_rows: Callable[[], int | None]) -> None:
        """Check until cancelled.

        :param count_rows: returns the rows of the input, None if counting is too slow; called in a thread
        """
        interval, progress = self._rules.progress_interval, self._status.progress
        next_line = self._clock() + interval
        progress.total = await asyncio.to_thread(count_rows)
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            progress.limited(self._pace.limiter.limit)
            for look in self._on_tick:
                look(now)
            self._end_in_time(now)
            if now >= next_line:
                next_line = now + interval
                self._status.tell(now)

    def _end_in_time(self, now: float) -> None:
        """End the batch if it has to stop, or if the endpoint does not become ready."""
        gate, why = self._pace.gate, self._rules.why_stop()
        if why is not None:
            self._ending.end_early(stopped=why)
        elif gate.gave_up(now):
            self._ending.end_early(gate.last_error)
        elif gate.gives_up_at is None or gate.last_error is None:
            self._wait_log.over()
        else:
            self._wait_log.note(gate.last_error, now, gate.gives_up_at)


async def watch_metrics(transport: Transport, pace: Pace, outcomes: Outcomes, ending: Ending) -> None:
    """Give the limiter the engine's metrics, as long as the answers do not report the queue."""
    scraper = Scraper()
    while not outcomes.queue_told and not scraper.given_up:
        await asyncio.sleep(scrape.INTERVAL)
        if outcomes.queue_told or pace.gate.closed or ending.over:
            continue
        try:
            answer = await transport.send(HttpRequest("GET", scrape.ROUTE, b"", scrape.TIMEOUT))
        except Exception as error:  # noqa: BLE001 - whatever it is: rows will tell what is wrong
            log.debug("could not read the engine's metrics: %s", error)
            continue
        now = time.monotonic()
        scraper.saw(now, answer.status, answer.body.decode("utf-8", "replace"))
        pace.limiter.saw(scraper.load(now))
