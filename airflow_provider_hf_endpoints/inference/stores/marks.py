"""Size and version of a stored file, which show without reading it whether it is another by now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from upath import UPath

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


def version_in(about: Mapping[str, Any]) -> Version:
    """What a store says about a file."""
    mark = next((str(about[name]) for name in _NAMES if about.get(name) is not None), None)
    return Version(None if about.get("size") is None else int(about["size"]), mark)


def of_disk(stat: os.stat_result) -> Version:
    """The version of a file on a disk."""
    return Version(stat.st_size, str(stat.st_mtime_ns))


def version_at(path: UPath) -> Version:
    """
    :raises FileNotFoundError: the file does not exist
    """
    local = local_path(path)
    if local is not None:
        return of_disk(local.stat())
    return version_in(path.fs.info(path.path))
