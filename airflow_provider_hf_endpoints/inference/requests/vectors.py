"""Checks that all vectors of a batch have the same length: another length comes from another model, or is damaged."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


class VectorLengths:
    """Remembers the length of the first vector of a run, and refuses others."""

    def __init__(self) -> None:
        self._lengths: dict[str, int] = {}  # by the unit

    def check(self, result: InferenceResult) -> InferenceResult:
        """The answer itself.

        :raises MalformedAnswerError: a vector in it has another length
        """
        for length, unit in _lengths(result.output):
            first = self._lengths.setdefault(unit, length)
            if length != first:
                words = f"a vector of {length} {unit}, but the first vector of the batch has {first}"
                raise MalformedAnswerError(words, usage=result.usage)
        return result


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
