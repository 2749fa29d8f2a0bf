"""Paths of an operator's arguments, with the connections that they name."""

from __future__ import annotations

from os import PathLike
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_hf_endpoints._packages import missing_store


def storages_at(
    name: str,
    paths: Any,
) -> Any:
    """The same for an argument that may have several paths."""
    return [storage_at(name, path) for path in paths] if isinstance(paths, list | tuple) else storage_at(name, paths)


def storage_at(name: str, path: str | PathLike[str] | ObjectStoragePath) -> Any:
    """The path with the connection that it names.

    :param name: the argument with the path
    :raises ValueError: no installed package knows the scheme of the path
    """
    if not isinstance(path, str):
        return path
    try:
        return ObjectStoragePath(path)
    except ValueError as error:
        if "://" not in path:
            raise
        raise ValueError(missing_store(f"{name} {path}", path.partition("://")[0])) from error
