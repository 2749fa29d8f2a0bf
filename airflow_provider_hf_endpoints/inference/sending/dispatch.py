"""The running batch: as many workers as requests may be in flight, each of which sends row after row.

A worker takes what `feed.py` has next, or what has waited long enough (`retry_queue.py`), sends it, hands what came to
`outcomes.py`, and takes the next. Whether the endpoint is to be sent anything is `limit/gate.py`'s to say, and how many
at once `limit/limiter.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import read_result, scrape
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.load import read_load
from airflow_provider_hf_endpoints.inference.engines.scrape import Scraper
from airflow_provider_hf_endpoints.inference.errors import InferenceError, InferenceTimeoutError
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.journal.recorder import Recorder
from airflow_provider_hf_endpoints.inference.journal.records import line_hasher
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.sending.arrays import ArraySize, array_form
from airflow_provider_hf_endpoints.inference.sending.feed import Feed, Skipped
from airflow_provider_hf_endpoints.inference.sending.hedging import Hedging
from airflow_provider_hf_endpoints.inference.sending.outcomes import Outcomes
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel, Tally
from airflow_provider_hf_endpoints.inference.sending.progress import Observer, Progress
from airflow_provider_hf_endpoints.inference.sending.retry_queue import Waiting
from airflow_provider_hf_endpoints.inference.sending.shape import Shape
from airflow_provider_hf_endpoints.inference.sending.timeouts import Patience
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireResponse

log = logging.getLogger(__name__)

TICK = 0.05  # seconds; how soon a stop is noticed


class Dispatcher:
    """One run of a batch; `run` returns when every row is recorded, or when the batch had to stop.

    :param stop: asked every few milliseconds whether to stop
    """

    def __init__(
        self,
        job: BatchJob,
        target: Target,
        shape: Shape,
        source: LineSource,
        resume: Resume,
        transport: Transport,
        limiter: Limiter,
        gate: Gate,
        stop: Callable[[], bool],
        observer: Observer | None = None,
    ) -> None:
        self._job = job
        self._target = target
        self._shape = shape
        self._source = source
        self._transport = transport
        self.limiter = limiter
        self.gate = gate
        self._stop = stop
        self.tally = Tally()
        #: Why the batch ends before its last row.
        self.cause: Exception | None = None
        self.stopped: str | None = None
        self.in_flight = 0
        self._workers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: dict[asyncio.Task[None], tuple[float, int]] = {}  # sent at, failures before
        self._filling: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._clock = time.monotonic
        self._started = self._clock()
        self.progress = Progress(self._started, observer)
        self._waiting = Waiting()
        self._patience = Patience(job.request_timeout)
        self._hedging = None if job.hedge_after is None else Hedging(job.hedge_after)
        self._recorder = Recorder(resume.journal, local=resume.local, interval=job.checkpoint_interval)
        self._arrays = array_form(shape.frame, job.task, target, job.rows_per_request)
        self._take_in(resume, ArraySize.of(job.rows_per_request, target.most_inputs))

    def _take_in(self, resume: Resume, size: ArraySize) -> None:
        """Join what rows come from to what becomes of them."""
        self._outcomes = Outcomes(
            self._job,
            self._shape,
            self.tally,
            self.limiter,
            self.gate,
            arrays=self._arrays,
            size=size,
            waiting=self._waiting,
            patience=self._patience,
            progress=self.progress,
            keep=self._recorder.add,
            end=self.end,
        )
        line_key = line_hasher(self._job.fingerprint_of_requests(self._target))
        resume.emit = self._recorder.add
        self._source.skips = resume.skipper(line_key)
        self._feed = Feed(
            self._job,
            self._shape,
            self._source,
            resume,
            self.tally,
            alike=self._arrays is None and self._target.engine != "llamacpp",
            arrays=self._arrays,
            size=size,
            line_key=line_key,
            record=self._outcomes.record,
            refuse=self.end,
        )

    async def run(self) -> None:
        """Send every row; everything recorded is durable when this returns, or raises."""
        helpers = [asyncio.create_task(each) for each in (self._recorder.run(), self._watch(), self._look())]
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        try:
            self._wake()
            await self._ended.wait()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._job.drain_timeout)
        finally:
            self._ended.set()  # when this coroutine is cancelled: no worker may follow those that end now
            for task in [*helpers, *self._tasks]:
                task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            # Not awaited one by one: a cancelled run must still reach the flush below.
            if helpers or self._tasks:
                await asyncio.gather(*helpers, *self._tasks, return_exceptions=True)
            self._recorder.flush()
            self._observe()

    def _helper_ended(self, task: asyncio.Task[None]) -> None:
        """Without a helper the batch would run blind, so it ends; a helper that was cancelled did its work."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.end(error)

    def end(self, cause: Exception | None = None, stopped: str | None = None) -> bool:
        """Send nothing more; the first reason given counts, and whoever gives it is told so."""
        first = self.cause is None and self.stopped is None
        if first:
            self.cause, self.stopped = cause, stopped
        self._ended.set()
        return first

    @property
    def too_many_errors(self) -> bool:
        """Whether the batch ends because so many rows failed."""
        return self._outcomes.too_many_errors

    @property
    def _ending(self) -> bool:
        return self._ended.is_set()

    # --- workers

    def _wake(self) -> None:
        """Bring the number of workers up to what may run, and see whether everything is done."""
        if self._ending:
            return
        self._fill_up()
        now = self._clock()
        ready = self._waiting.due(now, self.limiter.limit) + self._feed.waiting
        for _ in range(min(self.gate.admits(now, self.limiter.limit, self._workers), ready)):
            self._workers += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._worker_ended)
        if ready == 0 or self._workers == 0 or self.gate.opens_at(now) > now:
            self._set_timer(now, ready)
        if self._workers == 0 and not self._waiting and self._feed.empty:
            self._ended.set()

    def _set_timer(self, now: float, ready: int) -> None:
        """Wake again when a waiting row is due or the gate may let something through."""
        gate = self.gate.opens_at(now)
        due = self._waiting.next_due
        moment = gate if ready and gate > now else None if due is None else max(due, gate)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            delay = max(0.001, moment - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _fill_up(self) -> None:
        if self._source.wants_more and self._filling is None:
            self._filling = asyncio.create_task(self._source.fill())
            self._filling.add_done_callback(self._filled)

    def _filled(self, task: asyncio.Task[None]) -> None:
        self._filling = None
        self._feed.count_skipped()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.end(error if isinstance(error, Exception) else RuntimeError(str(error)))
        self._wake()

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._workers -= 1
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                # A worker handles every failure of a request; what comes out of it is the batch's own
                # trouble.
                self.end(error)
        self._wake()

    async def _work(self) -> None:
        while not self._ending:
            now = self._clock()
            if self.gate.admits(now, self.limiter.limit, self.in_flight) <= 0:
                return
            parcel = self._next(now)
            if parcel is None:
                return
            if isinstance(parcel, Skipped):
                await asyncio.sleep(0)
                continue
            self._fill_up()
            await self._attempt(parcel, now)
            if self._workers < self.limiter.limit:
                self._wake()

    # --- rows

    def _next(self, now: float) -> Parcel | Skipped | None:
        """What to send next: what has waited long enough, or what is new."""
        while (waited := self._waiting.take(now)) is not None:
            if isinstance(waited, Parcel):
                return waited
            if self._hedging is not None and self._hedging.is_out(waited) and not self.gate.closed:
                return waited.parcel
        return self._feed.next()

    async def _attempt(self, parcel: Parcel, now: float) -> None:
        """Send a parcel once and see what became of it."""
        self.gate.sent(now)
        if parcel.first_sent == 0.0:
            parcel.first_sent = now
            self.tally.begun += len(parcel.rows)
        else:
            self.tally.retries += 1
        self.tally.requests += 1
        for row in parcel.rows:
            row.attempts += 1
        task = asyncio.current_task() if self._hedging is not None else None
        if self._hedging is not None and task is not None:
            self.tally.hedges += self._hedging.sent(parcel, now, task)
        route, body, _ = parcel.request
        request = HttpRequest("POST", route, body, self._patience.timeout(parcel.failures))
        self.in_flight += 1
        try:
            response = await self._sent(request, parcel, now)
            result = self._read(parcel, response)
        except InferenceError as error:
            self.in_flight -= 1
            if self._hedging is not None and task is not None and self._hedging.failed(parcel, task):
                self._outcomes.lost(parcel, error.without(self._job.token), now, self.in_flight)
            else:
                self._outcomes.failed(parcel, error.without(self._job.token), now, self.in_flight)
        except BaseException:
            self.in_flight -= 1
            raise
        else:
            self.in_flight -= 1
            if self._hedging is not None and task is not None:
                self._hedging.answered(parcel, self._clock() - now, task)
            self._outcomes.answered(parcel, result, now, read_load(response.headers), self.in_flight)

    async def _sent(self, request: HttpRequest, parcel: Parcel, now: float) -> WireResponse:
        """The answer. What was sent before anybody knew how long answers take is given up once that is known."""
        if self._patience.learnt:
            return await self._transport.send(request)
        task = asyncio.current_task()
        assert task is not None
        self._early[task] = (now, parcel.failures)
        try:
            return await self._transport.send(request)
        except asyncio.CancelledError:
            # More than one asked: the batch ends, or the row's other request was answered meanwhile.
            if task in self._early or task.cancelling() > 1:
                raise
            task.uncancel()
            raise InferenceTimeoutError(f"none within {self._clock() - now:.0f} s", path=request.route) from None
        finally:
            self._early.pop(task, None)

    def _give_up_early_ones(self, now: float) -> None:
        if self._early and self._patience.learnt:
            for task, (sent_at, failures) in list(self._early.items()):
                if now - sent_at > self._patience.timeout(failures):
                    del self._early[task]
                    task.cancel()

    def _read(self, parcel: Parcel, response: WireResponse) -> list[InferenceResult]:
        """The answer to each row of a parcel."""
        route, _, task = parcel.request
        result = read_result(self._target.dialect, task, response, route, fastjson.decode)
        if self._arrays is not None:
            return self._arrays.split(parcel.rows, result)
        return [result if self._shape.accept is None else self._shape.accept(result)]

    def _hedge(self, now: float) -> None:
        """Have rows that take too long sent once more, before any others."""
        if self._hedging is None or self._ending:
            return
        flights = self._hedging.due(now, closed=self.gate.closed, limit=self.limiter.limit)
        for flight in flights:
            self._waiting.add(flight, now)
        if flights:
            self._wake()

    # --- watching

    async def _look(self) -> None:
        """Look at the engine's metrics, where the limit is to be found and answers do not tell the queue."""
        scraper = Scraper()
        while self._job.max_concurrency == "auto" and not self._outcomes.told and not scraper.given_up:
            await asyncio.sleep(scrape.INTERVAL)
            if self._outcomes.told or self.gate.closed or self._ending:
                continue
            try:
                answer = await self._transport.send(HttpRequest("GET", scrape.ROUTE, b"", scrape.TIMEOUT))
            except InferenceError:
                continue  # rows will tell what is wrong
            scraper.saw(self._clock(), answer.status, answer.body.decode("utf-8", "replace"))
            self.limiter.saw(scraper.load(self._clock()))

    async def _watch(self) -> None:
        """Notice a stop, the end of the job's time, an endpoint that does not come, and say how far the batch
        is."""
        next_line = self._clock() + self._job.progress_interval
        self.progress.total = await asyncio.to_thread(self._source.count)
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            self._hedge(now)
            self.progress.limited(self.limiter.limit)
            self._give_up_early_ones(now)
            if self._stop():
                self.end(stopped="asked to stop")
            elif now - self._started > self._job.job_timeout:
                self.end(stopped=f"job_timeout of {self._job.job_timeout:g} s is over")
            elif self.gate.gave_up(now):
                self.end(self.gate.last_error)
            if now >= next_line:
                next_line = now + self._job.progress_interval
                flight = f"{self.in_flight} in flight of {self.limiter.limit} ({self._state})"
                busy = f"{flight}, {len(self._waiting)} to be tried again"
                log.info("%s", self.progress.line(self.tally, now, busy))
                self._observe()

    @property
    def _state(self) -> str:
        return "waiting for the endpoint" if self.gate.closed else self.limiter.reason

    def _observe(self) -> None:
        self.progress.observe(self.tally, self._clock(), self.in_flight, self.limiter.limit, self._state)
