"""A file that takes the place of another at once, on a disk or an object store: nobody ever sees it half written."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from fsspec.spec import AbstractBufferedFile
from upath import UPath

from airflow_provider_hf_endpoints.inference.stores.folders import sync_folder
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

IN_MEMORY = 1 << 22  # bytes of a file on its way to an object store, beyond which it waits on the disk


@contextmanager
def replacing(path: UPath, check: Callable[[], None] = lambda: None) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well; nobody sees it half written.

    :param check: called right before it does, and may raise
    """
    local = local_path(path)
    if local is None:
        with _uploading(path, check) as upload:
            yield upload
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    # No number of a process: in containers that share a folder, each process may have the same one.
    temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check()
        os.replace(temporary, local)
        sync_folder(local.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _uploading(path: UPath, check: Callable[[], None]) -> Iterator[IO[bytes]]:
    """Gathered on the worker's disk until it is whole: an object appears when its file is closed, also by an error."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as whole:
        yield cast("IO[bytes]", whole)
        whole.seek(0)
        check()
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.fs.open(path.path, "wb")
        buffered = isinstance(file, AbstractBufferedFile)  # no object as long as it is not closed
        try:
            shutil.copyfileobj(whole, file, 1 << 20)
            if buffered:
                check()  # again: an upload may take minutes
        except BaseException:
            if buffered:
                file.discard()
                file.closed = True  # else closing it, at the latest by the garbage collector, makes the object
            else:
                try:
                    file.close()  # which makes an object of what has come so far
                finally:
                    path.unlink(missing_ok=True)
            raise
        file.close()
