"""Checks that all vectors of a batch have the same length: another length comes from another model, or is damaged.

Rows may ask for vectors of different lengths, so each is compared with the first one that was asked for alike.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.names import EMBED
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.placeholders import columns_of
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

_TEXTS = frozenset(("input", "inputs", "messages", "user"))  # fields of a body that do not change a vector's length
_MOST = 1000  # ways to ask that are remembered; rows that each ask in their own way cannot be compared


class VectorLengths:
    """Remembers the length of the first vector, and refuses others.

    :param alike: whether all requests differ only in their texts
    """

    def __init__(self, *, alike: bool) -> None:
        self._alike = alike
        self._lengths: dict[bytes, dict[str, int]] = {}  # by how it was asked for, and by the unit

    def check(self, result: InferenceResult, request: RowRequest) -> InferenceResult:
        """The answer itself.

        :raises MalformedAnswerError: a vector in it has another length
        """
        if request.task != EMBED:
            return result
        asked = b"" if self._alike else _asked(request)
        known = self._lengths.get(asked)
        if known is None:
            known = {}
            if len(self._lengths) < _MOST:
                self._lengths[asked] = known
        for length, unit in _lengths(result.output):
            first = known.setdefault(unit, length)
            if length != first:
                words = f"a vector of {length} {unit}, but the first vector of the batch has {first}"
                raise MalformedAnswerError(words, usage=result.usage)
        return result

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


def _lengths(output: Any) -> Iterator[tuple[int, str]]:
    """The lengths of the innermost lists of an answer, and of vectors that are packed as text (base64)."""
    if not isinstance(output, list):
        return
    if output and isinstance(output[0], list | str):
        for each in output:
            if isinstance(each, str):
                yield len(binascii.a2b_base64(each)), "bytes"
            else:
                yield from _lengths(each)
    elif not output or isinstance(output[0], int | float):
        yield len(output), "numbers"
