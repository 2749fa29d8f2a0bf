"""Merges the outputs of a batch's shards: the same files that one worker would have written, and a manifest.

Memory has only counts. Lines are copied, and the row's place in the shard is replaced by
its place in the whole batch. The result depends only on the shards, so a killed merge is run again and writes
the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from airflow_provider_hf_endpoints import __version__
from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.input_errors import (
    BatchInputError,
    OutputConflictError,
    ShardsMissingError,
)
from airflow_provider_hf_endpoints.inference.inputs.ids import hash_id, written_alike
from airflow_provider_hf_endpoints.inference.inputs.lines import RowId
from airflow_provider_hf_endpoints.inference.job.ends import judge
from airflow_provider_hf_endpoints.inference.job.identity import FORMAT, digest
from airflow_provider_hf_endpoints.inference.job.output_form import answers_vectors
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.journal.lock import WAIT, OutputLock
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.manifest import COUNTS, read_manifest, report_in, write_manifest
from airflow_provider_hf_endpoints.inference.output.writers import LineTarget, writing_rows
from airflow_provider_hf_endpoints.inference.shards.cost import cost_of_whole
from airflow_provider_hf_endpoints.inference.shards.ids import find_doubled, id_file
from airflow_provider_hf_endpoints.inference.shards.moved_lines import Move, is_letter_of
from airflow_provider_hf_endpoints.inference.shards.parts import ShardOutput, changed, finished_parts
from airflow_provider_hf_endpoints.inference.shards.plan import Plan
from airflow_provider_hf_endpoints.inference.shards.planner import read_plan
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.folders import names_in, remove_folder
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike, require_scratch
from airflow_provider_hf_endpoints.inference.stores.patience import patiently_here, without_failing

log = logging.getLogger(__name__)


def merge_shards(output_path: PathLike, *, keep_shards: bool = False, unique_ids: bool = True) -> BatchReport:
    """Merge the outputs of all shards, in the order of the input, and remove them.

    After a kill, it starts again and writes the same. After it has finished, it returns its report.

    :param output_path: of the whole batch, as given to the planner and the shards
    :param keep_shards: whether to keep the shards' outputs
    :param unique_ids: whether to refuse ids that are in two shards; each shard has already checked its own
    :raises ShardsMissingError: some shards are not finished; nothing was written
    :raises OutputConflictError: another job's output, or another run, uses the path, or the shards' vectors differ in
        length; nothing was written
    :raises BatchInputError: an id is in two shards, or the input has no row
    :raises BatchStoreError: this machine cannot gather the output, or a store failed for two minutes
    :raises BatchFailed: more rows failed than the shards' job allows; everything is written
    """
    layout = OutputLayout.of(output_path)
    plan = patiently_here(partial(read_plan, layout), f"reading the plan of the shards in {layout.shards}", sent=False)
    if plan is None:
        raise ShardsMissingError(f"no plan of shards below {layout.shards}. Plan and run the shards first")
    require_scratch(layout.results)
    lock = OutputLock(layout.journal)
    patiently_here(partial(lock.acquire, WAIT), f"taking the lock of the output {output_path}", sent=False)
    try:
        finished = patiently_here(
            partial(_finished, layout, plan), f"looking for a finished output in {output_path}", sent=False
        )
        if finished is None:
            merge = partial(_merge, output_path, layout, plan, unique_ids, lock.check)
            finished = patiently_here(merge, f"merging the outputs of the shards in {layout.shards}", sent=False)
        if not keep_shards:
            lock.check()
            # A rest of the shards must not fail a finished merge: it would fail again each time.
            without_failing(
                partial(_remove, layout, plan),
                f"Deleting the outputs of the shards below {layout.shards}",
                "The merged output is finished. Delete them by hand",
            )
    finally:
        without_failing(lock.release, "Giving the lock of the output back")
    report = report_in(finished, layout)
    log.info("%s", report.summary())
    return judge(report, **finished["limits"])


def _finished(layout: OutputLayout, plan: Plan) -> dict[str, Any] | None:
    """The manifest of an earlier merge of the same shards."""
    manifest = read_manifest(layout)
    if manifest is not None and manifest.get("plan") != plan.digest:
        raise OutputConflictError(
            f"{layout.manifest} belongs to another job than the shards below {layout.shards}. Choose another "
            'output_path, or plan with on_existing="overwrite" to discard the existing output'
        )
    return manifest


def _merge(
    output_path: PathLike, layout: OutputLayout, plan: Plan, unique_ids: bool, check: Callable[[], None]
) -> dict[str, Any]:
    parts = finished_parts(layout, plan)
    if unique_ids:
        _check_ids(parts)
    totals = _totals(parts)
    if not totals["rows"]:
        raise BatchInputError(f"the input {plan.input_path} has no rows")
    vectors = answers_vectors(parts[0].manifest["identity"].get("task", ""))
    with (
        writing_rows(layout.results, check, vectors=vectors) as results,
        replacing(layout.errors, check) as errors,
    ):
        for part in parts:
            _copy(part, results, errors)
    manifest = _manifest(output_path, layout, plan, parts, totals)
    write_manifest(layout, manifest, check)
    return manifest


def _totals(parts: Sequence[ShardOutput]) -> dict[str, Any]:
    totals: dict[str, Any] = {name: sum(part.report[name] for part in parts) for name in COUNTS}
    kinds: dict[str, int] = {}
    for part in parts:
        for kind, count in part.report["errors"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    return {**totals, "errors": kinds}


def _copy(part: ShardOutput, results: LineTarget, errors: LineTarget) -> None:
    """Copy a shard's lines and dead letters, with places in the whole batch.

    :raises JournalCorruptError: the files do not have the lines that the shard has written
    """
    move = Move(part.start, part.lines, part.told["ids_are_places"])
    rows = failed = 0
    lines = hashlib.sha256()
    with part.layout.results.open("rb") as results_file, part.layout.errors.open("rb") as errors_file:
        letters = _lines(errors_file)
        letter = next(letters, None)
        for line in _lines(results_file):
            results.write(move.line(line))
            lines.update(line)
            rows += 1
            if letter is not None and is_letter_of(letter, line):
                errors.write(move.letter(letter, line))
                failed += 1
                letter = next(letters, None)
    failed += letter is not None  # a letter without a row, and perhaps more after it
    for name, found, told in (("lines", rows, part.report["rows"]), ("dead letters", failed, part.report["failed"])):
        if found != told:
            raise changed(part, part.layout.results, f"has {found} {name}, but its manifest says {told}")
    if lines.hexdigest() != part.told.get("digest", lines.hexdigest()):  # earlier releases did not write this
        raise changed(part, part.layout.results, "has other lines than those that the shard wrote")


def _lines(file: Any) -> Iterator[bytes]:
    """Lines of a file of which only `read` is used: the files that Airflow 3.0's paths open cannot be iterated."""
    rest = b""
    while block := file.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def _check_ids(parts: Sequence[ShardOutput]) -> None:
    """
    :raises BatchInputError: an id is in two shards
    """
    by_file = {id_file(part.layout, part.shard.plan, part.shard.name): part for part in parts if part.told["ids"]}
    doubled = find_doubled(list(by_file), lambda file: _hashes_in_results(by_file[file])) if by_file else set()
    if not doubled:
        return
    seen: dict[int, tuple[RowId, int]] = {}
    for part in parts:
        for place, identity, hashed in _ids_in_results(part):
            if hashed not in doubled:
                continue
            if hashed in seen:
                first, before = seen[hashed]
                raise BatchInputError(
                    f"id {identity!r} appears in row {before} and in row {place} of the input (shard "
                    f"{part.shard.name}){written_alike(first, identity)}. Ids must be unique. To keep both rows, "
                    "merge with unique_ids=False"
                )
            seen[hashed] = identity, place


