"""The manifest of an output. It is written last, so an output with a manifest is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from upath import UPath

from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.documents import damaged, encoded, read_document, size_of

#: The fields of a report that are whole numbers, which a merge adds up.
COUNTS = tuple(each.name for each in fields(BatchReport) if each.type == "int")


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
    if manifest is not None and not _is_manifest(manifest):
        if lenient:
            return None
        raise damaged(layout.manifest, "is not the manifest of a batch")
    return manifest


def _is_manifest(found: Mapping[str, Any]) -> bool:
    # Earlier releases did not write all of these.
    return all(isinstance(found.get(name, {}), dict) for name in ("sizes", "files")) and all(
        isinstance(found.get(name), dict) for name in ("identity", "report")
    )


class ChangedFile(NamedTuple):
    """A file of a finished output that is not as the batch wrote it.

    :param what: `results` or `errors`
    :param size: in bytes, None if the file is missing
    :param written: its size as the batch wrote it, None if unknown
    """

    what: str
    path: UPath
    size: int | None
    written: int | None

    @property
    def how(self) -> str:
        """What is other than it was, in words that follow the path."""
        return "is missing" if self.size is None else f"has {self.size} bytes, but its manifest says {self.written}"


def changed_files(manifest: Mapping[str, Any], layout: OutputLayout) -> Iterator[ChangedFile]:
    """The files of a finished output that are missing, or have another size than its manifest says."""
    sizes = manifest.get("sizes") or {}  # earlier releases did not write this
    for what, path in (("results", layout.results), ("errors", layout.errors)):
        written = sizes.get(what)
        try:
            size = size_of(path)
        except FileNotFoundError:
            yield ChangedFile(what, path, None, written)
            continue
        if None not in (size, written) and size != written:
            yield ChangedFile(what, path, size, written)


def report_in(manifest: Mapping[str, Any], layout: OutputLayout) -> BatchReport:
    """The report in a manifest, without fields that only later releases have, or that follow from others.

    :raises OutputConflictError: there is no valid report
    """
    known = {field.name for field in fields(BatchReport) if field.init}
    for name in COUNTS:
        if type(manifest["report"].get(name, 0)) is not int:
            raise damaged(layout.manifest, f"has a report whose {name} is not a whole number")
    try:
        told = {name: value for name, value in manifest["report"].items() if name in known}
        return BatchReport(**{**told, "results_path": str(layout.results)})  # earlier releases did not write this
    except TypeError as error:
        raise damaged(layout.manifest, f"has no complete report ({error})") from None
