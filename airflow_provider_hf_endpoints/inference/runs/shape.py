"""The form of a job's rows on their way in and out: how requests are made, and how results become records.

The functions are in `requests/` and `output/`. Here they are chosen for a job and its engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.inference.engines import canonical_task, traits
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.output import lines, openai_lines
from airflow_provider_hf_endpoints.inference.requests import openai_batch, structured
from airflow_provider_hf_endpoints.inference.requests.render import (
    Frame,
    Render,
    RowRequest,
    compile_requests,
    frame_of,
    gives_vectors,
)
from airflow_provider_hf_endpoints.inference.requests.vectors import VectorLengths, differ_in_texts_only
from airflow_provider_hf_endpoints.inference.sending.finished import AnswerRecord, ErrorRecord
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a job's rows on their way in and out.

    :param id_column: column with the id of a row, None for its place
    :param render: from a row to its request
    :param frame: the request around the one text in which rows differ; None if they differ in more
    :param answer: makes the record of a row with an answer
    :param fail: makes the record of a failed row
    :param accept: a last check of an answer, None for none; it may change the answer, or raise
    :param close: called after the last answer, None for nothing
    :param lengths: what `accept` compares vectors with, None if it does not
    """

    id_column: str | None
    render: Render
    frame: Frame | None
    answer: AnswerRecord
    fail: ErrorRecord
    accept: Callable[[InferenceResult, RowRequest], InferenceResult] | None = None
    close: Callable[[], None] | None = None
    lengths: VectorLengths | None = None


def shape_of(job: BatchJob, target: Target) -> Shape:
    """The form of a job's rows, for an engine.

    :raises UnsupportedTaskError: the engine does not support the job's schema
    """
    if job.input_format == "openai-batch":
        render = openai_batch.compile_lines(target)
        lengths = VectorLengths(alike=False)
        record, fail = openai_lines.answer_record, openai_lines.error_record
        return Shape(job.names_rows_by, render, None, record, fail, lengths.check, lengths=lengths)
    parameters: Mapping[str, Any] = job.parameters or {}
    accept: Callable[[InferenceResult, RowRequest], InferenceResult] | None = None
    close: Callable[[], None] | None = None
    vectors: VectorLengths | None = None
    if job.response_schema is not None:
        schema = structured.as_json_schema(job.response_schema)
        asked = traits(target.dialect).ask_schema(canonical_task(job.task), schema, target.engine)
        parameters = {**asked, **parameters}
        accept = check = structured.SchemaCheck(schema)
        close = check.close
    render = compile_requests(job.template, target, parameters)
    frame = frame_of(job.template, target, parameters)
    if accept is None and gives_vectors(job.template, target):
        vectors = VectorLengths(alike=frame is not None or differ_in_texts_only(job.template.body))
        accept = vectors.check
    answer = lines.keeping_record if job.keep_response else lines.answer_record
    return Shape(job.names_rows_by, render, frame, answer, lines.error_record, accept, close, vectors)
