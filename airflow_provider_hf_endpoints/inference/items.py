"""A row on its way, and what has become of all of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.rows import RowId, RowRequest


@dataclass(slots=True)
class Item:
    """A row on its way.

    :param line: what the input has of it
    :param request: the request for this row alone, by which it is known
    :param attempts: requests with it that the engine worked on, or is working on
    """

    line: Line
    key: int
    identity: RowId
    request: RowRequest
    columns: dict[str, Any] | None
    line_key: int = 0
    attempts: int = 0

    @property
    def index(self) -> int:
        """Its place in the input."""
        return self.line.place


@dataclass(slots=True)
class Parcel:
    """What one request carries: a row, or several of them in an array.

    :param failures: how often the engine failed on it
    :param refusals: how often it was not taken at all
    :param first_sent: when it, or what it is a part of, was sent for the first time; 0 for not yet
    :param part: it is a part of one that failed
    """

    rows: list[Item]
    request: RowRequest
    failures: int = 0
    refusals: int = 0
    first_sent: float = 0.0
    part: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of this run, for the log and the report."""

    done: int = 0
    failed: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    hedges: int = 0
    tokens: int = 0
    errors: dict[str, int] = field(default_factory=dict)


class Progress:
    """The line in the log: how far the batch is, and how fast since the line before.

    :param total: rows of the input, None where nobody counted
    """

    def __init__(self, now: float, total: int | None) -> None:
        self._before = (now, 0, 0)
        self._total = total

    def line(self, tally: Tally, now: float, busy: str) -> str:
        """What to say at `now`; `busy` tells what is in flight."""
        then, done, tokens = self._before
        self._before = (now, tally.done, tally.tokens)
        seconds = max(now - then, 1e-9)
        rate = (tally.done - done) / seconds
        return (
            f"{self._share(tally.done + tally.resumed, rate)}, {rate:.1f}/s, {busy}, {tally.failed} failed, "
            f"{tally.retries} retries, {(tally.tokens - tokens) / seconds:.0f} tokens/s"
        )

    def _share(self, done: int, rate: float) -> str:
        if self._total is None:
            return f"{done} rows done"
        left = f", {_duration((self._total - done) / rate)} left" if rate > 0 and self._total > done else ""
        return f"{done} of {self._total} rows done ({100 * done / max(self._total, 1):.0f} %){left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
