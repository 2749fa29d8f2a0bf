"""What happens to the rows of a request: finished with answers, sent again, sent in parts, or failed.

What a failure means is decided in `retries.py`. The limit, the gate and the packing of rows learn from answers and
failures, and are notified of them here. No I/O.
"""

from __future__ import annotations

import logging
import time

from airflow_provider_hf_endpoints.inference.backoff import Backoff
from airflow_provider_hf_endpoints.inference.errors import (
    InferenceError,
    InferenceTimeoutError,
    OverloadedError,
    RetryBudgetError,
)
from airflow_provider_hf_endpoints.inference.limit.pace import Pace
from airflow_provider_hf_endpoints.inference.sending.finished import FinishedRows
from airflow_provider_hf_endpoints.inference.sending.parcels import Packing, Parcel
from airflow_provider_hf_endpoints.inference.sending.progress import first_words
from airflow_provider_hf_endpoints.inference.sending.retries import (
    RetryBudget,
    RetryPolicy,
    RetryQueue,
    Verdict,
    on_budget,
    verdict,
)
from airflow_provider_hf_endpoints.inference.sending.state import Ending, Tally
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Load

log = logging.getLogger(__name__)


class Outcomes:
    """Takes the result of each request.

    :param policy: how long a row is tried
    :param queue: takes parcels to send again
    :param packing: learns from answers and failures how many rows fit into a request
    """

    def __init__(
        self,
        finished: FinishedRows,
        policy: RetryPolicy,
        queue: RetryQueue,
        packing: Packing,
        pace: Pace,
        tally: Tally,
        ending: Ending,
    ) -> None:
        self._finished = finished
        self._policy = policy
        self._queue = queue
        self._packing = packing
        self._pace = pace
        self._tally = tally
        self._ending = ending
        self._backoff = Backoff()
        self._budget = RetryBudget(policy.budget)
        self._clock = time.monotonic
        self._told_of_cut = False
        #: Whether an answer has reported how many requests wait in the engine's queue.
        self.queue_told = False

    def answered(
        self, parcel: Parcel, results: list[InferenceResult], sent_at: float, load: Load | None, in_flight: int
    ) -> None:
        """Each row of a parcel has its answer.

        :param load: the load that the engine reports
        :param in_flight: requests still in flight
        """
        tokens, tally = 0, self._tally
        for result in results:
            if result.usage is not None:
                tokens += result.usage.completion_tokens or 0
                tally.prompt_tokens += result.usage.prompt_tokens or 0
        tally.tokens += tokens
        self.queue_told = self.queue_told or load is not None
        self._pace.answered(self._clock(), sent_at, in_flight, float(tokens or len(results)), load)
        self._packing.answered(len(results))
        for row, result in zip(parcel.rows, results, strict=True):
            self._finished.answered(row, result)

    def failed(self, parcel: Parcel, error: InferenceError, sent_at: float, in_flight: int) -> None:
        """A request failed, and no other request for its parcel is in flight."""
        now = self._clock()
        self._finished.discarded(parcel, error)
        self._tally.faults[error.kind] = self._tally.faults.get(error.kind, 0) + 1
        self._tally.first_words.setdefault(error.kind, first_words(error.words or error.what))
        match verdict(error, own_route=self._policy.own_route):
            case Verdict.STOP:
                self._ending.end_early(error)
            case Verdict.ROW_FAILS:
                self._pace.gate.answered(sent_at)
                self._give_up_or_split(parcel, error, now)
            case Verdict.TRY_AGAIN:
                self._try_again(parcel, error, sent_at, now)
            case Verdict.NOT_TAKEN:
                self._not_taken(parcel, error, sent_at, now, in_flight)

    def unsendable(self, parcel: Parcel, error: InferenceError) -> None:
        """Nothing was sent for a parcel, because a file of its row cannot be. This says nothing about the endpoint."""
        self._tally.first_words.setdefault(error.kind, first_words(error.words or error.what))
        self._finished.failed(parcel.rows, error)

    def failed_beside_another(self, parcel: Parcel, error: InferenceError, sent_at: float, in_flight: int) -> None:
        """One of two requests for a parcel failed. The other request decides about its rows."""
        self._finished.discarded(parcel, error)
        match verdict(error, own_route=self._policy.own_route):
            case Verdict.STOP:
                self._ending.end_early(error)
            case Verdict.NOT_TAKEN:
                self._uncount_attempt(parcel)
                self._pace.refused(error, self._clock(), sent_at, in_flight)
            case _:
                self._pace.gate.unclear()

    def _try_again(self, parcel: Parcel, error: InferenceError, sent_at: float, now: float) -> None:
        if isinstance(error, InferenceTimeoutError):
            self._pace.gate.unclear()
        else:
            self._pace.gate.answered(sent_at)
        due = now + self._pause(parcel.first_sent, parcel.failures + 1, error, now)
        if self._split(parcel, error, due):
            return
        parcel.failures += 1
        if parcel.failures >= self._policy.max_attempts:
            self._finished.failed(parcel.rows, error)
        else:
            self._send_again(parcel, error, due)

    def _not_taken(self, parcel: Parcel, error: InferenceError, sent_at: float, now: float, in_flight: int) -> None:
        pace, policy = self._pace, self._policy
        self._uncount_attempt(parcel)
        pace.refused(error, now, sent_at, in_flight)
        pace.check_outage(in_flight)
        if pace.gate.closed:
            # The endpoint is unavailable for all rows: no row is at fault, and the gate decides when to try.
            self._queue.add(parcel, now)
            return
        parcel.refusals += 1
        if parcel.refusals == 1:
            parcel.refused_since = now  # a wait that an earlier error asked for is not a refusal
        too_often = parcel.refusals > policy.max_refusals and not isinstance(error, OverloadedError)
        if too_often or now - parcel.refused_since > policy.row_timeout:
            self._give_up_or_split(parcel, error, now)
        else:
            self._send_again(parcel, error, now + self._pause(parcel.refused_since, parcel.refusals, error, now))

    def _pause(self, since: float, failures: int, error: InferenceError, now: float) -> float:
        """Seconds until the parcel is sent again: as long as the server asks, but within the row's time.

        :param since: when the row's time began
        """
        left = max(0.0, since + self._policy.row_timeout - now)
        seconds = self._backoff.seconds(failures, error.retry_after)
        if seconds > left and not self._told_of_cut:
            self._told_of_cut = True
            words = "The endpoint asks to wait %.0f s. The batch waits %.0f s, limited by row_timeout: %s"
            log.warning(words, seconds, left, error)
        return min(seconds, left)

    @staticmethod
    def _uncount_attempt(parcel: Parcel) -> None:
        """Do not count the attempt: the endpoint did not work on the parcel."""
        for row in parcel.rows:
            row.attempts -= 1

    def _give_up_or_split(self, parcel: Parcel, error: InferenceError, now: float) -> None:
        if not self._split(parcel, error, now):
            self._finished.failed(parcel.rows, error)

    def _split(self, parcel: Parcel, error: InferenceError, due: float) -> bool:
        """Send an array that failed in parts; false for a single row, which fails itself."""
        parts = self._packing.parts(parcel, error)
        for part in parts:
            self._queue.add(part, due)
        return bool(parts)

    def _send_again(self, parcel: Parcel, error: InferenceError, due: float) -> None:
        """Send a parcel again, while the batch has retry budget."""
        self._queue.add(parcel, due)
        tally, budget = self._tally, self._budget
        if on_budget(error) and not budget.spend(tally.begun, self._pace.limiter.limit):
            kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(tally.faults.items()))
            words = f"{budget.spent} retries for {tally.begun} rows ({kinds}); last error: {error}"
            self._ending.end_early(RetryBudgetError(words))
