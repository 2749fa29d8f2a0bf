"""One description of what a batch read and wrote, from which OpenLineage's events and Airflow's hook lineage are made.

A dataset is named as OpenLineage names it: a namespace for the store, and a name inside of the store. No path
has the Airflow connection that it was given with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.inference.stores.documents import size_of
from airflow_provider_hf_endpoints.inference.stores.paths import as_upath

_BUCKETS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # by the scheme of a path, that of OpenLineage
HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file, or a model.

    :param uri: as Airflow names the same thing as an asset
    :param rows: how many of them were written; None if it was read, or if that is not known
    :param size: bytes, if known
    :param version: of a model, its revision
    """

    namespace: str
    name: str
    uri: str
    rows: int | None = None
    size: int | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What a batch read and wrote."""

    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]


def dataset_at(path: Any, rows: int | None = None, size: int | None = None) -> Dataset:
    """The file, folder or pattern at a path."""
    scheme, separator, rest = str(path).partition("://")
    if not separator or scheme in ("file", "local"):
        name = os.path.abspath(rest if separator else str(path))
        return Dataset("file", name, f"file://{name}", rows, size)
    place, _, name = rest.partition("/")
    place = place.rpartition("@")[2] if scheme in _BUCKETS else place  # without Airflow's connection
    store = f"{_BUCKETS.get(scheme, scheme)}://{place}"
    return Dataset(store, name, f"{store}/{name}", rows, size)


def model_of(endpoint: InferenceEndpoint) -> Dataset:
    """The model that an endpoint serves, at its revision."""
    name = endpoint.repository
    return Dataset(HUB, name, f"{HUB}/{name}", version=endpoint.revision)


def moved(input_path: Any, endpoint: InferenceEndpoint | None, report: Mapping[str, Any] | None) -> Moved:
    """What a batch has read and written.

    :param endpoint: None before the endpoint answered
    :param report: None before the batch has ended well
    """
    paths = input_path if isinstance(input_path, list | tuple) else [input_path]
    inputs = [dataset_at(path) for path in paths]
    if endpoint is not None and endpoint.repository:
        inputs.append(model_of(endpoint))
    outputs = (
        []
        if report is None
        else [
            dataset_at(report[f"{what}_path"], report[count], _size_of(report[f"{what}_path"]))
            for what, count in (("results", "rows"), ("errors", "failed"))
            if what == "results" or report["failed"]
        ]
    )
    return Moved(tuple(inputs), tuple(outputs))


def _size_of(path: Any) -> int | None:
    try:
        return size_of(as_upath(path))
    except Exception:  # noqa: BLE001 - stores raise what they like, and lineage must not fail a task
        return None
