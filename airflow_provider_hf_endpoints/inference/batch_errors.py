"""What makes a whole batch fail, as typed errors; a row's own failure is a line of the output instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_hf_endpoints.inference.report import BatchReport


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


class JournalCorruptError(BatchError):
    """A record in the middle of the journal does not match its checksum: the disk or something else changed
    it."""


class BatchAborted(BatchError):
    """The batch stopped before its end because of the endpoint; everything done until then is kept.

    :param report: what was done
    :param cause: the endpoint's error
    """

    def __init__(self, report: BatchReport, cause: Exception) -> None:
        self.report = report
        self.cause = cause
        super().__init__(
            f"the batch stopped after {report.rows} rows ({report.failed} failed): {cause} "
            "Run the same job again to go on from here; rows already done are not sent again."
        )


class BatchStopped(BatchError):
    """The batch was asked to stop, or ran out of its time; everything done until then is kept."""

    def __init__(self, report: BatchReport, why: str) -> None:
        self.report = report
        super().__init__(
            f"the batch was stopped ({why}) after {report.rows} rows; run the same job again to go on from here"
        )


class BudgetExceeded(BatchError):
    """The batch has cost what it may, or can't be done for that; everything done until then is kept.

    :param report: what was done
    :param budget: the name of the budget: the batch's own, or one that it shares
    """

    def __init__(self, report: BatchReport, why: str, budget: str = "budget") -> None:
        self.report = report
        self.budget = budget
        super().__init__(
            f"{why}. The batch was stopped after {report.rows} rows. Give it more (max_cost, max_runtime) and run the "
            "same job again to go on from here; rows already done are not sent again"
        )


class BatchFailed(BatchError):
    """More rows failed than the job allows."""

    def __init__(self, report: BatchReport, why: str) -> None:
        self.report = report
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(report.errors.items()))
        super().__init__(f"{why} ({kinds or 'no kinds'}); see {report.errors_path}")
