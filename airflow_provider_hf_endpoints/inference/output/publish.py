"""Writes results and errors from the journal, in input order, and counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.journal.dead_letters import letter_of, output_line
from airflow_provider_hf_endpoints.inference.journal.journal import Journal
from airflow_provider_hf_endpoints.inference.journal.records import EMPTY, ERROR, FILTERED, TRUNCATED, Record
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.writers import writing_rows
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing


class Totals:
    """Counts of finished records, as in a report."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("rows", "succeeded", "failed", "truncated", "filtered", "empty"), 0)
        self._tokens = 0  # of rows that succeeded
        self._kinds: dict[str, int] = {}

    def add(self, record: Record, line: bytes) -> None:
        """Count a record and its output line."""
        counts, flags = self._counts, record.flags
        counts["rows"] += 1
        if flags:
            counts["truncated"] += bool(flags & TRUNCATED)
            counts["filtered"] += bool(flags & FILTERED)
            counts["empty"] += bool(flags & EMPTY)
        if flags & ERROR:
            counts["failed"] += 1
            error = fastjson.decode(line)["error"]
            kind = error.get("type") or error["code"]
            self._kinds[kind] = self._kinds.get(kind, 0) + 1
        else:
            counts["succeeded"] += 1
            self._tokens += record.prompt_tokens + record.completion_tokens

    def as_dict(self, journal: Journal) -> dict[str, Any]:
        """The counts, with the tokens of all answers."""
        return {
            **self._counts,
            "prompt_tokens": journal.prompt_tokens,
            "completion_tokens": journal.completion_tokens,
            "discarded_tokens": journal.prompt_tokens + journal.completion_tokens - self._tokens,
            "errors": self._kinds,
        }


def publish(
    layout: OutputLayout,
    resume: Resume,
    rows: int,
    *,
    complete: bool,
    vectors: bool = False,
    written: Callable[[bytes], object] | None = None,
) -> dict[str, Any]:
    """Write results and errors from the journal, in input order; returns their counts.

    :param rows: rows of the input
    :param complete: whether every row must be there; otherwise the finished rows are written
    :param vectors: whether the task answers with vectors
    :param written: called with each line of the results
    :raises JournalCorruptError: a row is missing although the batch is complete
    :raises OutputBusyError: another run has taken the output over
    """
    totals, journal = Totals(), resume.journal
    check = journal.check
    check()
    with (
        writing_rows(layout.results, check, vectors=vectors) as results,
        replacing(layout.errors, check) as errors,
    ):
        for index in range(rows):
            record = journal.read(index) if complete else resume.read(index)
            if record is None:
                if complete:
                    raise JournalCorruptError(f"row {index} is missing, although every row is done")
                continue
            line = output_line(record)
            whole = line + b"\n"
            results.write(whole)
            if written is not None:
                written(whole)
            if record.flags & ERROR:
                errors.write(letter_of(record) + b"\n")
            totals.add(record, line)
    return totals.as_dict(journal)


def count(journal: Journal) -> dict[str, Any]:
    """The counts of a journal, without an output."""
    totals = Totals()
    for index in range(len(journal.index)):
        record = journal.read(index)
        if record is not None:
            totals.add(record, output_line(record))
    return totals.as_dict(journal)
