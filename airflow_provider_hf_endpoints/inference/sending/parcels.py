"""The content of one request: one row or several, how many, and how it is divided after a failure.

How several rows form one request is in `requests/arrays.py`. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_hf_endpoints.inference.errors import (
    BadRequestError,
    InferenceError,
    MalformedAnswerError,
    PayloadTooLargeError,
)
from airflow_provider_hf_endpoints.inference.inputs.lines import Line, RowId
from airflow_provider_hf_endpoints.inference.requests.arrays import ArrayForm
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest

#: Rows in a request if the engine does not report its maximum; also TEI's own default.
USUAL_ROWS = 32
#: More rows per request gain nothing, and more rows would wait for one that fails.
MOST_ROWS = 256
#: Answered arrays of one size, after which a larger size is tried; doubled with every refusal.
GROW_AFTER = 50
#: Arrays refused, or answered with nonsense, before the first success. After that, rows are sent one by one.
GIVE_UP_AFTER = 16


@dataclass(slots=True)
class Item:
    """A row to send.

    :param line: its line of the input
    :param key: of the row's id and its request, see `records.row_key`
    :param request: the request for this row alone
    :param line_key: of its line of the input, see `records.line_hasher`
    :param attempts: requests with this row that the engine worked on
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
    """The content of one request: one row, or several in an array.

    :param failures: how often the engine failed on it
    :param refusals: how often it was not accepted
    :param refused_since: when it was not accepted for the first time
    :param first_sent: when it, or the parcel it is a part of, was first sent; 0 for not yet
    :param part: whether it is a part of a parcel that failed
    """

    rows: list[Item]
    request: RowRequest
    failures: int = 0
    refusals: int = 0
    refused_since: float = 0.0
    first_sent: float = 0.0
    part: bool = False


class Packing:
    """How rows form requests: one each, or several in an array.

    :param form: how an array is made, None if each row is sent alone
    :param size: how many rows an array contains
    """

    def __init__(self, form: ArrayForm | None, size: ArraySize) -> None:
        self.form = form
        self._size = size

    @property
    def rows(self) -> int:
        """The most rows per request at the moment."""
        return self._size.rows

    def answered(self, rows: int) -> None:
        """A request with so many rows was answered."""
        if self.form is not None:
            self._size.answered(rows)

    def parts(self, parcel: Parcel, error: InferenceError) -> list[Parcel]:
        """The parts of an array that failed; none for a single row, which fails itself."""
        if self.form is None or len(parcel.rows) == 1:
            return []
        self._size.failed(parcel, error)
        return parts_of(self.form, parcel, self._size.rows)


class ArraySize:
    """How many rows go into a request: first as the engine reports, then by what it accepts.

    :param most: never more than this
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self.rows = self._most
        self._answered = 0
        self._grow_after = GROW_AFTER
        self._refused: int | None = 0  # None after an array was answered

    @classmethod
    def of(cls, wanted: int | Literal["auto"], engine_most: int | None) -> ArraySize:
        """As the job says; with `auto`, as many as the engine accepts, if that is useful.

        :param engine_most: None if the engine does not report it
        """
        return cls(min(engine_most or USUAL_ROWS, MOST_ROWS) if wanted == "auto" else wanted)

    def answered(self, rows: int) -> None:
        """A request with so many rows was answered."""
        if rows > 1:
            self._refused = None
        if rows < self.rows:
            return
        self._answered += 1
        if self.rows < self._most and self._answered >= self._grow_after:
            self.rows, self._answered = min(self._most, 2 * self.rows), 0

    def failed(self, parcel: Parcel, error: InferenceError) -> None:
        """A request with several rows failed. A part of a failed parcel teaches nothing about sizes."""
        rows = len(parcel.rows)
        if isinstance(error, PayloadTooLargeError):
            if not parcel.part and rows <= self.rows:
                self.rows, self._answered = max(1, rows // 2), 0
                self._grow_after *= 2
        elif self._refused is not None and type(error) in (BadRequestError, MalformedAnswerError):
            self._refused += 1
            if self._refused >= GIVE_UP_AFTER:
                self.rows = self._most = 1


def parts_of(form: ArrayForm, parcel: Parcel, most: int) -> list[Parcel]:
    """A parcel that failed, in halves or smaller, so that the row at fault is soon alone.

    :param most: rows in a part
    """
    rows = parcel.rows
    step = max(1, min((len(rows) + 1) // 2, most))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    return [Parcel(part, form.request(part), first_sent=parcel.first_sent, part=True) for part in parts]
