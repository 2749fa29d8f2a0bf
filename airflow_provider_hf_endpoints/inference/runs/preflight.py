"""What is checked before the first row is sent: the input, its first rows, how the endpoint is spoken to."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from array import array
from collections.abc import Callable, Generator, Mapping
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.inference.engines import discovery
from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    InferenceError,
    OverloadedError,
    StartingError,
)
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile, find_input
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.journal.journal import names_in
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.publish import replacing, require_writer
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest, parse_line, row_id
from airflow_provider_hf_endpoints.inference.requests.templates import require_columns
from airflow_provider_hf_endpoints.inference.shards.ids import find_doubled, hash_id, write_hashes
from airflow_provider_hf_endpoints.inference.shards.planner import PLAN, only_shard
from airflow_provider_hf_endpoints.inference.wire import WireRequest, WireResponse

log = logging.getLogger(__name__)

FIRST_ROWS = 100
FIRST_FILES = 100
TICK = 0.05  # seconds; how soon a stop is noticed
COMPARED_AT_MOST = 1 << 25  # bytes of other shards' ids: four million rows
_BUCKETS = 256


def find_job_input(job: BatchJob) -> Input:
    """The files that a job reads.

    :raises BatchInputError: there is none, or the job would write where it reads
    """
    source = find_input(job.input_path, job.input_format, job.reads_columns)
    layout = job.whole_layout
    source.refuse_output(layout.results, layout.errors)
    require_writer(layout.results)
    if layout.results.name.endswith(".parquet") and job.input_format == "openai-batch":
        raise BatchInputError(
            f"output_path {job.output_path}: answers in OpenAI Batch's form are JSON lines: end it in .jsonl"
        )
    return source if job.shard is None else only_shard(job, job.shard, source)


def check_input(job: BatchJob, source: Input | None = None) -> list[array[int]]:
    """Refuse an input that cannot be used, before anything is sent.

    A line that is no row is left to `on_bad_input`, unless none of a file's first hundred is one. That is asked of a
    hundred files at most.

    :param source: the job's files, None to look for them
    :return: where rows have ids, the hashes of them, in order
    :raises BatchInputError: there is no file, it is empty or torn, its rows lack a column, an id is missing or
        doubled
    """
    source = source or find_job_input(job)
    rows = 0
    for file in source.files[:FIRST_FILES]:
        lines = list(itertools.islice(read_lines(source.only(file)), FIRST_ROWS))
        if job.on_bad_input == "stop" or not _is_fragment(file, lines):
            _check_first(job, file, lines)
        rows += len(lines)
    if job.shard is None and not rows and next(read_lines(source), None) is None:
        raise BatchInputError(f"input file {source} is empty: there is nothing to do")
    return [] if job.names_rows_by is None else _check_ids(job, source, job.names_rows_by)


def _is_fragment(file: InputFile, lines: list[Line]) -> bool:
    """Whether bad lines here need not mean a bad file: they are not its first hundred."""
    return file.start > 0 or (file.end is not None and len(lines) < FIRST_ROWS)


def _check_first(job: BatchJob, file: InputFile, lines: list[Line]) -> None:
    problems: list[BatchInputError] = []
    for line in lines:
        try:
            require_columns(job.columns, parse_line(line), line.where)
        except BatchInputError as error:
            problems.append(error)
    if problems and (len(problems) == len(lines) or job.on_bad_input == "stop"):
        raise BatchInputError.within(file, problems[0])


def _check_ids(job: BatchJob, source: Input, id_column: str) -> list[array[int]]:
    """Every row has an id, and no two have the same. Eight bytes a row, sorted in parts."""
    buckets = [array("Q") for _ in range(_BUCKETS)]
    for line in read_lines(source):
        try:
            row = parse_line(line)
        except BadLineError:
            if job.on_bad_input == "stop":
                raise
            continue
        hashed = hash_id(row_id(row, line, id_column))
        buckets[hashed >> 56].append(hashed)
    for number, bucket in enumerate(buckets):
        buckets[number] = array("Q", sorted(bucket))
    doubled = {first for bucket in buckets for first, second in itertools.pairwise(bucket) if first == second}
    if doubled:
        raise BatchInputError(f"{source}: {_first_doubled(source, id_column, doubled)}")
    return buckets


def compare_ids(job: BatchJob, source: Input, hashes: list[array[int]]) -> None:
    """Leave a shard's ids where the other shards find them, and see whether one of theirs is among them.

    Whichever of two comes later sees both, so a doubled id is told before its second row is sent. Above a number of
    rows that would cost more than it is worth, with each reading all; then the merge is the first to see.

    :param hashes: as `check_input` returned them
    :raises BatchInputError: an id stands in another shard too
    """
    if not hashes or job.shard is None or job.names_rows_by is None:
        return
    own = job.layout.ids
    with replacing(own) as file:
        write_hashes(file, itertools.chain.from_iterable(hashes))
    others = [path for path in ids_of_others(OutputLayout.of(job.output_path), own) if path.exists()]
    if sum(path.stat().st_size for path in others) > COMPARED_AT_MOST:
        return
    doubled = find_doubled([own, *others])
    for line in read_lines(source) if doubled else ():
        try:
            identity = row_id(parse_line(line), line, job.names_rows_by)
        except BadLineError:
            continue
        if hash_id(identity) in doubled:
            raise BatchInputError(
                f"id {identity!r} in column {job.names_rows_by!r} stands on {line.where} and in another shard of "
                f"{job.output_path}; ids must differ"
            )


def ids_of_others(layout: OutputLayout, own: UPath) -> list[UPath]:
    """Where the other shards of a batch leave their ids."""
    names = sorted(set(names_in(layout.shards)) - {own.parent.name, PLAN})
    return [OutputLayout.of(layout.shards / name).ids for name in names]


def _first_doubled(source: Input, id_column: str, doubled: set[int]) -> str:
    seen: dict[int, str] = {}
    for line in read_lines(source):
        try:
            identity = row_id(parse_line(line), line, id_column)
        except BadLineError:
            continue
        hashed = hash_id(identity)
        if hashed in seen:
            return (
                f"id {identity!r} in column {id_column!r} stands on {seen[hashed]} and on {line.where}; ids must differ"
            )
        if hashed in doubled:
            seen[hashed] = line.where
    return f"ids in column {id_column!r} are not unique"


def check_first_rows(source: Input, render: Callable[[Mapping[str, Any]], RowRequest]) -> None:
    """Make the requests of the first rows without sending them.

    :raises BatchInputError: none of them can be made, though they are the first of their file, or the endpoint's engine
        does not serve the task
    """
    last: Exception | None = None
    lines = list(itertools.islice(read_lines(source), FIRST_ROWS))
    for line in lines:
        try:
            render(parse_line(line))
        except (BatchInputError, InferenceError) as error:
            last = last or error
        else:
            return
    if isinstance(last, InferenceError):
        raise BatchInputError(str(last)) from last
    if last is not None and not _is_fragment(source.files[0], lines):
        raise last


async def discover_target(job: BatchJob, transport: Transport, stop: Callable[[], bool]) -> discovery.Target:
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


async def _discover(job: BatchJob, transport: Transport) -> discovery.Target:
    questions = _questions(job)
    try:
        request = next(questions)
        while True:
            wire = HttpRequest(request.method, request.route, b"", min(60.0, job.request_timeout))
            request = questions.send(await transport.send(wire))
    except StopIteration as end:
        target: discovery.Target = end.value
        return target


def _questions(job: BatchJob) -> Generator[WireRequest, WireResponse, discovery.Target]:
    target = yield from discovery.discover(job.engine, job.model)
    if job.rows_per_request == "auto" and job.many_in_one(target):
        target = yield from discovery.ask_most_inputs(target)
    return (yield from discovery.ask_slots(target)) if job.max_concurrency == "auto" else target
