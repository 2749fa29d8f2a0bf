"""The description of a batch as OpenLineage has it. Imports OpenLineage only when its provider asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.lineage.moved import Dataset, Moved


def lineage_of(moved: Moved, endpoint: InferenceEndpoint | None, report: Mapping[str, Any] | None) -> Any:
    """What OpenLineage's provider takes from an operator."""
    from airflow.providers.common.compat.openlineage.facet import InputDataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(
        inputs=[InputDataset(each.namespace, each.name, facets=_version(each)) for each in moved.inputs],
        outputs=[_written(each) for each in moved.outputs],
        run_facets={} if endpoint is None else {"hf_inference_endpoint": _facet_of(endpoint, report or {})},
    )


def _written(dataset: Dataset) -> Any:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet

    counts = OutputStatisticsOutputDatasetFacet(rowCount=dataset.rows, size=dataset.size, fileCount=1)
    return OutputDataset(dataset.namespace, dataset.name, outputFacets={"outputStatistics": counts})


def _version(dataset: Dataset) -> dict[str, Any]:
    if dataset.version is None:
        return {}
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    return {"version": DatasetVersionDatasetFacet(datasetVersion=dataset.version)}


def _facet_of(endpoint: InferenceEndpoint, report: Mapping[str, Any]) -> Any:
    from airflow_provider_hf_endpoints.lineage.facet import InferenceEndpointRunFacet

    cost = report.get("cost") or {}
    return InferenceEndpointRunFacet(
        name=endpoint.name,
        namespace=endpoint.namespace,
        vendor=endpoint.vendor,
        region=endpoint.region,
        accelerator=endpoint.accelerator,
        instanceType=endpoint.instance_type,
        instanceSize=endpoint.instance_size,
        engine=report.get("engine") or endpoint.engine,
        model=report.get("model"),
        rows=report.get("rows"),
        failed=report.get("failed"),
        promptTokens=report.get("prompt_tokens"),
        completionTokens=report.get("completion_tokens"),
        usd=cost.get("usd"),
    )
