"""Errors of a batch that cannot begin or continue: its input, its output path, its journal. They have no report.

The errors of a batch that has run are in `job/ends.py`. A row's own failure is a line of the output.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BatchError(Exception):
    """A batch could not begin, or did not end successfully."""


class BatchInputError(BatchError):
    """The input is not valid: it is missing or empty, or its rows are not as the job expects."""

    @classmethod
    def within(cls, path: object, error: BatchInputError) -> BatchInputError:
        """The same error with the file's name in its text."""
        error.args = (f"{path}: {error}",)
        return error


class EmptyInputError(BatchInputError):
    """The input has no row."""


class MissingColumnError(BatchInputError):
    """A template, or `keep_columns`, names a missing column.

    :param column: the name
    :param present: the existing columns
    :param where: file and line
    :param by: what needs the column, with its verb
    """

    def __init__(
        self, column: str, present: Iterable[str], where: str | None = None, by: str = "the template needs"
    ) -> None:
        self.column = column
        self.present = tuple(present)
        there = ", ".join(repr(name) for name in self.present) or "none"
        hint = _hint(column, self.present, named=by.endswith("names"))
        super().__init__(f"{where or 'the row'} has no column {column!r} that {by}; its columns: {there}{hint}")


_SENT_WITHOUT_TEMPLATE = ("inputs", "messages")  # for a chat: the messages


def _hint(column: str, present: tuple[str, ...], *, named: bool) -> str:
    """The column that was probably meant.

    :param named: whether an argument other than a template names the column
    """
    if present and present[0].startswith("sep="):
        return ". Remove the first line, which is for Excel alone, and set delimiter to the sign behind sep="
    if len(present) == 1 and (signs := [sign for sign in ";\t|" if sign in present[0]]):
        return f". If {signs[0]!r} separates the values of the file, set delimiter={signs[0]!r}"
    if any(sign in column for sign in "\"'\n,"):
        return ". To keep braces in the text, double them: {{ and }}"
    if column in _SENT_WITHOUT_TEMPLATE and not named:
        meant = (get_close_matches(column, present, 1) or (present if len(present) == 1 else ["COLUMN"]))[0]
        return f". Without a template, the column {column!r} is sent. To send another column, set prompt='{{{meant}}}'"
    asked = column.strip().casefold()
    plain = [name for name in present if name.strip().casefold() == asked]  # other case, or blanks around it
    if near := plain or get_close_matches(column, present, 1):
        return f". Did you mean {near[0]!r}?"
    if any(sign in column for sign in ".[!:"):
        return ". A placeholder is a column name only, without attribute, index or format"
    return ""


class BadLineError(BatchInputError):
    """A line of the input that is not a row."""


class OutputConflictError(BatchError):
    """The output path is in use: by another job's output, or by another run of this job."""


class OutputBusyError(OutputConflictError):
    """Another run uses the same output, or has taken it over. The same job can be run again after that run."""


class ShardsMissingError(BatchError):
    """Shards cannot be merged yet: some are not finished, or there is no plan."""


class BatchStoreError(BatchError):
    """The store or the disk of the output failed for longer than the batch waits; recorded rows are kept."""


class JournalCorruptError(BatchError):
    """A record in the middle of the journal does not match its checksum: the disk or somebody changed
    the file."""
