"""A row on its way, and what has become of all of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_hf_endpoints.inference.rows import RowId, RowRequest


@dataclass(slots=True)
class Item:
    """A row on its way."""

    index: int
    key: int
    identity: RowId
    request: RowRequest
    columns: dict[str, Any] | None
    attempts: int = 0
    refusals: int = 0
    first_sent: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts of this run, for the log and the report."""

    done: int = 0
    failed: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    tokens: int = 0
    errors: dict[str, int] = field(default_factory=dict)


class Progress:
    """The line in the log: how far the batch is, and how fast since the line before."""

    def __init__(self, now: float) -> None:
        self._before = (now, 0, 0)

    def line(self, tally: Tally, now: float, busy: str) -> str:
        """What to say at `now`; `busy` tells what is in flight."""
        then, done, tokens = self._before
        self._before = (now, tally.done, tally.tokens)
        seconds = max(now - then, 1e-9)
        return (
            f"{tally.done + tally.resumed} rows done, {(tally.done - done) / seconds:.1f}/s, {busy}, "
            f"{tally.failed} failed, {tally.retries} retries, {(tally.tokens - tokens) / seconds:.0f} tokens/s"
        )
