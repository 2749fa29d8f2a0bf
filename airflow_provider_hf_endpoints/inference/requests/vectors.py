"""Checks that all vectors of a batch have the same length: another length comes from another model, or is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


class VectorLengths:
    """Remembers the length of the first vector of a run, and refuses others."""

    def __init__(self) -> None:
        self._length: int | None = None

    def check(self, result: InferenceResult) -> InferenceResult:
        """The answer itself.

        :raises MalformedAnswerError: a vector in it has another length
        """
        for vector in _vectors(result.output):
            if self._length is None:
                self._length = len(vector)
            elif len(vector) != self._length:
                words = f"a vector of {len(vector)} numbers, but the first vector of the batch has {self._length}"
                raise MalformedAnswerError(words, usage=result.usage)
        return result


def _vectors(output: Any) -> Iterator[list[Any]]:
    """The innermost lists of an answer; none if the vectors are packed as text."""
    if not isinstance(output, list):
        return
    if output and isinstance(output[0], list):
        for each in output:
            yield from _vectors(each)
    elif not output or isinstance(output[0], int | float):
        yield output
