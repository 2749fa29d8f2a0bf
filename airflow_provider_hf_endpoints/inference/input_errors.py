"""Why a batch cannot begin or go on: its input, what is on its output path, its journal. Errors that carry no report.

The ends of a batch that ran are in `job/ends.py`; a row's own failure is a line of the output instead.
"""

from __future__ import annotations

from collections.abc import Iterable


class BatchError(Exception):
    """A batch that could not begin or did not end as it should."""


class BatchInputError(BatchError):
    """The input cannot be used: it is not there, is empty, or its rows are not what the job expects."""

    @classmethod
    def within(cls, path: object, error: BatchInputError) -> BatchInputError:
        """The same error with the file's name in its words."""
        error.args = (f"{path}: {error}",)
        return error


class MissingColumnError(BatchInputError):
    """A template names a column that a row does not have."""

    def __init__(self, column: str, present: Iterable[str], where: str | None = None) -> None:
        self.column = column
        self.present = tuple(present)
        there = ", ".join(repr(name) for name in self.present) or "none"
        super().__init__(f"{where or 'the row'} has no column {column!r} that the template needs; its columns: {there}")


class BadLineError(BatchInputError):
    """A line of the input that is no row."""


class OutputConflictError(BatchError):
    """Something else is on the output path: another job's output, or another run of this job."""


class ShardsMissingError(BatchError):
    """Shards cannot be put together yet: some of them are not finished, or none was planned."""


class BatchStoreError(BatchError):
    """The store or the disk of the output failed for longer than the batch waits; what was recorded is kept."""


class JournalCorruptError(BatchError):
    """A record in the middle of the journal does not match its checksum: the disk or something else changed
    it."""