def _hashes_in_results(part: ShardOutput) -> Iterator[int]:
    log.warning("%s is missing or damaged. The ids of its rows are read from the results", part.layout.ids)
    return (hashed for _, _, hashed in _ids_in_results(part))


def _ids_in_results(part: ShardOutput) -> Iterator[tuple[int, RowId, int]]:
    """Place, id and the id's hash of each row of a shard that has an id.

    :raises JournalCorruptError: a line is not a result
    """
    with part.layout.results.open("rb") as file:
        for place, line in enumerate(_lines(file), start=part.start):
            try:
                row = fastjson.decode(line)
                identity = row.get("custom_id", row.get("id"))
            except (ValueError, AttributeError):
                raise changed(part, part.layout.results, "has a line that is not a result") from None
            if identity is not None:
                yield place, identity, hash_id(identity)


def _manifest(
    output_path: PathLike, layout: OutputLayout, plan: Plan, parts: Sequence[ShardOutput], totals: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest as of a batch by one worker. Times come from the shards, so that a second merge writes the same."""
    first = parts[0].manifest
    identity = {name: value for name, value in first["identity"].items() if name != "plan"}
    identity["inputs"] = {file.path: [file.size, file.version] for file in plan.files}
    began = min(part.manifest["started_at"] for part in parts)
    ended = max(part.manifest["finished_at"] for part in parts)
    report = BatchReport(
        output_path=str(output_path),
        **layout.told,
        seconds=(datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds(),
        engine=_all("engine", parts),
        model=_all("model", parts),
        cost=cost_of_whole([part.manifest for part in parts], totals),
        **totals,
    )
    return {
        "format": FORMAT,
        "job": digest(identity),
        "identity": identity,
        "report": report.as_dict(),
        "endpoint": first["endpoint"],
        "started_at": began,
        "finished_at": ended,
        "files": {"results": layout.results.name, "errors": layout.errors.name},
        "version": __version__,
        "limits": first["limits"],
        "plan": plan.digest,
        "shards": [{name: part.report[name] for name in COUNTS} for part in parts],
    }


def _all(name: str, parts: Sequence[ShardOutput]) -> str | None:
    """The value that all shards have, else the list of their values."""
    told = dict.fromkeys(part.report[name] for part in parts if part.report[name] is not None)
    return ", ".join(told) or None


def _remove(layout: OutputLayout, plan: Plan) -> None:
    """Delete the shards' outputs. The plan stays, so that a later run knows them."""
    there = set(names_in(layout.shards))
    for shard in plan.refs():
        if shard.name in there:
            own = layout.of_shard(shard.name)
            remove_folder(own.journal)
            remove_folder(own.manifest.parent)
