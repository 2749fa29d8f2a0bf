"""What the rows of a job look like on their way in and out: how requests are made of them, and records of what came.

Both are made elsewhere, in `requests/` and `output/`, and joined where a run is put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.inference.inputs.lines import RowId
from airflow_provider_hf_endpoints.inference.journal.records import Record
from airflow_provider_hf_endpoints.inference.requests.render import Frame, Render
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

AnswerRecord = Callable[[int, int, RowId, InferenceResult, int, "dict[str, Any] | None"], Record]
ErrorRecord = Callable[[int, int, "RowId | None", Exception, int, "dict[str, Any] | None"], Record]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rows of a job look like on their way in and out.

    :param id_column: column that names a row, None for its place
    :param render: from a row to its request
    :param frame: the request around the one text in which rows differ; None where they differ in more
    :param answer: the record of a row that was answered
    :param fail: the record of a row that failed
    :param accept: a last look at an answer, None for none; it may change it, or raise
    """

    id_column: str | None
    render: Render
    frame: Frame | None
    answer: AnswerRecord
    fail: ErrorRecord
    accept: Callable[[InferenceResult], InferenceResult] | None = None
