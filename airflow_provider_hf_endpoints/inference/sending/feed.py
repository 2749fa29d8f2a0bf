"""Rows out of the input, ready to be sent: read, checked, rendered, put in order; those that are done are left out."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.lines import Line, RowId, parse_line, row_id
from airflow_provider_hf_endpoints.inference.inputs.source import LineSource
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.journal.dead_letters import with_letter
from airflow_provider_hf_endpoints.inference.journal.records import Record, row_key
from airflow_provider_hf_endpoints.inference.journal.resume import Resume
from airflow_provider_hf_endpoints.inference.sending.arrays import MOST_BYTES, ArrayForm, ArraySize
from airflow_provider_hf_endpoints.inference.sending.ordering import Window
from airflow_provider_hf_endpoints.inference.sending.parcels import Item, Parcel, Tally
from airflow_provider_hf_endpoints.inference.sending.shape import Shape

SKIPPED_AT_A_TIME = 200


class Skipped:
    """Rows were skipped and there may be more: let others run before going on."""


SKIPPED = Skipped()


class Feed:
    """The rows of the input that are still to be sent; `next` never blocks.

    :param alike: send rows near to each other that begin alike
    :param arrays: how several rows go into one request, None where they do not
    :param size: how many
    :param line_key: see `records.line_hasher`
    :param tally: where rows that are done already are counted
    :param record: takes the record of a line that is no row
    :param refuse: takes the reason why the input cannot be gone on with
    """

    def __init__(
        self,
        job: BatchJob,
        shape: Shape,
        source: LineSource,
        resume: Resume,
        tally: Tally,
        *,
        alike: bool,
        arrays: ArrayForm | None,
        size: ArraySize,
        line_key: Callable[[bytes], int],
        record: Callable[[Record, int], None],
        refuse: Callable[[Exception], object],
    ) -> None:
        self._job = job
        self._shape = shape
        self._source = source
        self._resume = resume
        self._tally = tally
        self._line_key = line_key
        self._record = record
        self._refuse = refuse
        self._refused = False
        self._arrays = arrays
        self._size = size
        self._held: Item | None = None  # a row that did not fit into the request before
        self._window = Window(job.order_window, alike=alike) if job.order_window > 1 else None

    @property
    def waiting(self) -> int:
        """Rows that `next` may give out just now, or nearly."""
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
        """Count the rows that the source left out because they are done."""
        self._tally.resumed += self._source.skipped
        self._source.skipped = 0

    def next(self) -> Parcel | Skipped | None:
        """What to send next; None when there is nothing at hand just now, or nothing any more."""
        row = self._next_row()
        if not isinstance(row, Item):
            return row
        if self._arrays is None:
            return Parcel([row], row.request)
        rows = self._together(self._arrays, row)
        return Parcel(rows, self._arrays.request(rows))

    def _together(self, arrays: ArrayForm, first: Item) -> list[Item]:
        """Rows for one request, as many as are at hand and fit."""
        rows = [first]
        size = len(arrays.part(first.request))
        while size and len(rows) < self._size.rows:
            row = self._next_row()
            if not isinstance(row, Item):
                break
            more = len(arrays.part(row.request))
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

    def _ordered_row(self, window: Window) -> Item | Skipped | None:
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
            line = None if self._refused else self._source.next_line()
            if line is None:
                return None
            item = self._prepare(line)
            if item is not None:
                return item
        return SKIPPED

    def _prepare(self, line: Line) -> Item | None:
        """The row in a line; None when it is done already, or is an error by itself."""
        identity: RowId | None = None
        job = self._job
        try:
            row = parse_line(line)
            identity = row_id(row, line, self._shape.id_column)
            request = self._shape.render(row)
        except (BatchInputError, InferenceError) as reason:
            self._bad_line(line, identity, _with_line(reason, line))
            return None
        named = b"" if self._shape.id_column is None else str(identity).encode("utf-8", "surrogatepass")
        key = row_key(named, request.route.encode() + b" " + request.body)
        line_key = self._line_key(line.raw)
        if self._resume.has(line, key, line_key):
            self._tally.resumed += 1
            return None
        columns = {name: row.get(name) for name in job.keep_columns} if job.keep_columns else None
        return Item(line, key, identity, request, columns, line_key)

    def _bad_line(self, line: Line, identity: RowId | None, error: BatchInputError) -> None:
        if self._job.on_bad_input == "stop":
            self._refused = True
            self._refuse(error)
            return
        key, line_key = row_key(b"", line.raw), self._line_key(line.raw)
        if self._resume.has(line, key, line_key):
            self._tally.resumed += 1
        else:
            failed = self._shape.fail(line.place, key, identity, error, 0, None)
            self._record(with_letter(failed, line), line_key)


def _with_line(error: BatchInputError | InferenceError, line: Line) -> BatchInputError:
    """The error with file and line in its words, where they do not stand there yet."""
    if isinstance(error, BatchInputError) and f"{line.where} " in str(error):
        return error
    return BatchInputError(f"{line.where}: {error}")
