"""The sending of a run, joined from its parts: turns the job's settings into the values that each part takes.

What each part does is in `sending/`. Here are only their connections, and what runs beside the workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.http.address import host_of
from airflow_provider_hf_endpoints.inference.http.transport import Transport
from airflow_provider_hf_endpoints.inference.inputs.lines import Line, parse_line
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.journal.recorder import Recorder
from airflow_provider_hf_endpoints.inference.journal.records import line_hasher
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.limit.pace import Pace
from airflow_provider_hf_endpoints.inference.media.reading import MediaReader
from airflow_provider_hf_endpoints.inference.media.stamps import Stamper
from airflow_provider_hf_endpoints.inference.media.values import Medium
from airflow_provider_hf_endpoints.inference.requests.arrays import array_form
from airflow_provider_hf_endpoints.inference.requests.render import Render
from airflow_provider_hf_endpoints.inference.runs.shape import Shape
from airflow_provider_hf_endpoints.inference.runs.stops import WhyStop
from airflow_provider_hf_endpoints.inference.sending.attempts import AnswerReader, Attempts, Exchange
from airflow_provider_hf_endpoints.inference.sending.dispatch import Dispatcher
from airflow_provider_hf_endpoints.inference.sending.feed import Feed, RowForm, RowReader
from airflow_provider_hf_endpoints.inference.sending.finished import ErrorRate, FinishedRows, RecordForm
from airflow_provider_hf_endpoints.inference.sending.hedging import Hedging
from airflow_provider_hf_endpoints.inference.sending.ordering import OrderWindow
from airflow_provider_hf_endpoints.inference.sending.outcomes import Outcomes
from airflow_provider_hf_endpoints.inference.sending.parcels import ArraySize, Packing
from airflow_provider_hf_endpoints.inference.sending.progress import Progress
from airflow_provider_hf_endpoints.inference.sending.retries import RetryPolicy, RetryQueue
from airflow_provider_hf_endpoints.inference.sending.state import Ending, Tally
from airflow_provider_hf_endpoints.inference.sending.timeouts import AdaptiveTimeout
from airflow_provider_hf_endpoints.inference.sending.watch import BatchWatch, Status, WatchRules, watch_metrics

Helper = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Engine:
    """The endpoint's engine, and how to use it.

    :param transport: carries requests to it
    :param target: its dialect and its model
    :param shape: the form of its requests and results
    """

    transport: Transport
    target: Target
    shape: Shape


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the rows of one run.

    :param beside: tasks that run beside the workers, until these have ended
    :param drain_timeout: seconds for requests in flight if the batch must stop
    :param closes: called after the last request
    """

    dispatcher: Dispatcher
    beside: tuple[Helper, ...]
    recorder: Recorder
    status: Status
    tally: Tally
    ending: Ending
    drain_timeout: float
    closes: tuple[Callable[[], None], ...] = ()

    @property
    def progress(self) -> Progress:
        """The reports on the run."""
        return self.status.progress

    async def run(self) -> None:
        """Send every row. All that is recorded is durable when this returns or raises."""
        helpers = [asyncio.create_task(start()) for start in self.beside]
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        try:
            self.dispatcher.start()
            await self.ending.wait()
            await self.dispatcher.drain(self.drain_timeout)
        finally:
            self.ending.end()  # also if this coroutine is cancelled: no worker may start after the others end
            for helper in helpers:
                helper.cancel()
            # Not awaited one by one: a cancelled run must still reach the flush below.
            await asyncio.gather(*helpers, *self.dispatcher.cancel(), return_exceptions=True)
            for close in self.closes:
                close()
            self.recorder.flush()
            self.status.observe()

    def _helper_ended(self, task: asyncio.Task[None]) -> None:
        """End the batch if a helper ends: the batch needs it. A cancelled helper has done its work."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.ending.end_early(error)


def put_together(
    job: BatchJob,
    engine: Engine,
    source: LineSource,
    resume: Resume,
    pace: Pace,
    *,
    why_stop: WhyStop,
    progress: Progress,
) -> Sender:
    """The sender of a job's rows.

    :param source: the input
    :param resume: knows which rows an earlier run has finished
    :param pace: decides how many requests may be sent
    :param why_stop: called every few milliseconds; why to stop, None to continue
    :raises BatchInputError: the job sets a number of rows per request, but rows cannot share one
    """
    tally, ending, queue = Tally(), Ending(), RetryQueue()
    shape, target = engine.shape, engine.target
    recorder = Recorder(resume.journal, local=resume.local, interval=job.checkpoint_interval)
    pace.held_back = recorder.behind
    form = array_form(shape.frame, job.task, target, 1 if job.keep_response else job.rows_per_request)
    packing = Packing(form, ArraySize.of(job.rows_per_request, target.most_inputs))
    error_rate = ErrorRate(job.max_error_rate, job.max_error_rate_after, sorted_rows=job.order_window)
    finished = FinishedRows(RecordForm(shape.answer, shape.fail), recorder.add, tally, ending, error_rate)
    # From the input to parcels.
    rows = row_form(job, engine)
    resume.emit = recorder.add
    source.skips = resume.skipper(rows.line_key)
    bad_input_ends = ending.end_early if job.on_bad_input == "stop" else None
    row_reader = RowReader(rows, resume, finished, tally, bad_input_ends)
    feed = Feed(source, row_reader, tally, order_window(job, target, packing), packing)
    media: MediaReader | None = None
    closes: tuple[Callable[[], None], ...] = ()
    if job.template.has_media:
        media, stamper = MediaReader(job.max_media_bytes), Stamper(media_in(shape.render))
        source.through, closes = stamper.stamped, (media.close, stamper.close)
    # From parcels to finished rows.
    outcomes = Outcomes(finished, retry_policy(job), queue, packing, pace, tally, ending)
    hedging = None if job.hedge_after is None else Hedging(job.hedge_after)
    answers = AnswerReader(target.dialect, packing.form, shape.accept)
    exchange = Exchange(engine.transport, answers, AdaptiveTimeout(job.request_timeout), job.token)
    attempts = Attempts(exchange, outcomes, hedging, pace.gate, tally, progress, media)
    dispatcher = Dispatcher(feed, queue, attempts, hedging, pace, ending)
    if shape.lengths is not None and (earlier := resume.first_output()) is not None:
        shape.lengths.begin_with(earlier)
    # Beside the workers.
    status = Status(progress, tally, pace, attempts, queue)
    rules = WatchRules(why_stop, job.progress_interval, host_of(job.url))
    watch = BatchWatch(rules, pace, ending, status, on_tick=(dispatcher.hedge, exchange.give_up_early_ones))
    beside: list[Helper] = [recorder.run, partial(watch.run, source.count)]
    if job.max_concurrency == "auto":
        beside.append(partial(watch_metrics, engine.transport, pace, outcomes, ending))
    return Sender(dispatcher, tuple(beside), recorder, status, tally, ending, job.drain_timeout, closes)


def media_in(render: Render) -> Callable[[Line], Sequence[Medium]]:
    """A function from a line to the media of its request."""

    def found(line: Line) -> Sequence[Medium]:
        request = render(parse_line(line))
        return () if request.media is None else request.media.items

    return found


def row_form(job: BatchJob, engine: Engine) -> RowForm:
    """How the lines of a job's input become rows."""
    shape = engine.shape
    return RowForm(
        shape.id_column, shape.render, job.keep_columns, line_hasher(job.fingerprint_of_requests(engine.target))
    )


def order_window(job: BatchJob, target: Target, packing: Packing) -> OrderWindow | None:
    """The window that orders the rows; None for the input's order."""
    if job.order_window <= 1 or job.template.has_media:  # a row may have megabytes
        return None
    return OrderWindow(job.order_window, alike=packing.form is None and target.engine != "llamacpp")


def retry_policy(job: BatchJob) -> RetryPolicy:
    """How long a job tries a row."""
    own_route = job.route is not None or job.input_format == "openai-batch"
    return RetryPolicy(job.max_attempts, job.row_timeout, job.retry_budget, own_route=own_route)
