"""The running batch: rows in, requests out, answers into the journal.

As many workers run as requests may be in flight; each takes what `feed.py` has next, sends it, records what came, and
takes the next. What has to wait goes into a heap and holds no worker. What a failure means is `verdicts.py`'s to
say, whether the endpoint is to be sent anything `gate.py`'s, and how many at once `concurrency.py`'s.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable

from airflow_provider_hf_endpoints.inference import fastjson, scrape
from airflow_provider_hf_endpoints.inference.arrays import MOST_ROWS, USUAL_ROWS, ArraySize, parts_of
from airflow_provider_hf_endpoints.inference.concurrency import Limiter, Load
from airflow_provider_hf_endpoints.inference.dead_letters import with_letter
from airflow_provider_hf_endpoints.inference.engines import read_result
from airflow_provider_hf_endpoints.inference.errors import (
    InferenceError,
    InferenceTimeoutError,
    OverloadedError,
    RetryBudgetError,
)
from airflow_provider_hf_endpoints.inference.feed import Feed, Skipped
from airflow_provider_hf_endpoints.inference.gate import Gate
from airflow_provider_hf_endpoints.inference.hedging import Flight, Hedging
from airflow_provider_hf_endpoints.inference.items import Parcel, Tally
from airflow_provider_hf_endpoints.inference.job import BatchJob
from airflow_provider_hf_endpoints.inference.load import read_load
from airflow_provider_hf_endpoints.inference.patience import Patience
from airflow_provider_hf_endpoints.inference.progress import Observer, Progress, first_words
from airflow_provider_hf_endpoints.inference.recorder import Recorder
from airflow_provider_hf_endpoints.inference.records import ERROR, Record, line_hasher
from airflow_provider_hf_endpoints.inference.resume import Resume
from airflow_provider_hf_endpoints.inference.retries import Backoff, RetryBudget
from airflow_provider_hf_endpoints.inference.rows import Shape
from airflow_provider_hf_endpoints.inference.scrape import Scraper
from airflow_provider_hf_endpoints.inference.source import LineSource
from airflow_provider_hf_endpoints.inference.steps import Target
from airflow_provider_hf_endpoints.inference.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.verdicts import Verdict, on_budget, verdict
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, WireResponse

log = logging.getLogger(__name__)

TICK = 0.05  # seconds; how soon a stop is noticed
TOO_LONG = ("prompt_too_long", "payload_too_large")  # kinds of errors
#: A row that is refused this many times as often as it may fail, while others get through, fails alone.
REFUSALS_PER_ATTEMPT = 4


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
        self._arrays = arrays = job.array_form(target)
        wanted = target.most_inputs or USUAL_ROWS if job.rows_per_request == "auto" else job.rows_per_request
        self._array_size = ArraySize(min(wanted, MOST_ROWS) if job.rows_per_request == "auto" else wanted)
        self._line_key = line_hasher(job.seed(target))
        self._feed = Feed(
            job,
            shape,
            source,
            resume,
            self.tally,
            alike=arrays is None and target.engine != "llamacpp",
            arrays=arrays,
            size=self._array_size,
            line_key=self._line_key,
            record=self._record,
            refuse=self.end,
        )
        #: Why the batch ends before its last row.
        self.cause: Exception | None = None
        self.stopped: str | None = None
        self.too_many_errors = False
        self._backoff = Backoff()
        self._budget = RetryBudget(job.retry_budget)
        self._patience = Patience(job.request_timeout)
        self._hedging = None if job.hedge_after is None else Hedging(job.hedge_after)
        self._own_route = job.route is not None or job.input_format == "openai-batch"
        self._heap: list[tuple[float, int, Parcel | Flight]] = []
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: dict[asyncio.Task[None], tuple[float, int]] = {}  # sent at, failures before
        self._filling: asyncio.Task[None] | None = None
        self._workers = 0
        self.in_flight = 0
        self._told = False  # an answer has said how many requests wait
        self._recorder = Recorder(resume.journal, local=resume.local, interval=job.checkpoint_interval)
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._clock = time.monotonic
        self._started = self._clock()
        self.progress = Progress(self._started, observer)
        resume.emit = self._recorder.add
        source.skips = resume.skipper(self._line_key)

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

    def end(self, cause: Exception | None = None, stopped: str | None = None) -> None:
        """Send nothing more; the first reason given counts."""
        if self.cause is None and self.stopped is None:
            self.cause, self.stopped = cause, stopped
        self._ended.set()

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
        due = 0
        if self._heap:
            due = sum(1 for entry in self._heap[: self.limiter.limit] if entry[0] <= now)
        ready = due + self._feed.waiting
        for _ in range(min(self.gate.admits(now, self.limiter.limit, self._workers), ready)):
            self._workers += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._worker_ended)
        if ready == 0 or self._workers == 0 or self.gate.opens_at(now) > now:
            self._set_timer(now, ready)
        if self._workers == 0 and not self._heap and self._feed.empty:
            self._ended.set()

    def _set_timer(self, now: float, ready: int) -> None:
        """Wake again when a waiting row is due or the gate may let something through."""
        moments = [self._heap[0][0]] if self._heap else []
        gate = self.gate.opens_at(now)
        if ready and gate > now:
            moments = [gate]
        elif moments:
            moments = [max(moments[0], gate)]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moments:
            delay = max(0.001, moments[0] - now)
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
        while self._heap and self._heap[0][0] <= now:
            waited = heapq.heappop(self._heap)[2]
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
                self._lost(parcel, error.without(self._job.token), now)
            else:
                self._failed(parcel, error.without(self._job.token), now)
        except BaseException:
            self.in_flight -= 1
            raise
        else:
            self.in_flight -= 1
            if self._hedging is not None and task is not None:
                self._hedging.answered(parcel, self._clock() - now, task)
            self._answered(parcel, result, now, read_load(response.headers))

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
            if task in self._early:
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

    def _answered(self, parcel: Parcel, results: list[InferenceResult], sent_at: float, load: Load | None) -> None:
        tokens = 0
        for result in results:
            if result.usage is not None:
                tokens += result.usage.completion_tokens or 0
                self.tally.prompt_tokens += result.usage.prompt_tokens or 0
        self.tally.tokens += tokens
        self.gate.answered()
        now = self._clock()
        self._patience.answered(now - sent_at)
        self.progress.answered(now - sent_at)
        self._told = self._told or load is not None
        self.limiter.answered(now, self.in_flight + 1, float(tokens or len(results)), sent_at, load)
        self._array_size.answered(len(results))
        for row, result in zip(parcel.rows, results, strict=True):
            record = self._shape.answer(row.index, row.key, row.identity, result, row.attempts, row.columns)
            self._record(record, row.line_key)

    def _failed(self, parcel: Parcel, error: InferenceError, sent_at: float) -> None:
        now = self._clock()
        self.tally.faults[error.kind] = self.tally.faults.get(error.kind, 0) + 1
        self.tally.first_words.setdefault(error.kind, first_words(error.words or error.what))
        match verdict(error, own_route=self._own_route):
            case Verdict.STOP:
                self.end(error)
            case Verdict.ROW_FAILS:
                self.gate.answered()
                if not self._split(parcel, error, now):
                    self._give_up(parcel, error)
            case Verdict.TRY_AGAIN:
                if isinstance(error, InferenceTimeoutError):
                    self.gate.unclear()
                else:
                    self.gate.answered()
                due = now + self._backoff.seconds(parcel.failures + 1, error.retry_after)
                if not self._split(parcel, error, due):
                    parcel.failures += 1
                    if parcel.failures >= self._job.max_attempts:
                        self._give_up(parcel, error)
                    else:
                        self._again(parcel, error, due)
            case Verdict.NOT_TAKEN:
                self._not_taken(parcel, error, sent_at, now)

    def _lost(self, parcel: Parcel, error: InferenceError, sent_at: float) -> None:
        """One of two requests for a parcel failed: what becomes of its rows is for the other to say."""
        now = self._clock()
        match verdict(error, own_route=self._own_route):
            case Verdict.STOP:
                self.end(error)
            case Verdict.NOT_TAKEN:
                for row in parcel.rows:
                    row.attempts -= 1
                self.limiter.refused(now, sent_at, self.in_flight)
                self.gate.refused(error, now, self.in_flight, sent_at)
            case _:
                self.gate.unclear()

    def _hedge(self, now: float) -> None:
        """Have rows that take too long sent once more, before any others."""
        if self._hedging is None or self._ending:
            return
        flights = self._hedging.due(now, closed=self.gate.closed, limit=self.limiter.limit)
        for flight in flights:
            heapq.heappush(self._heap, (now, next(self._order), flight))
        if flights:
            self._wake()

    def _split(self, parcel: Parcel, error: InferenceError, due: float) -> bool:
        """Send an array that failed in parts; false for a row that is alone, whose failure is its own."""
        if self._arrays is None or len(parcel.rows) == 1:
            return False
        self._array_size.failed(parcel, error)
        for part in parts_of(self._arrays, parcel, self._array_size.rows):
            self._later(part, due)
        return True

    def _not_taken(self, parcel: Parcel, error: InferenceError, sent_at: float, now: float) -> None:
        for row in parcel.rows:
            row.attempts -= 1  # nobody worked on it
        self.limiter.refused(now, sent_at, self.in_flight)
        self.gate.refused(error, now, self.in_flight, sent_at)
        if self.gate.closed:
            if self.in_flight == 0:
                self.limiter.outage()
            # The endpoint is away for everyone: no row is to blame, and the gate says when to try.
            self._later(parcel, now)
            return
        parcel.refusals += 1
        too_often = parcel.refusals > REFUSALS_PER_ATTEMPT * self._job.max_attempts
        if (too_often and not isinstance(error, OverloadedError)) or now - parcel.first_sent > self._job.row_timeout:
            if not self._split(parcel, error, now):
                self._give_up(parcel, error)
        else:
            self._again(parcel, error, now + self._backoff.seconds(parcel.refusals, error.retry_after))

    def _again(self, parcel: Parcel, error: InferenceError, due: float) -> None:
        """Send it once more, as long as the batch's budget for that lasts."""
        self._later(parcel, due)
        if on_budget(error) and not self._budget.spend(self.tally.begun, self.limiter.limit):
            kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.tally.faults.items()))
            words = f"{self._budget.spent} repeated requests for {self.tally.begun} rows ({kinds}); the last: {error}"
            self.end(RetryBudgetError(words))

    def _later(self, parcel: Parcel, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), parcel))

    def _give_up(self, parcel: Parcel, error: InferenceError) -> None:
        self.tally.errors[error.kind] = self.tally.errors.get(error.kind, 0) + len(parcel.rows)
        for row in parcel.rows:
            record = self._shape.fail(row.index, row.key, row.identity, error, row.attempts, row.columns)
            self._record(with_letter(record, row.line), row.line_key)

    def _record(self, record: Record, line_key: int) -> None:
        """A row is finished, well or badly."""
        self._recorder.add(record, line_key)
        self.tally.done += 1
        if record.flags & ERROR:
            self.tally.failed += 1
            self._check_error_rate()

    def _check_error_rate(self) -> None:
        job, tally = self._job, self.tally
        if job.max_error_rate is None or tally.done < job.max_error_rate_after:
            return
        failed = tally.failed
        if tally.done < job.order_window:
            # What is long is sent first: that much of it fails says nothing yet about the rest.
            failed -= sum(tally.errors.get(kind, 0) for kind in TOO_LONG)
        if failed > job.max_error_rate * tally.done:
            self.too_many_errors = self.too_many_errors or not self._ending
            self.end(stopped=f"{tally.failed} of {tally.done} rows failed, more than max_error_rate allows")

    # --- watching

    async def _look(self) -> None:
        """Look at the engine's metrics, where the limit is to be found and answers do not tell the queue."""
        scraper = Scraper()
        while self._job.max_concurrency == "auto" and not self._told and not scraper.given_up:
            await asyncio.sleep(scrape.INTERVAL)
            if self._told or self.gate.closed or self._ending:
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
                busy = f"{flight}, {len(self._heap)} to be tried again"
                log.info("%s", self.progress.line(self.tally, now, busy))
                self._observe()

    @property
    def _state(self) -> str:
        return "waiting for the endpoint" if self.gate.closed else self.limiter.reason

    def _observe(self) -> None:
        self.progress.observe(self.tally, self._clock(), self.in_flight, self.limiter.limit, self._state)
