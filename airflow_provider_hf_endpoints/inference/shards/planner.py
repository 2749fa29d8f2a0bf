"""The plan of a sharded batch, made from the sizes of the input's files and stored next to the output for all workers.

The planner looks at names and sizes and reads no row. A shard checks its files again when it begins, and refuses
files that have changed since.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, OutputConflictError
from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile, find_input
from airflow_provider_hf_endpoints.inference.inputs.formats import FILES, InputFormat, format_of
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import check_path
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.inputs.versions import RowsDigest, version_of
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock, is_left
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.shards.plan import (
    MOST_SHARDS,
    Plan,
    PlannedFile,
    check_division,
    plan_shards,
)
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.documents import encoded, read_document
from airflow_provider_hf_endpoints.inference.stores.folders import names_in, remove_folder
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike, remove_file
from airflow_provider_hf_endpoints.inference.stores.patience import patiently_here, without_failing

log = logging.getLogger(__name__)

PLAN = "plan.json"


def plan_batch(
    input_path: PathLike,
    output_path: PathLike,
    *,
    shards: int | None = None,
    bytes_per_shard: int | None = None,
    input_format: InputFormat = "auto",
    on_existing: Literal["resume", "overwrite", "fail"] = "resume",
    most: int = MOST_SHARDS,
) -> list[Shard]:
    """Divide a batch's input among workers; each then runs `BatchJob(shard=…)` with one of the results.

    JSONL that is not packed is divided by bytes, also within a file. Of all else, a file is read whole by one shard, so
    there may be fewer shards than requested. If the input is unchanged, a second call returns the same plan.

    :param input_path: as in `BatchJob`
    :param output_path: as in `BatchJob`; the plan is stored below it
    :param shards: the number of shards, or
    :param bytes_per_shard: their approximate size
    :param on_existing: if another plan or another output exists: `resume` and `fail` refuse, `overwrite`
        deletes it; `fail` refuses the same plan too
    :param most: the maximum number of shards
    :raises BatchInputError: there is no input, or it is empty
    :raises TooManyShardsError: there would be more
    :raises OutputConflictError: the output path is in use
    :raises BatchStoreError: a store refuses, or failed for two minutes
    :raises ValueError: an argument is not valid
    """
    began = int(time.time())
    check_division(shards, bytes_per_shard)
    if on_existing not in ("resume", "overwrite", "fail"):
        raise ValueError(f"on_existing={on_existing!r} is not valid. Use resume, overwrite or fail")
    format_of("", input_format)  # raises here what is a mistake of the caller, and none of a store
    if input_format == FILES.name and bytes_per_shard is not None:
        raise ValueError(f"bytes_per_shard={bytes_per_shard} does not apply to input_format='files'. Give shards")
    layout = OutputLayout.of(output_path)

    def look() -> tuple[Input, tuple[PlannedFile, ...]]:
        found = find_input(input_path, input_format)
        found.refuse_output(layout.results, layout.errors, layout.manifest)
        return found, tuple(_measure(file) for file in found.files)

    found, files = patiently_here(look, "looking for the input", sent=False)
    parts = plan_shards(files, shards=shards, bytes_per_shard=bytes_per_shard, most=most)
    if not parts:
        raise BatchInputError(f"input {found} is empty")
    plan = Plan(_as_text(input_path), input_format, files, parts)
    store = partial(_store, layout, plan, on_existing)
    patiently_here(store, f"storing the plan of the shards in {layout.shards}", sent=False)
    return plan.refs(began)


def _store(layout: OutputLayout, plan: Plan, on_existing: str) -> None:
    """Store a plan, unless it is there already.

    :raises OutputConflictError: something else is stored
    """
    if on_existing == "overwrite":
        _throw_away(layout)
    elif _is_there(layout, plan, on_existing):
        return
    with replacing(layout.shards / PLAN) as file:
        file.write(encoded(plan.as_dict()))


def read_plan(layout: OutputLayout) -> Plan | None:
    """The plan of a batch, None if there is none.

    :raises OutputConflictError: the file is not a plan
    """
    path = layout.shards / PLAN
    found = read_document(path)
    if found is None:
        return None
    try:
        return Plan.from_dict(found)
    except ValueError as error:
        raise OutputConflictError(f"{path} is {error}. Plan again with on_existing='overwrite'") from error


def only_shard(job: BatchJob, shard: Shard, found: Input) -> Input:
    """The part of a job's input that a shard reads, after a check that it is as planned.

    :param found: the whole input, as it is now
    :raises BatchInputError: a file is missing, or has changed
    :raises OutputConflictError: the plan is missing, or has changed
    """
    layout = OutputLayout.of(job.output_path)
    plan = read_plan(layout)
    if plan is None or plan.digest != shard.plan:
        there = "no plan" if plan is None else f"another plan ({plan.digest})"
        raise OutputConflictError(
            f"shard {shard.name} belongs to plan {shard.plan}, but {layout.shards} contains {there}. Run the planner "
            "again with the same output_path, then the shards"
        )
    if (plan.input_path, plan.input_format) != (_as_text(job.input_path), job.input_format):
        raise BatchInputError(
            f"the plan in {layout.shards} is for input {plan.input_path} ({plan.input_format}), but the job reads "
            f"{_as_text(job.input_path)} ({job.input_format}). Give both the same input_path and input_format"
        )
    by_path = {str(file): file for file in found.files}
    files = []
    for piece in plan.shards[shard.number]:
        file = by_path.get(piece.file.path)
        if file is None:
            raise BatchInputError(
                f"input file {piece.file.path} existed when the batch was planned, and is now missing. Restore it, or "
                'plan again with on_existing="overwrite"'
            )
        changed = _changes(piece.file, _measure(file), plan.input_format)
        if changed:
            raise BatchInputError(_changed_words(piece.file.path, changed))
        files.append(replace(file, start=piece.start, end=piece.end))
    return replace(found, files=tuple(files), whole=found.files)


def _as_text(given: Any) -> str:
    return ", ".join(str(each) for each in given) if isinstance(given, list | tuple) else str(given)


def _changed_words(path: str, changed: str) -> str:
    return (
        f"input file {path} changed since the batch was planned ({changed}), so its rows would be cut at wrong "
        'places. Restore the file, or plan again with on_existing="overwrite" and send all rows again'
    )


def _changes(old: PlannedFile, new: PlannedFile, input_format: str) -> str:
    """How a file has changed, in words; empty if it has not."""
    if old.size != new.size:
        return f"{old.size} {'files' if input_format == FILES.name else 'bytes'} then, {new.size} now"
    return f"version {old.version} then, {new.version} now" if old.version != new.version else ""


def _measure(file: InputFile) -> PlannedFile:
    """Size and version of a file; the number of files and their digest of a folder whose files are rows.

    :raises BatchInputError: it does not exist
    """
    if file.format is FILES:
        digest = RowsDigest()
        digest.add_all(read_lines(Input((file,))))
        return PlannedFile(str(file), digest.rows, digest.hexdigest())
    splits = file.format.splits and not file.packing
    try:
        size, mark = version_of(file)
    except FileNotFoundError:
        raise BatchInputError(f"input file {file} does not exist. {check_path(file.path)}") from None
    return PlannedFile(str(file), size or 0, mark, splits)


def _is_there(layout: OutputLayout, plan: Plan, on_existing: str) -> bool:
    """Whether this plan is already stored.

    :raises OutputConflictError: something else is stored
    """
    old = read_plan(layout)
    if old is None:
        for path in (layout.manifest, layout.results, layout.journal):
            if path.exists():
                raise OutputConflictError(
                    f"{path} belongs to a batch without shards. Choose another output_path, or set "
                    'on_existing="overwrite" to discard that output'
                )
        return False
    if old.digest == plan.digest and on_existing == "resume":
        return True
    raise OutputConflictError(_conflict(layout, old, plan))


def _conflict(layout: OutputLayout, old: Plan, new: Plan) -> str:
    """Why a plan cannot replace the existing one."""
    end = 'choose another output_path, or set on_existing="overwrite" to discard that batch'
    if old.digest == new.digest:
        return f"{layout.shards} already contains this plan, and on_existing is 'fail': {end}"
    if old.input_path != new.input_path:
        return f"{layout.shards} contains a plan for another input, {old.input_path}: {end}"
    before, now = ({file.path: file for file in plan.files} for plan in (old, new))
    for path, file in before.items():
        if path not in now:
            return f"{layout.shards} contains a plan with input file {path}, which is now missing: {end}"
        if changed := _changes(file, now[path], new.input_format):
            return f"{layout.shards} contains a plan from before input file {path} changed ({changed}): {end}"
    for path in now.keys() - before.keys():
        return f"{layout.shards} contains a plan from before input file {path} was added: {end}"
    return f"{layout.shards} contains a plan of {len(old.shards)} shards, but this one has {len(new.shards)}: {end}"


def _throw_away(layout: OutputLayout) -> None:
    """Delete the output, finished or not, of the previous plan.

    :raises OutputConflictError: a run is still active
    """
    with _locked(layout):
        for path in (layout.manifest, layout.shards / PLAN, layout.results, layout.errors):
            remove_file(path)
        remove_folder(layout.journal)
        for own in _shards_in(layout):
            with _locked(own):
                remove_folder(own.journal)
            remove_folder(own.manifest.parent)


def _shards_in(layout: OutputLayout) -> Iterator[OutputLayout]:
    for name in names_in(layout.shards):
        if name != PLAN:
            yield OutputLayout.of(layout.shards / name)


@contextlib.contextmanager
def _locked(layout: OutputLayout) -> Iterator[None]:
    """Has the lock while the block runs. It is not waited for if no lock was left."""
    lock = OutputLock(layout.journal)
    if not is_left(layout.journal):
        yield
        return
    lock.acquire()
    try:
        yield
    finally:
        without_failing(lock.release, "Giving the lock of the output back")
