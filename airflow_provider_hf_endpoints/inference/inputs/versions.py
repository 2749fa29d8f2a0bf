"""Size and version of an input file, by which a later look knows that its content is another. Reads no row."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.refusals import refusal
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

#: By what storages tell that an object's content is another: the first of them that is there.
_NAMES = (
    *("ETag", "etag", "generation", "blob_id", "md5Hash", "content_settings", "last_modified", "LastModified"),
    *("mtime", "created"),
)


class Version(NamedTuple):
    """Bytes of a file, and what its storage calls its content; each None where the storage does not say."""

    size: int | None
    mark: str | None


def version_of(file: InputFile) -> Version:
    """
    :raises FileNotFoundError: it is not there
    """
    local = local_path(file.path)
    if local is not None:
        stat = local.stat()
        return Version(stat.st_size, str(stat.st_mtime_ns))
    about = file.path.fs.info(file.path.path)
    mark = next((str(about[name]) for name in _NAMES if about.get(name) is not None), None)
    return Version(None if about.get("size") is None else int(about["size"]), mark)


def versions_of(source: Input) -> dict[str, Version]:
    """Of every file of an input that is there and can be looked at, by its path."""
    found = {}
    for file in source.files:
        try:
            found[str(file)] = version_of(file)
        except OSError as error:
            if refusal(file.path, error) is None:
                raise
            continue  # whoever reads it says so
    return found
