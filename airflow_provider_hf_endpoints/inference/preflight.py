"""What is checked before the first row is sent: the input, its first rows, how the endpoint is spoken to."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from array import array
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from airflow_provider_hf_endpoints.inference import steps
from airflow_provider_hf_endpoints.inference.batch_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    InferenceError,
    OverloadedError,
    StartingError,
)
from airflow_provider_hf_endpoints.inference.job import BatchJob
from airflow_provider_hf_endpoints.inference.paths import as_upath
from airflow_provider_hf_endpoints.inference.rows import RowRequest, parse_line, row_id
from airflow_provider_hf_endpoints.inference.source import read_lines
from airflow_provider_hf_endpoints.inference.templates import require_columns
from airflow_provider_hf_endpoints.inference.transport import HttpRequest, Transport

log = logging.getLogger(__name__)

FIRST_ROWS = 100
TICK = 0.05  # seconds; how soon a stop is noticed
_BUCKETS = 256


def check_input(job: BatchJob) -> None:
    """Refuse an input that cannot be used, before anything is sent.

    A line that is no row is left to `on_bad_input`, unless none of the first hundred is one.

    :raises BatchInputError: there is no file, it is empty, its rows lack a column, an id is missing or
        doubled
    """
    path = as_upath(job.input_path)
    columns = job.columns
    problems: list[BatchInputError] = []
    lines = list(itertools.islice(read_lines(path, job.input_format), FIRST_ROWS))
    if not lines:
        raise BatchInputError(f"input file {path} is empty: there is nothing to do")
    for line in lines:
        try:
            require_columns(columns, parse_line(line), line.number)
        except BatchInputError as error:
            problems.append(error)
    if problems and (len(problems) == len(lines) or job.on_bad_input == "stop"):
        raise BatchInputError.within(path, problems[0])
    if job.names_rows_by is not None:
        _check_ids(job, job.names_rows_by)


def _check_ids(job: BatchJob, id_column: str) -> None:
    """Every row has an id, and no two have the same. Eight bytes a row, sorted in parts."""
    buckets = [array("Q") for _ in range(_BUCKETS)]
    path = as_upath(job.input_path)
    for line in read_lines(path, job.input_format):
        try:
            row = parse_line(line)
        except BadLineError:
            if job.on_bad_input == "stop":
                raise
            continue
        identity = row_id(row, line.place, id_column, line.number)
        hashed = blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        buckets[hashed[0]].append(int.from_bytes(hashed, "big"))
    doubled = {first for bucket in buckets for first, second in itertools.pairwise(sorted(bucket)) if first == second}
    if doubled:
        raise BatchInputError(f"{path}: {_first_doubled(job, id_column, doubled)}")


def _first_doubled(job: BatchJob, id_column: str, doubled: set[int]) -> str:
    seen: dict[int, int] = {}
    for line in read_lines(as_upath(job.input_path), job.input_format):
        try:
            identity = row_id(parse_line(line), line.place, id_column, line.number)
        except BadLineError:
            continue
        hashed = int.from_bytes(blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        if hashed in seen:
            return (
                f"id {identity!r} in column {id_column!r} stands on line {seen[hashed]} and on line {line.number}; "
                "ids must differ"
            )
        if hashed in doubled:
            seen[hashed] = line.number
    return f"ids in column {id_column!r} are not unique"


def check_first_rows(job: BatchJob, render: Callable[[Mapping[str, Any]], RowRequest]) -> None:
    """Make the requests of the first rows without sending them.

    :raises BatchInputError: none of them can be made, or the endpoint's engine does not serve the task
    """
    last: Exception | None = None
    for line in itertools.islice(read_lines(as_upath(job.input_path), job.input_format), FIRST_ROWS):
        try:
            render(parse_line(line))
        except (BatchInputError, InferenceError) as error:
            last = last or error
        else:
            return
    if isinstance(last, InferenceError):
        raise BatchInputError(str(last)) from last
    if last is not None:
        raise last


async def discover_target(job: BatchJob, transport: Transport, stop: Callable[[], bool]) -> steps.Target:
    """How to speak to the endpoint; waits for one that is not ready, with one question every few seconds.

    :raises InferenceError: it does not come within `startup_timeout`, or refuses
    """
    deadline = time.monotonic() + job.startup_timeout
    said = False
    while True:
        try:
            return await _discover(job, transport)
        except (StartingError, ConnectionFailedError, OverloadedError) as error:
            pause = max(job.probe_interval, error.retry_after or 0.0)
            if time.monotonic() + pause > deadline:
                raise
            if not said:
                log.info("waiting for the endpoint: %s", error)
                said = True
            resume_at = time.monotonic() + pause
            while time.monotonic() < resume_at:
                if stop():
                    raise
                await asyncio.sleep(min(TICK, pause))


async def _discover(job: BatchJob, transport: Transport) -> steps.Target:
    questions = steps.discover(job.engine, job.model)
    try:
        request = next(questions)
        while True:
            wire = HttpRequest(request.method, request.route, b"", min(60.0, job.request_timeout))
            request = questions.send(await transport.send(wire))
    except StopIteration as end:
        target: steps.Target = end.value
        return target
