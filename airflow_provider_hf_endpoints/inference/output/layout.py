"""The path of each file of an output: results, errors, manifest, journal, shards and snapshot, from the job's path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from upath import UPath

from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.output_form import OutputFormat, suffix_of_results
from airflow_provider_hf_endpoints.inference.stores.paths import PathLike, as_upath


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """The paths of the files of an output.

    :param shards: folder of the outputs of the shards, with their plan
    :param ids: for a shard, hashes of its rows' ids
    :param snapshot: folder of the rows that a query gave, if the input is a query
    """

    results: UPath
    errors: UPath
    manifest: UPath
    journal: UPath
    shards: UPath
    ids: UPath
    snapshot: UPath

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
                snapshot=folder / f"{stem}.snapshot",
            )
        return cls(
            results=path / f"results-00000.{output_format or 'jsonl'}",
            errors=path / "errors.jsonl",
            manifest=path / "manifest.json",
            journal=path / "_journal",
            shards=path / "_shards",
            ids=path / "ids.bin",
            snapshot=path / "_snapshot",
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
