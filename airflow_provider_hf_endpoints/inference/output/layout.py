"""The path of each file of an output: results, errors, manifest, journal and shards, from the job's path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, get_args

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.output_form import OutputFormat, suffix_of_results
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike, as_upath, local_path

# Characters of a name on a disk. The limit is 255, and a file gets a longer name while it is written.
_MOST_BYTES = 255 - len(".4194304.tmp.")


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """The paths of the files of an output.

    :param shards: folder of the outputs of the shards, with their plan
    :param ids: for a shard, hashes of its rows' ids
    """

    results: UPath
    errors: UPath
    manifest: UPath
    journal: UPath
    shards: UPath
    ids: UPath

    @classmethod
    def of(cls, output_path: PathLike, output_format: OutputFormat | None = None) -> OutputLayout:
        """A path with one of `RESULT_SUFFIXES` is the results file, with siblings; any other is a folder.

        :param output_format: of the results in a folder, default `jsonl`; a file's name has its own
        :raises ValueError: it contradicts the name
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
        """The paths in a report, by the names of its fields."""
        return {
            "results_path": str(self.results),
            "errors_path": str(self.errors),
            "manifest_path": str(self.manifest),
        }

    @property
    def any_results(self) -> tuple[UPath, ...]:
        """The results file; for a folder, in each form that it may have."""
        if self.journal.name != "_journal":
            return (self.results,)
        return tuple(self.results.parent / f"results-00000.{each}" for each in get_args(OutputFormat))

    def require_places(self) -> None:
        """Refuse paths where no file can be written, before any row is paid for.

        :raises BatchInputError: one of the files has a name that is too long, or its path is a folder, or a file is in
            the place of its folder
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
            above = None if local is None else next((each for each in local.parents if each.exists()), None)
            if above is not None and not above.is_dir():
                raise BatchInputError(
                    f"{above} is a file, but the output {path} needs a folder there. Move the file away, or choose "
                    "another output_path"
                )

    def of_shard(self, name: str) -> OutputLayout:
        """The layout of one of its shards: a separate folder.

        :param name: of the shard, in a folder's name
        """
        return OutputLayout.of(self.shards / name)


def layout_of(job: BatchJob) -> OutputLayout:
    """The paths of a job's files."""
    layout = layout_of_whole(job)
    return layout if job.shard is None else layout.of_shard(job.shard.name)


def told_of(job: BatchJob, layout: OutputLayout) -> dict[str, Any]:
    """The paths in a job's report; for a shard, its folder."""
    return {"output_path": str(job.output_path if job.shard is None else layout.results.parent), **layout.told}


def layout_of_whole(job: BatchJob) -> OutputLayout:
    """The paths of the whole batch, where the outputs of its shards are merged."""
    return OutputLayout.of(job.output_path, job.output_format)
