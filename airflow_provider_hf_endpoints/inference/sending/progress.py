"""Reports on a running batch: a line every few seconds, a snapshot for an observer, a table at the end, and the waits
for the endpoint.

Nothing here makes decisions. `watch.py` decides when to report.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.sending.state import Tally

log = logging.getLogger(__name__)

QUANTILES = (0.5, 0.95, 0.99)
_STEP = math.log(1.04)  # precision of a quantile: 4 %
_SHORTEST = 1e-4  # seconds
_WORDS = 200  # characters of an error's message
WAIT_INTERVAL = 60.0  # seconds between two lines about the same trouble


class Latencies:
    """Latencies in buckets: any number of answers in a few hundred counters."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.answers = 0

    def add(self, seconds: float) -> None:
        """Add an answer."""
        bucket = int(math.log(max(seconds, _SHORTEST)) / _STEP + 1000.5) - 1000
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.answers += 1

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers came; 0 without answers."""
        wanted, seen = share * self.answers, 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return math.exp(bucket * _STEP)
        return 0.0

    def quantiles(self) -> tuple[float, float, float]:
        """p50, p95 and p99 in seconds."""
        p50, p95, p99 = (self.quantile(share) for share in QUANTILES)
        return p50, p95, p99


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a batch at a moment. Counts are of this run.

    :param done: finished rows, with failed ones, without `resumed`
    :param resumed: rows that an earlier run finished
    :param errors: failed rows by kind of error
    :param limit: requests that may be in flight
    :param reason: for this limit
    :param latencies: p50, p95 and p99 of the answers since the previous snapshot, in seconds; None without answers
    """

    seconds: float
    done: int
    failed: int
    resumed: int
    requests: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    in_flight: int
    limit: int
    reason: str
    errors: Mapping[str, int] = field(default_factory=dict)
    latencies: tuple[float, float, float] | None = None


Observer = Callable[[Snapshot], None]


