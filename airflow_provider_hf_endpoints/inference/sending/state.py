"""The state of a run as a whole: its counts, and why it ends before its last row. All parts of the run write here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of this run, for the log and the report.

    :param begun: rows that were sent at least once
    :param tokens: completion tokens
    :param errors: failed rows by kind of error
    :param faults: requests that failed, by kind of error, whatever happened to their rows
    :param first_words: the first message of each kind
    """

    done: int = 0
    failed: int = 0
    resumed: int = 0
    requests: int = 0
    retries: int = 0
    hedges: int = 0
    begun: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    first_words: dict[str, str] = field(default_factory=dict)


class Ending:
    """Whether the run is over, and why it ended before its last row. The first reason counts."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        #: Nothing more may be sent.
        self.over = False
        #: The error that ended the run.
        self.cause: Exception | None = None
        #: Why the run was stopped, in words, if no error ended it.
        self.stopped: str | None = None
        #: Whether the run was stopped because too many rows failed.
        self.too_many_errors = False

    @property
    def early(self) -> bool:
        """Whether the run ended before its last row."""
        return self.cause is not None or self.stopped is not None

    def end_early(self, cause: Exception | None = None, stopped: str | None = None) -> bool:
        """Send nothing more, because of an error or a reason in words. True for the first reason, which is kept.

        :param cause: the error
        :param stopped: the reason in words
        """
        first = not self.early
        if first:
            self.cause, self.stopped = cause, stopped
        self.end()
        return first

    def end(self) -> None:
        """Nothing is left to send, or the run is cancelled."""
        self.over = True
        self._ended.set()

    async def wait(self) -> None:
        """Wait until the run is over."""
        await self._ended.wait()
