"""Why a batch cannot begin or go on: its input, what is on its output path, its journal. Errors that carry no report.

The ends of a batch that ran are in `job/ends.py`; a row's own failure is a line of the output instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BatchError(Exception):
    """A batch that could not begin or did not end as it should."""


class BatchInputError(BatchError):
    """The input cannot be used: it is not there, is empty, or its rows are not what the job expects."""

    @classmethod
    def within(cls, path: object, error: BatchInputError) -> BatchInputError:
        """The same error with the file's name in its words."""
        error.args = (f"{path}: {error}",)
        return error


class EmptyInputError(BatchInputError):
    """The input has no row."""


class MissingColumnError(BatchInputError):
    """A template, or `keep_columns`, names a column that is not there.

    :param column: as it is named
    :param present: the columns that are there
    :param where: file and line
    :param by: what asks for the column, with its verb
    """

    def __init__(
        self, column: str, present: Iterable[str], where: str | None = None, by: str = "the template needs"
    ) -> None:
        self.column = column
        self.present = tuple(present)
        there = ", ".join(repr(name) for name in self.present) or "none"
        hint = _hint(column, self.present)
        super().__init__(f"{where or 'the row'} has no column {column!r} that {by}; its columns: {there}{hint}")


def _hint(column: str, present: tuple[str, ...]) -> str:
    """What somebody may have meant who names a column that is not there."""
    if present and present[0].startswith("sep="):
        return ". Remove the first line, which is for Excel alone, and set delimiter to the sign behind sep="
    if len(present) == 1 and (signs := [sign for sign in ";\t|" if sign in present[0]]):
        return f". If {signs[0]!r} separates the values of the file, set delimiter={signs[0]!r}"
    if any(sign in column for sign in "\"'\n,"):
        return ". To keep braces in the text, double them: {{ and }}"
    asked = column.strip().casefold()
    plain = [name for name in present if name.strip().casefold() == asked]  # another case, or a blank on either side
    if near := plain or get_close_matches(column, present, 1):
        return f". Did you mean {near[0]!r}?"
    if any(sign in column for sign in ".[!:"):
        return ". A placeholder is a column name only, without attribute, index or format"
    return ""


class BadLineError(BatchInputError):
    """A line of the input that is not a row."""


class OutputConflictError(BatchError):
    """Something else is on the output path: another job's output, or another run of this job."""


class OutputBusyError(OutputConflictError):
    """Another run is at the same output, or has taken it over: it passes, and the same job can be run again then."""


class ShardsMissingError(BatchError):
    """Shards cannot be put together yet: some of them are not finished, or none was planned."""


class BatchStoreError(BatchError):
    """The store or the disk of the output failed for longer than the batch waits; what was recorded is kept."""


class JournalCorruptError(BatchError):
    """A record in the middle of the journal does not match its checksum: the disk or something else changed
    it."""
