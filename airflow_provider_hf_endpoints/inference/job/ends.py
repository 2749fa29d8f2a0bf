"""The errors of a batch that ends before its last row, or with too many failures. Each error has the report."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchError
from airflow_provider_hf_endpoints.inference.job.report import BatchReport


class BatchAborted(BatchError):
    """The batch stopped early because of the endpoint. Finished rows are kept.

    :param report: of the finished rows
    :param cause: the endpoint's error
    """

    def __init__(self, report: BatchReport, cause: Exception) -> None:
        self.report = report
        self.cause = cause
        theirs = isinstance(cause, InferenceError) and cause.fault == "caller" and not cause.retryable
        first = "Correct this first. Then run" if theirs else "Run"
        # With another model or other parameters, the output on the path is another job's.
        changed = (
            ' If the correction changes the job itself, also set on_existing="overwrite".'
            if theirs and report.rows
            else ""
        )
        super().__init__(
            f"the batch stopped after {report.rows} rows ({report.failed} failed): {cause} "
            f"{first} the same job again to resume; finished rows are not sent again.{changed}"
        )

    def of_token(self, source: str | None) -> BatchAborted:
        """The same end, which says that a refused token comes from `source`. Other ends stay as they are."""
        cause = self.cause.of_token(source) if isinstance(self.cause, InferenceError) else self.cause
        return self if cause is self.cause else BatchAborted(self.report, cause)


class BatchStopped(BatchError):
    """The batch was stopped, or exceeded `job_timeout`. Finished rows are kept."""

    def __init__(self, report: BatchReport, why: str) -> None:
        self.report = report
        super().__init__(f"the batch was stopped ({why}) after {report.rows} rows. Run the same job again to resume")


class BudgetExceeded(BatchError):
    """The batch has used its budget, or the budget will not cover the remaining rows. Finished rows are kept.

    :param report: of the finished rows
    :param budget: the name of the budget: the batch's own, or a shared one
    """

    def __init__(self, report: BatchReport, why: str, budget: str = "budget") -> None:
        self.report = report
        self.budget = budget
        super().__init__(
            f"{why}. The batch stopped after {report.rows} rows. Raise the budget (max_cost, max_runtime) and run the "
            "same job again to resume; finished rows are not sent again"
        )


class BatchFailed(BatchError):
    """More rows failed than the job allows.

    :param first_words: the first message of each kind of error, if known
    """

    def __init__(self, report: BatchReport, why: str, first_words: Mapping[str, str] | None = None) -> None:
        self.report = report
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(report.errors.items()))
        most = max(report.errors, key=lambda kind: report.errors[kind], default="")
        words = (first_words or {}).get(most)
        first = f". The first {most}: {words}" if words else ""
        super().__init__(f"{why} ({kinds or 'unknown errors'}){first}. See {report.errors_path}")


def judge(
    report: BatchReport,
    *,
    fail_on_errors: bool,
    max_error_rate: float | None,
    first_words: Mapping[str, str] | None = None,
) -> BatchReport:
    """The report of a batch that has sent all rows, unless more of them failed than the job allows.

    :param first_words: the first message of each kind of error, if known
    :raises BatchFailed: more failed
    """
    if fail_on_errors and report.failed:
        raise BatchFailed(report, f"{report.failed} of {report.rows} rows failed", first_words)
    # During the run, the rate counts only after a number of rows. At the end it also counts for a short input.
    if max_error_rate is not None and report.failed > max_error_rate * report.rows:
        why = f"{report.failed} of {report.rows} rows failed, above {max_error_rate:.0%}"
        raise BatchFailed(report, why, first_words)
    return report
