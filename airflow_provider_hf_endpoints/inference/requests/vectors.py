"""Checks that all vectors of a batch have the same length: another length comes from another model, or is damaged.

Rows may ask for vectors of different lengths, so each is compared with the first one that was asked for alike. If the
first one is not as long as asked for, the log says so.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.names import EMBED
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.placeholders import columns_of
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

log = logging.getLogger(__name__)

_TEXTS = frozenset(("input", "inputs", "messages", "user"))  # fields of a body that do not change a vector's length
_MOST = 1000  # ways to ask that are remembered; rows that each ask in their own way cannot be compared


class VectorLengths:
    """Remembers the length of the first vector, and refuses others.

    :param alike: whether all requests differ only in their texts
    """

    def __init__(self, *, alike: bool) -> None:
        self._alike = alike
        self._lengths: dict[bytes, dict[str, int]] = {}  # by how it was asked for, and by the unit
        self._told_of_dimensions = False

    def check(self, result: InferenceResult, request: RowRequest) -> InferenceResult:
        """The answer itself.

        :raises MalformedAnswerError: a vector in it has another length
        """
        if request.task != EMBED:
            return result
        asked = b"" if self._alike else _asked(request)
        known = self._lengths.get(asked)
        if known is None:
            self._tell_dimensions(result, request)
            known = {}
            if len(self._lengths) < _MOST:
                self._lengths[asked] = known
        for length, unit in _lengths(result.output):
            first = known.setdefault(unit, length)
            if length != first:
                words = f"a vector of {length} {unit}, but the first vector of the batch has {first}"
                raise MalformedAnswerError(words, usage=result.usage)
        return result

    def _tell_dimensions(self, result: InferenceResult, request: RowRequest) -> None:
        """Warn once if the engine ignores `dimensions`: its vectors are valid, but no answer says so."""
        body = fastjson.decode(request.body)
        wanted = body.get("dimensions") if isinstance(body, Mapping) else None
        if self._told_of_dimensions or type(wanted) is not int:
            return
        found = {length for length, unit in _lengths(result.output) if unit == "numbers"} - {wanted}
        if found:
            self._told_of_dimensions = True
            log.warning(
                "The requests ask for %d dimensions, but a vector has %d. The engine seems to ignore `dimensions`. "
                "Stop the batch if you need that length",
                wanted,
                found.pop(),
            )

    def begin_with(self, output: Any) -> None:
        """Take the lengths in an answer of an earlier run, if they can be compared."""
        if self._alike:
            known = self._lengths.setdefault(b"", {})
            for length, unit in _lengths(output):
                known.setdefault(unit, length)

    def told(self) -> dict[str, dict[str, int]]:
        """The first lengths as plain JSON, by how they were asked for: shards of one batch are compared by them."""
        named = {hashlib.sha256(asked).hexdigest()[:16]: known for asked, known in self._lengths.items()}
        return {name: dict(known) for name, known in named.items() if known}


def differ_in_texts_only(body: Any) -> bool:
    """Whether the requests from a template of a body differ only in their texts."""
    return isinstance(body, Mapping) and not columns_of({k: v for k, v in body.items() if k not in _TEXTS})


def _asked(request: RowRequest) -> bytes:
    """Everything in a request but its texts."""
    body = fastjson.decode(request.body)
    rest = {name: value for name, value in body.items() if name not in _TEXTS} if isinstance(body, Mapping) else {}
    return request.route.encode() + fastjson.encode(rest)


def _lengths(output: Any, levels: int = 1) -> Iterator[tuple[int, str]]:
    """The lengths of the innermost lists of an answer, and of vectors that are packed as text (base64). Of a list of
    numbers also how many lists it is in: a vector per token is another answer than a vector per text."""
    if not isinstance(output, list):
        return
    if output and isinstance(output[0], list | str):
        for each in output:
            if isinstance(each, str):
                yield len(binascii.a2b_base64(each)), "bytes"
            else:
                yield from _lengths(each, levels + 1)
    elif not output or isinstance(output[0], int | float):
        yield len(output), "numbers"
        yield levels, "levels of lists"
