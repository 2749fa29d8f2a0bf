"""The paths of a batch: local files and object stores, as one type.

Takes text, `pathlib.Path`, `upath.UPath` and Airflow's `ObjectStoragePath`. The last is a UPath with a
connection, and is used unchanged, so that its credentials stay in it.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any, cast

from upath import UPath

from airflow_provider_hf_endpoints._packages import missing_store
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError, BatchStoreError

_A_PAGE = 4096  # bytes that a full disk does not accept
PathLike = Any  # str, os.PathLike, UPath or ObjectStoragePath: they share no base class across Airflow's versions


def as_upath(value: PathLike) -> UPath:
    """The path as an object with `open`, `exists`, `/` and `parent`.

    :raises TypeError: the value is not a path
    :raises ValueError: it is empty
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"a path must not be empty: {value!r}")
        return UPath(value)
    if hasattr(value, "open") and hasattr(value, "protocol"):
        return cast(UPath, value)
    if isinstance(value, os.PathLike):
        return UPath(os.fspath(value))
    raise TypeError(f"expected a path, not {type(value).__name__}")


def require_store(who: str, path: UPath) -> None:
    """Refuse a path whose file system is not installed or not configured, before anything is sent.

    :param who: the argument with the path
    :raises BatchInputError: with the command that installs the package, or what the file system needs
    """
    try:
        _ = path.fs
    except ImportError as error:
        raise BatchInputError(missing_store(f"{who} {path}", path.protocol)) from error
    except ValueError as error:  # the texts of Airflow and fsspec
        if re.search(r"No filesystem registered|Protocol not known", str(error)):
            raise BatchInputError(missing_store(f"{who} {path}", path.protocol)) from error
        raise BatchInputError(
            f"{who} {path}: the client of the storage could not be created ({error}). Name the storage's Airflow "
            f"connection in the path ({path.protocol}://CONNECTION@…), or set its credentials in the environment of "
            "the worker"
        ) from error


def require_scratch(output: UPath) -> None:
    """Refuse an output on an object store if this machine has no disk space to collect it, before anything is sent.

    A container may have a read-only file system, or a `/tmp` that is full.

    :raises BatchStoreError: with advice; another machine may have the space
    """
    if local_path(output) is not None:
        return
    try:
        with tempfile.TemporaryFile(prefix="hf-batch-") as file:
            file.write(bytes(_A_PAGE))
    except OSError as error:
        raise BatchStoreError(
            f"this worker cannot write a temporary file ({type(error).__name__}: {error}), and a batch with "
            f"output_path {output} keeps its finished rows in one until they are uploaded. Mount a writable volume at "
            "/tmp, or let TMPDIR name a writable folder, with room for twice the output"
        ) from error


def written_path(path: UPath) -> Path | None:
    """The local file that a write to the path changes: the target of a link. None if it is on an object store."""
    local = local_path(path)
    return Path(os.path.realpath(local)) if local is not None and local.is_symlink() else local


def remove_file(path: UPath) -> None:
    """Delete a file if it exists. A link stays, and its target is deleted, because the next file is written there."""
    local = written_path(path)
    if local is None:
        path.unlink(missing_ok=True)
    else:
        local.unlink(missing_ok=True)


def local_path(path: UPath) -> Path | None:
    """The same path on this machine's file system, None if it is on an object store."""
    if path.protocol in ("", "file", "local"):
        return Path(path.path)
    return None
