"""The finished shards of a plan. Each is checked before the merge: it is the one that the plan means, and its files are
as its worker left them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import (
    JournalCorruptError,
    OutputConflictError,
    ShardsMissingError,
)
from airflow_provider_hf_endpoints.inference.job.identity import differences
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.manifest import COUNTS, changed_files, read_manifest
from airflow_provider_hf_endpoints.inference.shards.plan import Plan

_TOLD_AT_MOST = 5  # shards, in an error


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """A finished shard.

    :param start: rows of the shards before it
    :param lines: lines of its first file that belong to the shards before it
    """

    shard: Shard
    layout: OutputLayout
    manifest: Mapping[str, Any]
    start: int
    lines: int

    @property
    def report(self) -> Mapping[str, Any]:
        report: Mapping[str, Any] = self.manifest["report"]
        return report

    @property
    def told(self) -> Mapping[str, Any]:
        """What the shard tells the merge."""
        told: Mapping[str, Any] = self.manifest["shard"]
        return told


def finished_parts(layout: OutputLayout, plan: Plan) -> list[ShardOutput]:
    """All shards, which must be finished and belong to one job.

    :raises ShardsMissingError: some are not finished
    :raises OutputConflictError: some belong to another plan or job, or their manifest was changed, or their vectors
        differ in length
    :raises JournalCorruptError: a file of a shard is missing, or was changed
    """
    parts: list[ShardOutput] = []
    missing: list[Shard] = []
    start = 0
    lines: dict[str, int] = {}  # of divided files, if they were counted
    for shard, pieces in zip(plan.refs(), plan.shards, strict=True):
        own = layout.of_shard(shard.name)
        manifest = read_manifest(own)
        if manifest is None:
            missing.append(shard)
            continue
        _require_complete(manifest, shard, own)
        first = parts[0].manifest["identity"] if parts else {**manifest["identity"], "plan": shard.plan}
        different = differences(first, manifest["identity"])
        if different:
            raise OutputConflictError(
                f"shard {shard.name} in {own.manifest.parent} belongs to another job than the other shards: "
                f"{'; '.join(different)}. Remove that folder, and run the shard again"
            )
        parts.append(ShardOutput(shard, own, manifest, start, lines.get(pieces[0].file.path, 0)))
        start += manifest["report"]["rows"]
        for path, count in manifest["shard"]["lines"].items():
            lines[path] = lines.get(path, 0) + count
    if missing:
        names = ", ".join(shard.name for shard in missing[:_TOLD_AT_MOST])
        more = f" and {len(missing) - _TOLD_AT_MOST} more" if len(missing) > _TOLD_AT_MOST else ""
        raise ShardsMissingError(
            f"{len(missing)} of {len(plan.shards)} shards are not finished: {names}{more} have no manifest below "
            f"{layout.shards}. Run them again (in Airflow, clear the mapped tasks with these numbers), then merge"
        )
    for part in parts:
        _check_files(part)
    _check_vectors(parts)
    return parts


def _require_complete(manifest: Mapping[str, Any], shard: Shard, own: OutputLayout) -> None:
    """
    :raises OutputConflictError: the manifest is another shard's, or lacks what a merge needs
    """
    if not _is_complete(manifest):
        raise OutputConflictError(
            f"{own.manifest} is not the manifest of a finished shard, so another program changed it. Remove the "
            "folder of the shard, and run the shard again"
        )
    number, of = manifest["shard"]["number"], manifest["shard"]["of"]
    if (number, of) != (shard.number, shard.of):
        raise OutputConflictError(
            f"{own.manifest} is that of shard {number} of {of}, in the folder of shard {shard.name}, so the folder was "
            "moved or copied. Move the folder back, or remove the folder and run the shard again"
        )


def _is_complete(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest has all that a merge reads, in the right types."""
    try:
        told, report = manifest["shard"], manifest["report"]
        counts = [told["number"], told["of"], *(report[name] for name in COUNTS), *told["lines"].values()]
        counts += [length for lengths in told.get("vectors", {}).values() for length in lengths.values()]
        for name in ("started_at", "finished_at"):
            datetime.fromisoformat(manifest[name])
        return (
            all(type(count) is int for count in counts)
            and all(type(told[name]) is bool for name in ("ids", "ids_are_places"))
            and all(isinstance(each, Mapping) for each in (report["errors"], manifest["limits"]))
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _check_files(part: ShardOutput) -> None:
    """
    :raises JournalCorruptError: a file is missing, or has another size than the shard wrote
    """
    for file in changed_files(part.manifest, part.layout):
        raise changed(part, file.path, file.how)


def changed(part: ShardOutput, path: UPath, how: str) -> JournalCorruptError:
    """The error of a shard whose file is not as its worker left it."""
    return JournalCorruptError(
        f"{path} of shard {part.shard.name} {how}: it was changed since the shard ended. Remove the folder of the "
        "shard, and run the shard again"
    )


def _check_vectors(parts: Sequence[ShardOutput]) -> None:
    """
    :raises OutputConflictError: shards that asked alike have vectors of different lengths
    """
    first: dict[tuple[str, str], tuple[int, str]] = {}  # by how they were asked for, and the unit
    for part in parts:
        name = part.shard.name
        told = part.told.get("vectors", {})  # earlier releases did not write this
        for asked, lengths in told.items():
            for unit, length in lengths.items():
                known, where = first.setdefault((asked, unit), (length, name))
                if length != known:
                    raise OutputConflictError(
                        f"the vectors of shard {name} have {length} {unit}, but those of shard {where} have {known}. "
                        "Another model has probably answered one of the shards. Remove the folder of the shard with "
                        f"the wrong length, {part.layout.manifest.parent} or that of shard {where}, and run that "
                        "shard again"
                    )