class Progress:
    """Observes a batch and reports.

    :param observer: gets a snapshot with each line, and one at the end
    """

    def __init__(self, now: float, observer: Observer | None = None) -> None:
        self._began = now
        self._before = (now, 0, 0)
        self._observer = observer
        self._latencies = Latencies()
        self._recent = Latencies()
        self._limits: tuple[int, int] | None = None
        #: Rows of the input, None until counted.
        self.total: int | None = None

    def answered(self, seconds: float) -> None:
        """Add the seconds of an answer."""
        self._latencies.add(seconds)
        if self._observer is not None:
            self._recent.add(seconds)

    def limited(self, limit: int) -> None:
        """Note the current limit."""
        low, high = self._limits or (limit, limit)
        self._limits = min(low, limit), max(high, limit)

    def line(self, tally: Tally, now: float, busy: str) -> str:
        """The text at `now`; `busy` describes the requests in flight."""
        then, done, tokens = self._before
        self._before = (now, tally.done, tally.tokens)
        seconds = max(now - then, 1e-9)
        rate = (tally.done - done) / seconds
        return (
            f"{self._share(tally.done + tally.resumed, rate)}, {rate:.1f}/s, {busy}, {tally.failed} failed, "
            f"{tally.retries} retries, {(tally.tokens - tokens) / seconds:.0f} tokens/s"
        )

    def observe(self, tally: Tally, now: float, in_flight: int, limit: int, reason: str) -> None:
        """Give the observer a snapshot. If it raises, it is not called again: that must not stop a batch."""
        if self._observer is None:
            return
        recent, self._recent = self._recent, Latencies()
        snapshot = Snapshot(
            seconds=now - self._began,
            done=tally.done,
            failed=tally.failed,
            resumed=tally.resumed,
            requests=tally.requests,
            retries=tally.retries,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.tokens,
            in_flight=in_flight,
            limit=limit,
            reason=reason,
            errors=dict(tally.errors),
            latencies=recent.quantiles() if recent.answers else None,
        )
        try:
            self._observer(snapshot)
        except Exception:
            log.warning("the observer of the batch failed and is not called again", exc_info=True)
            self._observer = None

    def table(self, report: BatchReport, tally: Tally) -> str:
        """The table at the end of a batch, for its log."""
        state = "finished" if report.complete else "not finished"
        seconds = max(report.seconds, 1e-9)
        p50, p95, p99 = self._latencies.quantiles()
        limits = [] if self._limits is None else [f"  limit     {self._limits[0]} to {self._limits[1]} in flight"]
        lines = [
            f"batch {state}: {report.rows} rows in {_duration(report.seconds)}, to {report.output_path}",
            f"  rows      {report.succeeded} answered, {report.failed} failed; {report.resumed} done by an earlier try",
            f"  answers   {report.truncated} truncated, {report.filtered} filtered, {report.empty} empty",
            f"  requests  {report.requests}, {report.retries} of them retries",
            f"  tokens    {report.prompt_tokens} prompt, {report.completion_tokens} completion, "
            f"{report.discarded_tokens} of them discarded",
            f"  rate      {tally.done / seconds:.1f} rows/s, {tally.tokens / seconds:.0f} completion tokens/s",
            f"  latency   {p50:.2f} s p50, {p95:.2f} s p95, {p99:.2f} s p99 of {self._latencies.answers} answers",
            *limits,
            *_cost_line(report),
        ]
        for kind, count in sorted(report.errors.items(), key=lambda pair: -pair[1]):
            words = tally.first_words.get(kind) or f"see {report.errors_path}"
            lines.append(f"  failed    {kind}: {count} ({100 * count / max(report.rows, 1):.1f} %), the first: {words}")
        for kind, count in sorted(tally.faults.items(), key=lambda pair: -pair[1]):
            if kind not in report.errors:
                words = tally.first_words.get(kind, "")
                lines.append(
                    f"  recovered {kind}: {count} requests failed, every row succeeded on retry; the first: {words}"
                    if report.complete  # else a row may still need its retry
                    else f"  refused   {kind}: {count} requests failed, no failed row is recorded; the first: {words}"
                )
        return "\n".join(lines)

    def _share(self, done: int, rate: float) -> str:
        if self.total is None:
            return f"{done} rows done"
        left = f", {_duration((self.total - done) / rate)} left" if rate > 0 and self.total > done else ""
        return f"{done} of {self.total} rows done ({100 * done / max(self.total, 1):.0f} %){left}"


def _cost_line(report: BatchReport) -> list[str]:
    """The cost of the endpoint meanwhile, if its price is known."""
    cost = report.cost or {}
    if cost.get("usd") is None:
        return []
    per_row = cost.get("usd_per_1000_rows")
    each = "" if per_row is None else f", {usd(per_row, places=4)} per 1000 rows"
    minutes, price = cost["replica_minutes"], usd(cost["price_per_hour"])
    time = f"{minutes:.1f}" if minutes >= 0.05 else "less than 0.1"
    return [f"  cost      {usd(cost['usd'], places=4)} for {time} replica-minutes at {price} an hour{each}"]


class WaitLog:
    """Logs the wait for an endpoint: which one, why, and for how long at most. At once, when the reason changes, and
    every minute.

    :param host: of the endpoint
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._kind = ""
        self._next = 0.0

    def note(self, error: InferenceError, now: float, ends_at: float) -> None:
        """The endpoint did not accept a request.

        :param ends_at: when the batch gives up
        """
        if error.kind == self._kind and now < self._next:
            return
        self._kind, self._next = error.kind, now + WAIT_INTERVAL
        log.info("waiting for %s, for %.0f s more at most: %s", self._host, max(0.0, ends_at - now), error)

    def over(self) -> None:
        """The endpoint accepts requests again."""
        self._kind = ""


def first_words(message: str) -> str:
    """An error's message as one line of limited length."""
    words = " ".join(message.split())
    return words if len(words) <= _WORDS else f"{words[:_WORDS]}…"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
