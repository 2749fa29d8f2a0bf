"""Folders of files, on a disk or on an object store: what is in one, and removing one with all its files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from upath import UPath

from airflow_provider_hf_endpoints.inference.stores.paths import local_path

_MAGIC = "*?[]"  # what fsspec takes for a pattern in a path


def names_in(folder: UPath) -> list[str]:
    """Names of the files in a folder, none when there is no folder."""
    if local_path(folder) is None:
        # A listing kept by the file system's client would hide what another machine wrote.
        folder.fs.invalidate_cache()
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):  # UPath's releases differ in which of them means "not there"
        return []


def delete_files(folder: UPath, names: Iterable[str]) -> None:
    """Delete files of a folder; those that are not there are no failure. Object stores take a thousand at once."""
    paths = [folder / name for name in names]
    if local_path(folder) is None and len(paths) > 1 and not any(set(path.path) & set(_MAGIC) for path in paths):
        with contextlib.suppress(FileNotFoundError):  # one of them: the others are left to the loop
            folder.fs.rm([path.path for path in paths])
            return
    for path in paths:
        path.unlink(missing_ok=True)


def remove_folder(folder: UPath) -> None:
    """Delete a folder that holds nothing but files, whatever they are."""
    delete_files(folder, names_in(folder))
    # Most object stores have no folders, so there may be nothing left to delete.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Make the names in a local folder durable: of files that are new, or were renamed into it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
