"""Several rows in one request: their texts form an array, and the answer is divided again.

Engines that embed or classify take many texts in one call, which is several times as fast. A row stays a row:
its identity, its attempts and its output line are the same as for a row that is sent alone. How many rows share a
request is decided in `sending/parcels.py`. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import canonical_task, traits
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import CLASSIFY, EMBED
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.requests.render import Frame, RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult, Usage

#: Bytes of a request's body. TEI refuses more than 2 MB.
MOST_BYTES = 1_000_000


class HasRequest(Protocol):
    """A row with the request that would send it alone."""

    @property
    def request(self) -> RowRequest: ...


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """The form of a request with several rows.

    :param before: the body up to a row's text
    :param after: the body after it
    :param wrapped: whether every text is a list; in TEI's `/predict`, a plain list of two texts is a pair
    """

    route: str
    task: str
    before: bytes
    after: bytes
    wrapped: bool = False

    def part(self, request: RowRequest) -> bytes:
        """A row's part of the array, as JSON; empty for a row that must be sent alone (a list of texts)."""
        body = request.body
        if not body.startswith(self.before + b'"') or not body.endswith(self.after):
            return b""
        return body[len(self.before) : len(body) - len(self.after)]

    def request(self, rows: Sequence[HasRequest]) -> RowRequest:
        """One request for several rows. A single row is sent without an array."""
        if len(rows) == 1:
            return rows[0].request
        parts = [self.part(row.request) for row in rows]
        if self.wrapped:
            parts = [b"[%b]" % part for part in parts]
        return RowRequest(self.route, b"%b[%b]%b" % (self.before, b",".join(parts), self.after), self.task)

    def texts(self, request: RowRequest) -> int:
        """The number of texts in a row's own request; 0 if unknown."""
        if self.part(request):
            return 1
        body = request.body
        if not (body.startswith(self.before) and body.endswith(self.after)):
            return 0
        inputs = fastjson.decode(body[len(self.before) : len(body) - len(self.after)])
        return len(inputs) if isinstance(inputs, list) else 0

    def split(self, rows: Sequence[HasRequest], result: InferenceResult) -> list[InferenceResult]:
        """Each row's result from the answer to all rows. The tokens are divided so that their sum is right.

        :raises MalformedAnswerError: the numbers of answers and texts differ
        """
        output = result.output
        if len(rows) == 1:
            wanted = self.texts(rows[0].request) if self.task == EMBED else 0
            if wanted and len(output) != wanted:
                raise MalformedAnswerError(f"{len(output)} vectors for {wanted} texts", usage=result.usage)
            return [result]
        if not isinstance(output, list) or len(output) != len(rows):
            count = len(output) if isinstance(output, list) else "not a list of"
            raise MalformedAnswerError(f"{count} answers for {len(rows)} rows", usage=result.usage)
        usages = share_out(result.usage, [len(self.part(row.request)) for row in rows])
        return [
            replace(result, output=_alone(self.task, entry), usage=usage, raw=None)
            for entry, usage in zip(output, usages, strict=True)
        ]


def array_form(
    frame: Frame | None, task: str, target: Target, rows_per_request: int | Literal["auto"]
) -> ArrayForm | None:
    """The form of a request with several rows; None if rows are sent alone.

    :param frame: the request around the one text in which rows differ; None if they differ in more
    :raises BatchInputError: the job sets a number of rows, but this engine takes one, or rows differ in more
    """
    name, known = canonical_task(task), traits(target.dialect).array_tasks
    if rows_per_request == 1:
        return None
    if name not in known:
        if rows_per_request == "auto":
            return None
        raise BatchInputError(
            f"rows_per_request={rows_per_request} is not possible: this engine ({target.dialect}) takes one row per "
            f"request for {task!r}"
        )
    if frame is not None:
        return ArrayForm(frame.route, name, frame.before, frame.after, wrapped=known[name])
    if rows_per_request == "auto":
        return None
    raise BatchInputError(
        f"rows_per_request={rows_per_request} is not possible: the requests of two rows differ in more than one text, "
        "so they cannot share a request. Leave rows_per_request out"
    )


def _alone(task: str, entry: Any) -> Any:
    """An array's entry in the form of the answer to a single row: embeddings are a list with one entry per text."""
    if task == CLASSIFY:
        return entry
    # A pipeline that gives a vector per token already has this list around each entry.
    matrices = isinstance(entry, list) and len(entry) == 1 and isinstance(entry[0], list)
    return entry if matrices and entry[0] and isinstance(entry[0][0], list) else [entry]


def share_out(usage: Usage | None, sizes: Sequence[int]) -> list[Usage | None]:
    """The tokens of an array, divided by the length of its texts, as integers with the engine's sum."""
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
