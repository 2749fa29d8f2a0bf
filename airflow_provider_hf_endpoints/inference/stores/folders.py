"""Folders of files, on a disk or on an object store: list the files, and remove a folder with its files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from upath import UPath

from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_MAGIC = "*?[]"  # the special characters of fsspec's patterns


def names_in(folder: UPath) -> list[str]:
    """The names of the files in a folder, none if there is no folder."""
    if local_path(folder) is None:
        # A cached listing of the file system's client would hide what another machine wrote.
        folder.fs.invalidate_cache()
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):  # releases of UPath differ in the error for a missing folder
        return []


def delete_files(folder: UPath, names: Iterable[str]) -> None:
    """Delete files of a folder. Missing files do not fail. Object stores delete a thousand at once."""
    paths = [folder / name for name in names]
    if local_path(folder) is None and len(paths) > 1 and not any(set(path.path) & set(_MAGIC) for path in paths):
        with contextlib.suppress(FileNotFoundError):  # one is missing: the loop deletes the others
            folder.fs.rm([path.path for path in paths])
            return
    for path in paths:
        path.unlink(missing_ok=True)


def remove_folder(folder: UPath) -> None:
    """Delete a folder that contains only files."""
    delete_files(folder, names_in(folder))
    # Most object stores have no folders, so there may be nothing left to delete.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Make the names in a local folder durable: new files, and files renamed into it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
