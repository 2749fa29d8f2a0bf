"""What is on an output path already: this job's finished output, this job's unfinished one, or another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints.inference.input_errors import OutputConflictError
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.job.identity import FORMAT, differences
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.output.manifest import read_manifest


def finished_earlier(job: BatchJob, layout: OutputLayout, source: Input) -> BatchReport | None:
    """The report of the same job, finished earlier. Of a shard that was merged since, see `shards/merged.py`.

    :raises OutputConflictError: what is there is not to be touched
    """
    manifest = read_manifest(layout)
    if manifest is None:
        if job.on_existing == "fail" and (layout.results.exists() or layout.journal.exists()):
            raise OutputConflictError(f"{job.output_path} holds an unfinished output and on_existing is 'fail'")
        return None
    if job.on_existing == "overwrite":
        return None
    if job.on_existing == "fail":
        raise OutputConflictError(f"{job.output_path} holds a finished output and on_existing is 'fail'")
    same_job(manifest.get("identity", {}), job, source)
    report: BatchReport = replace(BatchReport(**manifest["report"]), requests=0, retries=0)
    return report


def same_job(old: Mapping[str, Any], job: BatchJob, source: Input) -> None:
    """Refuse to touch another job's output.

    :raises OutputConflictError: it is another's
    """
    different = differences({**old, "format": FORMAT}, job.identity(source))
    if different:
        raise OutputConflictError(
            f"{job.output_path} holds the output of another job: {'; '.join(different)}. Choose another output_path, "
            'or on_existing="overwrite" to throw that output away'
        )


def same_format(found: object, job: BatchJob) -> None:
    """Refuse to go on with a journal that cannot be read.

    :raises OutputConflictError: its form is another release's
    """
    if found != FORMAT:
        raise OutputConflictError(
            f"the unfinished output in {job.output_path} was begun by another release of this provider "
            f"(journal format {found}, this one has {FORMAT}): finish it with that release, or throw it away with "
            'on_existing="overwrite"'
        )
