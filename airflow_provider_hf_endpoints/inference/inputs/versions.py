"""Size and version of an input file, which show later whether its content has changed. Reads no row."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.refusals import refusal
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

#: Properties of an object that change with its content. The first one that exists is used.
_NAMES = (
    *("ETag", "etag", "generation", "blob_id", "md5Hash", "content_settings", "last_modified", "LastModified"),
    *("mtime", "created"),
)


class Version(NamedTuple):
    """The size of a file in bytes, and the storage's version of its content; None if the storage does not say."""

    size: int | None
    mark: str | None


def version_of(file: InputFile) -> Version:
    """
    :raises FileNotFoundError: the file does not exist
    """
    local = local_path(file.path)
    if local is not None:
        stat = local.stat()
        return Version(stat.st_size, str(stat.st_mtime_ns))
    about = file.path.fs.info(file.path.path)
    mark = next((str(about[name]) for name in _NAMES if about.get(name) is not None), None)
    return Version(None if about.get("size") is None else int(about["size"]), mark)


def versions_of(source: Input) -> dict[str, Version]:
    """The versions of all files of an input that exist and can be looked at, by path."""
    found = {}
    for file in source.files:
        try:
            found[str(file)] = version_of(file)
        except OSError as error:
            if refusal(file.path, error) is None:
                raise
            continue  # the read reports this
    return found
