"""Several rows in one request: how their texts go into an array, and how its answer is taken apart again.

Engines that embed or classify take many texts in one call and are several times as fast for it. A row stays a row:
its identity, its attempts and its line in the output are those of a row that was sent alone. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import canonical_task, traits
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED
from airflow_provider_hf_endpoints.inference.errors import (
    BadRequestError,
    InferenceError,
    MalformedAnswerError,
    PayloadTooLargeError,
)
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.requests.render import Frame, RowRequest
from airflow_provider_hf_endpoints.inference.sending.parcels import Item, Parcel
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage

#: Rows in a request where the engine does not say how many it takes; also TEI's own default.
USUAL_ROWS = 32
#: An engine that takes more gains nothing by it, and more rows would wait for one that fails.
MOST_ROWS = 256
#: Bytes of a request's body; TEI refuses more than 2 MB.
MOST_BYTES = 1_000_000
#: Answered arrays, at the size found, after which a larger one is tried; doubled with every refusal.
GROW_AFTER = 50
#: Arrays that the engine refused or answered senselessly, before it took a first one, after which rows go one by one.
GIVE_UP_AFTER = 16


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """How an engine takes several rows' texts in one request.

    :param before: the body up to a row's text
    :param after: the body behind it
    :param wrapped: every text is a list of its own; TEI's `/predict` takes a plain list of two for a pair
    """

    route: str
    task: str
    before: bytes
    after: bytes
    wrapped: bool = False

    def part(self, request: RowRequest) -> bytes:
        """What a row puts into the array, as JSON; empty for a row that has to be sent alone (a list of texts)."""
        body = request.body
        if not body.startswith(self.before + b'"') or not body.endswith(self.after):
            return b""
        return body[len(self.before) : len(body) - len(self.after)]

    def request(self, rows: Sequence[Item]) -> RowRequest:
        """One request for several rows; a single row is sent as if there were no arrays."""
        if len(rows) == 1:
            return rows[0].request
        parts = [self.part(row.request) for row in rows]
        if self.wrapped:
            parts = [b"[%b]" % part for part in parts]
        return RowRequest(self.route, b"%b[%b]%b" % (self.before, b",".join(parts), self.after), self.task)

    def texts(self, request: RowRequest) -> int:
        """How many texts a row's own request holds; 0 when that cannot be told."""
        if self.part(request):
            return 1
        body = request.body
        if not (body.startswith(self.before) and body.endswith(self.after)):
            return 0
        inputs = fastjson.decode(body[len(self.before) : len(body) - len(self.after)])
        return len(inputs) if isinstance(inputs, list) else 0

    def split(self, rows: Sequence[Item], result: InferenceResult) -> list[InferenceResult]:
        """Each row's own result out of the answer to all of them, tokens shared out so that they add up.

        :raises MalformedAnswerError: there are not as many answers as texts
        """
        output = result.output
        if len(rows) == 1:
            wanted = self.texts(rows[0].request) if self.task == EMBED else 0
            if wanted and len(output) != wanted:
                raise MalformedAnswerError(f"{len(output)} vectors for {wanted} texts", usage=result.usage)
            return [result]
        if not isinstance(output, list) or len(output) != len(rows):
            count = len(output) if isinstance(output, list) else "no list of"
            raise MalformedAnswerError(f"{count} answers for {len(rows)} rows", usage=result.usage)
        usages = share_out(result.usage, [len(self.part(row.request)) for row in rows])
        return [
            replace(result, output=_alone(self.task, entry), usage=usage, raw=None)
            for entry, usage in zip(output, usages, strict=True)
        ]


def array_form(
    frame: Frame | None, task: str, target: Target, rows_per_request: int | Literal["auto"]
) -> ArrayForm | None:
    """How several rows go into one request; None where they do not.

    :param frame: the request around the one text in which rows differ; None where they differ in more
    :raises BatchInputError: a number of rows was asked for, and this engine takes one
    """
    name, known = canonical_task(task), traits(target.dialect).array_tasks
    if rows_per_request == 1:
        return None
    if name not in known:
        if rows_per_request == "auto":
            return None
        raise BatchInputError(
            f"rows_per_request={rows_per_request}: this engine ({target.dialect}) takes one row per request "
            f"for {task!r}"
        )
    return None if frame is None else ArrayForm(frame.route, name, frame.before, frame.after, wrapped=known[name])


def _alone(task: str, entry: Any) -> Any:
    """An array's entry as the answer to the row alone would read: embeddings are a list with one entry per text."""
    if task == CLASSIFY:
        return entry
    # A pipeline that gives a vector per token has that list around each entry already.
    matrices = isinstance(entry, list) and len(entry) == 1 and isinstance(entry[0], list)
    return entry if matrices and entry[0] and isinstance(entry[0][0], list) else [entry]


def share_out(usage: Usage | None, sizes: Sequence[int]) -> list[Usage | None]:
    """The tokens of an array by the length of its texts, in whole numbers that add up to what the engine counted."""
    if usage is None:
        return [None] * len(sizes)
    prompts = _portions(usage.prompt_tokens, sizes)
    completions = _portions(usage.completion_tokens, sizes)
    return [Usage(*pair) for pair in zip(prompts, completions, strict=True)]


def _portions(total: int | None, sizes: Sequence[int]) -> Sequence[int | None]:
    if total is None:
        return [None] * len(sizes)
    whole, given, seen = sum(sizes), 0, 0
    portions = []
    for size in sizes:
        seen += size
        until = total * seen // whole
        portions.append(until - given)
        given = until
    return portions


class ArraySize:
    """How many rows go into a request: what the engine says at first, then what it takes.

    :param most: never more than this
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self.rows = self._most
        self._answered = 0
        self._grow_after = GROW_AFTER
        self._refused: int | None = 0  # None once an array was answered

    @classmethod
    def of(cls, wanted: int | Literal["auto"], engine_most: int | None) -> ArraySize:
        """As the job says; `auto` for what the engine takes, as far as that is of use.

        :param engine_most: None where it does not say
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
        """A request with several rows failed. A part of one that failed before teaches nothing about sizes."""
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
    """A parcel that failed, in halves or smaller: whichever row is to blame is soon alone.

    :param most: rows in a part
    """
    rows = parcel.rows
    step = max(1, min((len(rows) + 1) // 2, most))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    return [Parcel(part, form.request(part), first_sent=parcel.first_sent, part=True) for part in parts]
