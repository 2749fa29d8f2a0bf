"""Folders of files, on a disk or on an object store: what is in one, and removing one with all its files."""

from __future__ import annotations

import contextlib

from upath import UPath

from airflow_provider_hf_endpoints.inference.stores.paths import local_path


def names_in(folder: UPath) -> list[str]:
    """Names of the files in a folder, none when there is no folder."""
    if local_path(folder) is None:
        # A listing kept by the file system's client would hide what another machine wrote.
        folder.fs.invalidate_cache()
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):  # UPath's releases differ in which of them means "not there"
        return []


def remove_folder(folder: UPath) -> None:
    """Delete a folder that holds nothing but files, whatever they are."""
    for name in names_in(folder):
        (folder / name).unlink(missing_ok=True)
    # Most object stores have no folders, so there may be nothing left to delete.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.rmdir()
