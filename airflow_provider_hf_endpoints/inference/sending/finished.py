"""Finished rows, successful or failed: each gets a record, is counted, and goes to the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.inputs.lines import Line, RowId
from airflow_provider_hf_endpoints.inference.journal.dead_letters import with_letter
from airflow_provider_hf_endpoints.inference.journal.records import ERROR, Record, discarded
from airflow_provider_hf_endpoints.inference.sending.parcels import Item, Parcel
from airflow_provider_hf_endpoints.inference.sending.state import Ending, Tally
from airflow_provider_hf_endpoints.inference.sending.unforeseen import internal_error
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

AnswerRecord = Callable[[int, int, RowId, InferenceResult, int, "dict[str, Any] | None"], Record]
ErrorRecord = Callable[[int, int, "RowId | None", Exception, int, "dict[str, Any] | None"], Record]
TOO_LONG = ("prompt_too_long", "payload_too_large")  # kinds of errors


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """The share of failed rows above which a batch stops.

    :param most: the share, None for no bound
    :param after: finished rows before it counts
    :param sorted_rows: how many rows at the beginning may be sent by length, long ones first
    """

    most: float | None
    after: int = 0
    sorted_rows: int = 0

    def exceeded(self, tally: Tally) -> bool:
        """Whether the share is higher."""
        if self.most is None or tally.done < self.after:
            return False
        failed = tally.failed
        if tally.done < self.sorted_rows:
            # Long rows are sent first. Their failures say nothing yet about the rest.
            failed -= sum(tally.errors.get(kind, 0) for kind in TOO_LONG)
        return failed > self.most * tally.done


@dataclass(frozen=True, slots=True)
class RecordForm:
    """How the record of a finished row is made.

    :param answer: for a row with an answer
    :param fail: for a failed row
    """

    answer: AnswerRecord
    fail: ErrorRecord


class FinishedRows:
    """Takes finished rows, and ends the batch if too many of them failed.

    :param keep: makes a record durable, with the key of its row's line
    """

    def __init__(
        self,
        form: RecordForm,
        keep: Callable[[Record, int], None],
        tally: Tally,
        ending: Ending,
        error_rate: ErrorRate,
    ) -> None:
        self._form = form
        self._keep = keep
        self._tally = tally
        self._ending = ending
        self._error_rate = error_rate

    def answered(self, row: Item, result: InferenceResult) -> None:
        """A row has its answer."""
        try:
            record = self._form.answer(row.index, row.key, row.identity, result, row.attempts, row.columns)
        except Exception as error:  # noqa: BLE001 - whatever it is: it is this row's, and no reason to end the batch
            usage = result.usage
            if usage is not None:
                lost = discarded(row.index, usage.prompt_tokens or 0, usage.completion_tokens or 0)
                self._keep(lost, 0)
            self.failed([row], internal_error(error, "recording the answer"))
            return
        self._finish(record, row.line_key)

    def failed(self, rows: list[Item], error: InferenceError) -> None:
        """Rows have failed, without a further retry."""
        self._tally.errors[error.kind] = self._tally.errors.get(error.kind, 0) + len(rows)
        for row in rows:
            record = self._error_record(row.index, row.key, row.identity, error, row.attempts, row.columns)
            self._finish(with_letter(record, row.line), row.line_key)

    def _error_record(
        self,
        place: int,
        key: int,
        identity: RowId | None,
        error: Exception,
        attempts: int,
        columns: dict[str, Any] | None,
    ) -> Record:
        """The record of an error, without the kept columns if they cannot be written."""
        try:
            return self._form.fail(place, key, identity, error, attempts, columns)
        except Exception as reason:  # noqa: BLE001 - the row still has its error
            unwritten = internal_error(reason, "recording an error")
            return self._form.fail(place, key, None, unwritten, attempts, None)

    def unusable(self, line: Line, key: int, line_key: int, identity: RowId | None, error: Exception) -> None:
        """A line of the input is not a row, and nothing is sent for it."""
        record = self._error_record(line.place, key, identity, error, 0, None)
        self._finish(with_letter(record, line), line_key)

    def discarded(self, parcel: Parcel, error: InferenceError) -> None:
        """Count the tokens of an answer that is thrown away: the records of its rows do not contain them."""
        if error.usage is None or not error.usage.total_tokens:
            return
        prompt, completion = error.usage.prompt_tokens or 0, error.usage.completion_tokens or 0
        self._tally.prompt_tokens += prompt
        self._tally.tokens += completion
        self._keep(discarded(parcel.rows[0].index, prompt, completion), 0)

    def _finish(self, record: Record, line_key: int) -> None:
        self._keep(record, line_key)
        tally = self._tally
        tally.done += 1
        if record.flags & ERROR:
            tally.failed += 1
            if self._error_rate.exceeded(tally):
                words = f"{tally.failed} of {tally.done} rows failed, more than max_error_rate allows"
                if self._ending.end_early(stopped=words):
                    self._ending.too_many_errors = True
