"""Reads the rows of the input: checked, rendered, ordered, and without those that are already finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.lines import (
    Line,
    RowId,
    parse_line,
    refuse_repeated_name,
    row_id,
    with_line,
)
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.journal.records import row_key
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.requests.arrays import MOST_BYTES, ArrayForm
from airflow_provider_hf_endpoints.inference.requests.render import Render
from airflow_provider_hf_endpoints.inference.sending.finished import FinishedRows
from airflow_provider_hf_endpoints.inference.sending.ordering import OrderWindow
from airflow_provider_hf_endpoints.inference.sending.parcels import Item, Packing, Parcel
from airflow_provider_hf_endpoints.inference.sending.state import Tally
from airflow_provider_hf_endpoints.inference.sending.unforeseen import internal_error

SKIPPED_AT_A_TIME = 200


class Skipped:
    """Many rows were skipped and there may be more: the worker lets others run before it asks again."""


SKIPPED = Skipped()


@dataclass(frozen=True, slots=True)
class RowForm:
    """How a line of the input becomes a row.

    :param id_column: column with the id of a row, None for its place
    :param render: from a row to its request
    :param keep_columns: columns to copy into the output
    :param line_key: from a line to its key, see `records.line_hasher`
    """

    id_column: str | None
    render: Render
    keep_columns: tuple[str, ...]
    line_key: Callable[[bytes], int]


class RowReader:
    """Turns lines into rows. Finished rows, and lines that are not rows, end here.

    :param resume: knows which rows an earlier run has finished
    :param finished: takes lines that are not rows
    :param bad_input_ends: ends the batch at a line that is not a row; None if such a line is only an error of its
        row
    """

    def __init__(
        self,
        form: RowForm,
        resume: Resume,
        finished: FinishedRows,
        tally: Tally,
        bad_input_ends: Callable[[Exception], object] | None,
    ) -> None:
        self._form = form
        self._resume = resume
        self._finished = finished
        self._tally = tally
        self._bad_input_ends = bad_input_ends
        #: A line that is not a row has ended the batch: no further line is read.
        self.refused = False

    def read(self, line: Line) -> Item | None:
        """The row in a line; None if it is already finished, or is an error."""
        identity: RowId | None = None
        form = self._form
        try:
            row = parse_line(line)
            refuse_repeated_name(line, row)
            identity = row_id(row, line, form.id_column)
            request = form.render(row)
        except (BatchInputError, InferenceError) as reason:
            self._bad_line(line, identity, with_line(reason, line))
            return None
        except Exception as reason:  # noqa: BLE001 - whatever it is: it is this row's, and no reason to end the batch
            self._bad_line(line, identity, internal_error(reason, f"making a request of {line.where}"))
            return None
        named = b"" if form.id_column is None else str(identity).encode("utf-8", "surrogatepass")
        whole = request.whole if request.media is None else request.whole + line.stamp
        key = row_key(named, whole)
        line_key = form.line_key(line.whole if line.versions else line.raw)
        if self._resume.has(line, key, line_key):
            self._tally.resumed += 1
            return None
        columns = {name: row.get(name) for name in form.keep_columns} if form.keep_columns else None
        return Item(line, key, identity, request, columns, line_key)

    def _bad_line(self, line: Line, identity: RowId | None, error: Exception) -> None:
        if self._bad_input_ends is not None:
            self.refused = True
            self._bad_input_ends(error)
            return
        key, line_key = row_key(b"", line.raw), self._form.line_key(line.whole)
        if self._resume.has(line, key, line_key):
            self._tally.resumed += 1
        else:
            self._finished.unusable(line, key, line_key, identity, error)


class Feed:
    """The rows of the input to send, as parcels. `next` never blocks.

    :param tally: counts the finished rows
    :param window: orders the rows, None for the input's order
    :param packing: how many rows go into a request
    """

    def __init__(
        self, source: LineSource, reader: RowReader, tally: Tally, window: OrderWindow | None, packing: Packing
    ) -> None:
        self._source = source
        self._reader = reader
        self._tally = tally
        self._window = window
        self._packing = packing
        self._held: Item | None = None  # a row that did not fit into the previous request

    @property
    def wants_more(self) -> bool:
        """Whether `fill` should be called."""
        return self._source.wants_more

    async def fill(self) -> None:
        """Read more of the input, in a thread."""
        await self._source.fill()

    @property
    def waiting(self) -> int:
        """About how many rows `next` may give out now."""
        window = self._window
        held = len(window) if window is not None and window.opens(last=self._all_read) else 0
        return self._source.waiting + held + (self._held is not None)

    @property
    def empty(self) -> bool:
        """Whether every row of the input has been given out."""
        return self._all_read and self.waiting == 0

    @property
    def _all_read(self) -> bool:
        return self._source.exhausted and self._source.waiting == 0

    def count_skipped(self) -> None:
        """Count the finished rows that the source skipped."""
        self._tally.resumed += self._source.skipped
        self._source.skipped = 0

    def next(self) -> Parcel | Skipped | None:
        """The next parcel; None if no row is available now, or none is left."""
        row = self._next_row()
        if not isinstance(row, Item):
            return row
        form = self._packing.form
        if form is None:
            return Parcel([row], row.request)
        rows = self._together(form, row)
        return Parcel(rows, form.request(rows))

    def _together(self, form: ArrayForm, first: Item) -> list[Item]:
        """Rows for one request, as many as are available and fit."""
        rows = [first]
        size = len(form.part(first.request))
        while size and len(rows) < self._packing.rows:
            row = self._next_row()
            if not isinstance(row, Item):
                break
            more = len(form.part(row.request))
            if not more or size + more > MOST_BYTES:
                self._held = row
                break
            size += more
            rows.append(row)
        return rows

    def _next_row(self) -> Item | Skipped | None:
        if self._held is not None:
            held, self._held = self._held, None
            return held
        return self._read_row() if self._window is None else self._ordered_row(self._window)

    def _ordered_row(self, window: OrderWindow) -> Item | Skipped | None:
        row: Item | Skipped | None = SKIPPED
        for _ in range(window.wants):
            row = self._read_row()
            if not isinstance(row, Item):
                break
            window.gather(row)
        last = self._all_read
        if not window.opens(last=last):
            return None if row is None else SKIPPED
        return window.take(last=last) or row

    def _read_row(self) -> Item | Skipped | None:
        for _ in range(SKIPPED_AT_A_TIME):
            line = None if self._reader.refused else self._source.next_line()
            if line is None:
                return None
            item = self._reader.read(line)
            if item is not None:
                return item
        return SKIPPED
