"""What becomes of a request's rows: recorded with their answers, sent again, in parts, or given up with an error.

What a failure means is `verdicts.py`'s to say. Everybody who learns from answers and failures is told here: the limit,
the gate, how long to wait, how many rows an array holds. No I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from airflow_provider_hf_endpoints.inference.errors import (
    InferenceError,
    InferenceTimeoutError,
    OverloadedError,
    RetryBudgetError,
)
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.journal.dead_letters import with_letter
from airflow_provider_hf_endpoints.inference.journal.records import ERROR, Record, discarded
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.limit.limiter import Limiter
from airflow_provider_hf_endpoints.inference.sending.arrays import ArrayForm, ArraySize, parts_of
from airflow_provider_hf_endpoints.inference.sending.parcels import Parcel, Tally
from airflow_provider_hf_endpoints.inference.sending.progress import Progress, first_words
from airflow_provider_hf_endpoints.inference.sending.retries import Backoff, RetryBudget
from airflow_provider_hf_endpoints.inference.sending.retry_queue import Waiting
from airflow_provider_hf_endpoints.inference.sending.shape import Shape
from airflow_provider_hf_endpoints.inference.sending.timeouts import Patience
from airflow_provider_hf_endpoints.inference.sending.verdicts import Verdict, on_budget, verdict
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Load

TOO_LONG = ("prompt_too_long", "payload_too_large")  # kinds of errors
#: A row that is refused this many times as often as it may fail, while others get through, fails alone.
REFUSALS_PER_ATTEMPT = 4


class End(Protocol):
    """Sends nothing more; true when it is the first who asks, whose reason counts."""

    def __call__(self, cause: Exception | None = None, stopped: str | None = None) -> bool: ...


class Outcomes:
    """Takes what came of each request.

    :param arrays: how several rows go into one request, None where they do not
    :param size: how many
    :param waiting: takes what is to be sent again
    :param patience: learns from answers how long to wait for the next
    :param keep: makes a row's record durable, with the key of its line
    :param end: ends the batch
    """

    def __init__(
        self,
        job: BatchJob,
        shape: Shape,
        tally: Tally,
        limiter: Limiter,
        gate: Gate,
        *,
        arrays: ArrayForm | None,
        size: ArraySize,
        waiting: Waiting,
        patience: Patience,
        progress: Progress,
        keep: Callable[[Record, int], None],
        end: End,
    ) -> None:
        self._job = job
        self._shape = shape
        self._tally = tally
        self._limiter = limiter
        self._gate = gate
        self._arrays = arrays
        self._array_size = size
        self._waiting = waiting
        self._patience = patience
        self._progress = progress
        self._keep = keep
        self._end = end
        self._backoff = Backoff()
        self._budget = RetryBudget(job.retry_budget)
        self._own_route = job.route is not None or job.input_format == "openai-batch"
        self._clock = time.monotonic
        #: An answer has said how many requests wait.
        self.told = False
        #: The batch ends because so many rows failed.
        self.too_many_errors = False

    def answered(
        self, parcel: Parcel, results: list[InferenceResult], sent_at: float, load: Load | None, in_flight: int
    ) -> None:
        """Each row of a parcel has its answer.

        :param in_flight: requests still out
        """
        tokens = 0
        for result in results:
            if result.usage is not None:
                tokens += result.usage.completion_tokens or 0
                self._tally.prompt_tokens += result.usage.prompt_tokens or 0
        self._tally.tokens += tokens
        self._gate.answered(sent_at)
        now = self._clock()
        self._patience.answered(now - sent_at)
        self._progress.answered(now - sent_at)
        self.told = self.told or load is not None
        self._limiter.answered(now, in_flight + 1, float(tokens or len(results)), sent_at, load)
        self._array_size.answered(len(results))
        for row, result in zip(parcel.rows, results, strict=True):
            record = self._shape.answer(row.index, row.key, row.identity, result, row.attempts, row.columns)
            self.record(record, row.line_key)

    def failed(self, parcel: Parcel, error: InferenceError, sent_at: float, in_flight: int) -> None:
        """A request failed, and no other for its parcel is out."""
        now = self._clock()
        self._count_discarded(parcel, error)
        self._tally.faults[error.kind] = self._tally.faults.get(error.kind, 0) + 1
        self._tally.first_words.setdefault(error.kind, first_words(error.words or error.what))
        match verdict(error, own_route=self._own_route):
            case Verdict.STOP:
                self._end(error)
            case Verdict.ROW_FAILS:
                self._gate.answered(sent_at)
                if not self._split(parcel, error, now):
                    self._give_up(parcel, error)
            case Verdict.TRY_AGAIN:
                if isinstance(error, InferenceTimeoutError):
                    self._gate.unclear()
                else:
                    self._gate.answered(sent_at)
                due = now + self._backoff.seconds(parcel.failures + 1, error.retry_after)
                if not self._split(parcel, error, due):
                    parcel.failures += 1
                    if parcel.failures >= self._job.max_attempts:
                        self._give_up(parcel, error)
                    else:
                        self._again(parcel, error, due)
            case Verdict.NOT_TAKEN:
                self._not_taken(parcel, error, sent_at, now, in_flight)

    def lost(self, parcel: Parcel, error: InferenceError, sent_at: float, in_flight: int) -> None:
        """One of two requests for a parcel failed: what becomes of its rows is for the other to say."""
        now = self._clock()
        self._count_discarded(parcel, error)
        match verdict(error, own_route=self._own_route):
            case Verdict.STOP:
                self._end(error)
            case Verdict.NOT_TAKEN:
                for row in parcel.rows:
                    row.attempts -= 1
                self._limiter.refused(now, sent_at, in_flight)
                self._gate.refused(error, now, in_flight, sent_at)
            case _:
                self._gate.unclear()

    def _count_discarded(self, parcel: Parcel, error: InferenceError) -> None:
        """Count what an answer has cost that is thrown away; its rows' own records know nothing of it."""
        if error.usage is None or not error.usage.total_tokens:
            return
        prompt, completion = error.usage.prompt_tokens or 0, error.usage.completion_tokens or 0
        self._tally.prompt_tokens += prompt
        self._tally.tokens += completion
        self._keep(discarded(parcel.rows[0].index, prompt, completion), 0)

    def _split(self, parcel: Parcel, error: InferenceError, due: float) -> bool:
        """Send an array that failed in parts; false for a row that is alone, whose failure is its own."""
        if self._arrays is None or len(parcel.rows) == 1:
            return False
        self._array_size.failed(parcel, error)
        for part in parts_of(self._arrays, parcel, self._array_size.rows):
            self._waiting.add(part, due)
        return True

    def _not_taken(self, parcel: Parcel, error: InferenceError, sent_at: float, now: float, in_flight: int) -> None:
        for row in parcel.rows:
            row.attempts -= 1  # nobody worked on it
        self._limiter.refused(now, sent_at, in_flight)
        self._gate.refused(error, now, in_flight, sent_at)
        if self._gate.takes_nothing or (self._gate.closed and in_flight == 0):
            self._limiter.outage()
        if self._gate.closed:
            # The endpoint is away for everyone: no row is to blame, and the gate says when to try.
            self._waiting.add(parcel, now)
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
        self._waiting.add(parcel, due)
        if on_budget(error) and not self._budget.spend(self._tally.begun, self._limiter.limit):
            kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(self._tally.faults.items()))
            words = f"{self._budget.spent} repeated requests for {self._tally.begun} rows ({kinds}); the last: {error}"
            self._end(RetryBudgetError(words))

    def _give_up(self, parcel: Parcel, error: InferenceError) -> None:
        self._tally.errors[error.kind] = self._tally.errors.get(error.kind, 0) + len(parcel.rows)
        for row in parcel.rows:
            record = self._shape.fail(row.index, row.key, row.identity, error, row.attempts, row.columns)
            self.record(with_letter(record, row.line), row.line_key)

    def record(self, record: Record, line_key: int) -> None:
        """A row is finished, well or badly."""
        self._keep(record, line_key)
        self._tally.done += 1
        if record.flags & ERROR:
            self._tally.failed += 1
            self._check_error_rate()

    def _check_error_rate(self) -> None:
        job, tally = self._job, self._tally
        if job.max_error_rate is None or tally.done < job.max_error_rate_after:
            return
        failed = tally.failed
        if tally.done < job.order_window:
            # What is long is sent first: that much of it fails says nothing yet about the rest.
            failed -= sum(tally.errors.get(kind, 0) for kind in TOO_LONG)
        if failed > job.max_error_rate * tally.done:
            words = f"{tally.failed} of {tally.done} rows failed, more than max_error_rate allows"
            self.too_many_errors = self._end(None, words) or self.too_many_errors
