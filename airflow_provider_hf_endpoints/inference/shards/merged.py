"""The report of a shard that is already merged, found in the merged output when the shard is run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.output.existing import results_there, same_job
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout, layout_of_whole
from airflow_provider_hf_endpoints.inference.output.manifest import read_manifest


def merged_earlier(job: BatchJob, source: Input) -> BatchReport | None:
    """The report of the same shard, from the merged output; None if it is not there.

    :raises OutputConflictError: the output is another job's
    """
    if job.shard is None:
        return None
    whole = layout_of_whole(job)
    manifest = read_manifest(whole)
    if manifest is None:
        return None
    same_job({**manifest.get("identity", {}), "plan": manifest.get("plan")}, job, source)
    results_there(manifest, whole)
    return _report_of_shard(manifest, job.shard, whole)


def _report_of_shard(manifest: Mapping[str, Any], shard: Shard, layout: OutputLayout) -> BatchReport:
    """A shard's report, from the manifest of a merged output that contains its rows."""
    counts = {**manifest["shards"][shard.number], "requests": 0, "retries": 0}
    return BatchReport(
        output_path=str(layout.results),
        **layout.told,
        **counts,
    )
