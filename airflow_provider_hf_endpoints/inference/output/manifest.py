"""The manifest of an output. It is written last, so an output with a manifest is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.documents import damaged, encoded, read_document, size_of


def write_manifest(layout: OutputLayout, manifest: dict[str, Any], check: Callable[[], None] = lambda: None) -> None:
    """Write the manifest. It marks the output as finished.

    :param check: see `replacing`
    """
    sizes = {name: size_of(path) for name, path in (("results", layout.results), ("errors", layout.errors))}
    with replacing(layout.manifest, check) as file:
        file.write(encoded({**manifest, "sizes": sizes}, indent=2) + b"\n")


def read_manifest(layout: OutputLayout, *, lenient: bool = False) -> dict[str, Any] | None:
    """The manifest of a finished output, None if there is none.

    :param lenient: see `read_document`
    :raises OutputConflictError: the file is not a manifest
    """
    manifest = read_document(layout.manifest, lenient=lenient)
    if manifest is not None and not all(isinstance(manifest.get(name), dict) for name in ("identity", "report")):
        if lenient:
            return None
        raise damaged(layout.manifest, "is not the manifest of a batch")
    return manifest


def report_in(manifest: Mapping[str, Any], layout: OutputLayout) -> BatchReport:
    """The report in a manifest, without fields that only later releases have, or that follow from others.

    :raises OutputConflictError: there is no valid report
    """
    known = {field.name for field in fields(BatchReport) if field.init}
    try:
        told = {name: value for name, value in manifest["report"].items() if name in known}
        return BatchReport(**{**told, "results_path": str(layout.results)})  # earlier releases did not write this
    except TypeError as error:
        raise damaged(layout.manifest, f"has no complete report ({error})") from None
