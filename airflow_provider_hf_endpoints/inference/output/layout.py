"""Where each file of an output goes: results, errors, manifest, journal and shards, by the path that the job names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, get_args

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.output_form import OutputFormat, suffix_of_results
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike, as_upath, local_path

#: Of a name on a disk, which takes 255, without what stands around the name while the file is written.
_MOST_BYTES = 255 - len(".4194304.tmp.")


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """Where each file of an output path goes.

    :param shards: folder of the outputs of its shards, with their plan
    :param ids: of a shard, hashes of its rows' ids
    """

    results: UPath
    errors: UPath
    manifest: UPath
    journal: UPath
    shards: UPath
    ids: UPath

    @classmethod
    def of(cls, output_path: PathLike, output_format: OutputFormat | None = None) -> OutputLayout:
        """A path ending in `.jsonl`, `.jsonl.gz`, `.jsonl.zst` or `.parquet` is the results file, with siblings;
        any other is a folder.

        :param output_format: of the results in a folder, default `jsonl`; a file's name tells its own
        :raises ValueError: it is not what the name tells
        """
        path = as_upath(output_path)
        suffix = suffix_of_results(path, output_format)
        if suffix is not None:
            stem = path.name.removesuffix(suffix)
            folder = path.parent
            return cls(
                results=path,
                errors=folder / f"{stem}.errors.jsonl",
                manifest=folder / f"{stem}.manifest.json",
                journal=folder / f"{stem}.journal",
                shards=folder / f"{stem}.shards",
                ids=folder / f"{stem}.ids.bin",
            )
        return cls(
            results=path / f"results-00000.{output_format or 'jsonl'}",
            errors=path / "errors.jsonl",
            manifest=path / "manifest.json",
            journal=path / "_journal",
            shards=path / "_shards",
            ids=path / "ids.bin",
        )

    @property
    def told(self) -> dict[str, Any]:
        """The paths that a report has, by the names of its fields."""
        return {
            "results_path": str(self.results),
            "errors_path": str(self.errors),
            "manifest_path": str(self.manifest),
        }

    @property
    def any_results(self) -> tuple[UPath, ...]:
        """The results file, in a folder in each form that it may have there."""
        if self.journal.name != "_journal":
            return (self.results,)
        return tuple(self.results.parent / f"results-00000.{each}" for each in get_args(OutputFormat))

    def require_places(self) -> None:
        """Refuse places where no file can be written, before the rows are paid.

        :raises BatchInputError: one of the files has a name that is too long, or a folder is in its place
        """
        for path in (self.results, self.errors, self.manifest, self.journal, self.shards, self.ids):
            size = len(os.fsencode(path.name))
            if local_path(path) is not None and size > _MOST_BYTES:
                raise BatchInputError(
                    f"output file {path.name[:40]}… has a name of {size} bytes, but the limit is {_MOST_BYTES}. Choose "
                    "a shorter output_path"
                )
        for path in (self.results, self.errors, self.manifest):
            local = local_path(path)
            if local is not None and local.is_dir():
                raise BatchInputError(
                    f"{path} is a folder, but the output needs a file there. Move the folder away, or choose another "
                    "output_path"
                )

    def of_shard(self, name: str) -> OutputLayout:
        """Of one of its shards: a folder of its own.

        :param name: as the shard is called in a folder's name
        """
        return OutputLayout.of(self.shards / name)


def layout_of(job: BatchJob) -> OutputLayout:
    """Where a job's files go."""
    layout = layout_of_whole(job)
    return layout if job.shard is None else layout.of_shard(job.shard.name)


def told_of(job: BatchJob, layout: OutputLayout) -> dict[str, Any]:
    """The paths that a job's report has: of a shard, its own folder."""
    return {"output_path": str(job.output_path if job.shard is None else layout.results.parent), **layout.told}


def layout_of_whole(job: BatchJob) -> OutputLayout:
    """Where the files of the whole batch go; those of its shards are put together there."""
    return OutputLayout.of(job.output_path, job.output_format)
