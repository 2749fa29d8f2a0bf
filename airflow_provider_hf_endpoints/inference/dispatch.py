"""The running batch: rows in, requests out, answers into the journal.

As many workers run as requests may be in flight; each takes a row, sends it, records what came, and takes the
next. A row that has to wait goes into a heap and holds no worker. What a failure means is `verdicts.py`'s to
say, whether the endpoint is to be sent anything `gate.py`'s, and how many at once `concurrency.py`'s.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.concurrency import Limiter, Load
from airflow_provider_hf_endpoints.inference.engines import read_result
from airflow_provider_hf_endpoints.inference.errors import (
    InferenceError,
    InferenceTimeoutError,
    OverloadedError,
)
from airflow_provider_hf_endpoints.inference.gate import Gate
from airflow_provider_hf_endpoints.inference.items import Item, Progress, Tally
from airflow_provider_hf_endpoints.inference.job import BatchJob
from airflow_provider_hf_endpoints.inference.load import read_load
from airflow_provider_hf_endpoints.inference.patience import Patience
from airflow_provider_hf_endpoints.inference.recorder import Recorder
from airflow_provider_hf_endpoints.inference.records import ERROR, Record, row_key
from airflow_provider_hf_endpoints.inference.resume import Resume
from airflow_provider_hf_endpoints.inference.retries import Backoff
from airflow_provider_hf_endpoints.inference.rows import (
    RowId,
    Shape,
    parse_line,
    row_id,
)
from airflow_provider_hf_endpoints.inference.source import Line, LineSource
from airflow_provider_hf_endpoints.inference.steps import Target
from airflow_provider_hf_endpoints.inference.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.verdicts import Verdict, verdict
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

log = logging.getLogger(__name__)

TICK = 0.05  # seconds; how soon a stop is noticed
SKIPPED_AT_A_TIME = 200
#: A row that is refused this many times as often as it may fail, while others get through, fails alone.
REFUSALS_PER_ATTEMPT = 4


class _Skipped:
    """Rows were skipped and there may be more: let others run before going on."""


_SKIPPED = _Skipped()


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
    ) -> None:
        self._job = job
        self._target = target
        self._shape = shape
        self._source = source
        self._resume = resume
        self._transport = transport
        self.limiter = limiter
        self.gate = gate
        self._stop = stop
        self.tally = Tally()
        #: Why the batch ends before its last row.
        self.cause: Exception | None = None
        self.stopped: str | None = None
        self.too_many_errors = False
        self._backoff = Backoff()
        self._patience = Patience(job.request_timeout)
        self._own_route = job.route is not None or job.input_format == "openai-batch"
        self._heap: list[tuple[float, int, Item]] = []
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._filling: asyncio.Task[None] | None = None
        self._workers = 0
        self.in_flight = 0
        self._recorder = Recorder(resume.journal, local=resume.local, interval=job.checkpoint_interval)
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._clock = time.monotonic
        self._started = self._clock()
        resume.emit = self._recorder.add

    async def run(self) -> None:
        """Send every row; everything recorded is durable when this returns, or raises."""
        helpers = [asyncio.create_task(self._recorder.run()), asyncio.create_task(self._watch())]
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
        if self._source.wants_more and self._filling is None:
            self._filling = asyncio.create_task(self._fill())
            self._filling.add_done_callback(self._filled)
        now = self._clock()
        due = 0
        if self._heap:
            due = sum(1 for entry in self._heap[: self.limiter.limit] if entry[0] <= now)
        ready = due + self._source.waiting
        for _ in range(min(self.gate.admits(now, self.limiter.limit, self._workers), ready)):
            self._workers += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._worker_ended)
        if ready == 0 or self._workers == 0:
            self._set_timer(now, ready)
        if self._workers == 0 and not self._heap and self._source.exhausted and self._source.waiting == 0:
            self._ended.set()

    def _set_timer(self, now: float, ready: int) -> None:
        """Wake again when a waiting row is due or the gate may let something through."""
        moments = [self._heap[0][0]] if self._heap else []
        gate = self.gate.opens_at()
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

    async def _fill(self) -> None:
        await self._source.fill()

    def _filled(self, task: asyncio.Task[None]) -> None:
        self._filling = None
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
            item = self._next(now)
            if item is None:
                return
            if isinstance(item, _Skipped):
                await asyncio.sleep(0)
                continue
            await self._attempt(item, now)
            if self._workers < self.limiter.limit:
                self._wake()

    # --- rows

    def _next(self, now: float) -> Item | _Skipped | None:
        """The next row to send: one whose wait is over, or a new one."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[2]
        for _ in range(SKIPPED_AT_A_TIME):
            line = self._source.next_line()
            if line is None:
                return None
            item = self._prepare(line)
            if item is not None or self._ending:
                return item
        return _SKIPPED

    def _prepare(self, line: Line) -> Item | None:
        """The row in a line; None when it is done already, or is an error by itself."""
        identity: RowId | None = None
        job = self._job
        try:
            row = parse_line(line)
            identity = row_id(row, line.place, self._shape.id_column, line.number)
            request = self._shape.render(row)
        except (BatchInputError, InferenceError) as reason:
            error = _with_line(reason, line)
            if job.on_bad_input == "stop":
                self.end(error)
                return None
            key = row_key(b"", line.raw)
            if not self._resume.has(line.place, key):
                self._record(self._shape.fail(line.place, key, identity, error, 0, None))
            else:
                self.tally.resumed += 1
            return None
        named = b"" if self._shape.id_column is None else str(identity).encode("utf-8", "surrogatepass")
        key = row_key(named, request.route.encode() + b" " + request.body)
        if self._resume.has(line.place, key):
            self.tally.resumed += 1
            return None
        columns = {name: row.get(name) for name in job.keep_columns} if job.keep_columns else None
        return Item(line.place, key, identity, request, columns)

    async def _attempt(self, item: Item, now: float) -> None:
        """Send a row once and see what became of it."""
        self.gate.sent(now)
        if item.first_sent == 0.0:
            item.first_sent = now
        else:
            self.tally.retries += 1
        self.tally.requests += 1
        request = HttpRequest("POST", item.request.route, item.request.body, self._patience.timeout(item.attempts))
        self.in_flight += 1
        try:
            response = await self._transport.send(request)
            result = read_result(self._target.dialect, item.request.task, response, item.request.route, fastjson.decode)
            if self._shape.accept is not None:
                result = self._shape.accept(result)
        except InferenceError as error:
            self.in_flight -= 1
            self._failed(item, error.without(self._job.token), now)
        except BaseException:
            self.in_flight -= 1
            raise
        else:
            self.in_flight -= 1
            self._answered(item, result, now, read_load(response.headers))

    def _answered(self, item: Item, result: InferenceResult, sent_at: float, load: Load | None) -> None:
        usage = result.usage
        tokens = (usage.completion_tokens or 0) if usage is not None else 0
        self.tally.tokens += tokens
        self.gate.answered()
        now = self._clock()
        self._patience.answered(now - sent_at)
        self.limiter.answered(now, self.in_flight + 1, float(tokens or 1), sent_at, load)
        self._record(self._shape.answer(item.index, item.key, item.identity, result, item.attempts + 1, item.columns))

    def _failed(self, item: Item, error: InferenceError, sent_at: float) -> None:
        now = self._clock()
        match verdict(error, own_route=self._own_route):
            case Verdict.STOP:
                self.end(error)
            case Verdict.ROW_FAILS:
                self.gate.answered()
                self._give_up(item, error)
            case Verdict.TRY_AGAIN:
                if isinstance(error, InferenceTimeoutError):
                    self.gate.unclear()
                else:
                    self.gate.answered()
                item.attempts += 1
                if item.attempts >= self._job.max_attempts:
                    self._give_up(item, error, counted=True)
                else:
                    self._later(item, now + self._backoff.seconds(item.attempts, error.retry_after))
            case Verdict.NOT_TAKEN:
                self._not_taken(item, error, sent_at, now)

    def _not_taken(self, item: Item, error: InferenceError, sent_at: float, now: float) -> None:
        self.limiter.refused(now, sent_at, self.in_flight)
        self.gate.refused(error, now, self.in_flight)
        if self.gate.closed:
            self.limiter.outage()
            # The endpoint is away for everyone: no row is to blame, and the gate says when to try.
            self._later(item, now)
            return
        item.refusals += 1
        too_often = item.refusals > REFUSALS_PER_ATTEMPT * self._job.max_attempts
        if (too_often and not isinstance(error, OverloadedError)) or now - item.first_sent > self._job.row_timeout:
            self._give_up(item, error)
        else:
            self._later(item, now + self._backoff.seconds(item.refusals, error.retry_after))

    def _later(self, item: Item, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), item))

    def _give_up(self, item: Item, error: InferenceError, *, counted: bool = False) -> None:
        kind = error.kind
        self.tally.errors[kind] = self.tally.errors.get(kind, 0) + 1
        attempts = item.attempts if counted else item.attempts + 1
        self._record(self._shape.fail(item.index, item.key, item.identity, error, attempts, item.columns))

    def _record(self, record: Record) -> None:
        """A row is finished, well or badly."""
        self._recorder.add(record)
        self.tally.done += 1
        if record.flags & ERROR:
            self.tally.failed += 1
            self._check_error_rate()

    def _check_error_rate(self) -> None:
        job, tally = self._job, self.tally
        if job.max_error_rate is None or tally.done < job.max_error_rate_after:
            return
        if tally.failed > job.max_error_rate * tally.done:
            self.too_many_errors = self.too_many_errors or not self._ending
            self.end(stopped=f"{tally.failed} of {tally.done} rows failed, more than max_error_rate allows")

    # --- watching

    async def _watch(self) -> None:
        """Notice a stop, the end of the job's time, an endpoint that does not come, and say how far the batch
        is."""
        next_line = self._clock() + self._job.progress_interval
        progress = Progress(self._clock(), await asyncio.to_thread(self._source.count))
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            if self._stop():
                self.end(stopped="asked to stop")
            elif now - self._started > self._job.job_timeout:
                self.end(stopped=f"job_timeout of {self._job.job_timeout:g} s is over")
            elif self.gate.gave_up(now):
                self.end(self.gate.last_error)
            if now >= next_line:
                next_line = now + self._job.progress_interval
                state = "waiting for the endpoint" if self.gate.closed else self.limiter.reason
                flight = f"{self.in_flight} in flight of {self.limiter.limit} ({state})"
                busy = f"{flight}, {len(self._heap)} to be tried again"
                log.info("%s", progress.line(self.tally, now, busy))


def _with_line(error: BatchInputError | InferenceError, line: Line) -> BatchInputError:
    """The error with the line's number in its words, where it does not stand there yet."""
    if isinstance(error, BatchInputError) and f"line {line.number} " in str(error):
        return error
    return BatchInputError(f"line {line.number}: {error}")
