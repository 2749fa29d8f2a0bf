"""A file that replaces another one at once, on a disk or an object store: no reader ever sees a half-written file."""

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
from airflow_provider_hf_endpoints.inference.stores.paths import written_path

IN_MEMORY = 1 << 22  # bytes of a file for an object store that are kept in memory; larger files wait on the disk


@contextmanager
def replacing(path: UPath, check: Callable[[], None] = lambda: None) -> Iterator[IO[bytes]]:
    """A file that replaces `path` if the block ends without an error. No reader sees it half written.

    If `path` is a link on a local disk, the link stays, and its target is replaced.

    :param check: called right before the replacement; may raise
    """
    local = written_path(path)
    if local is None:
        with _uploading(path, check) as upload:
            yield upload
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    # Not a process id: in containers that share a folder, several processes may have the same one.
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
    """Collected on the worker's disk until complete: an object appears when its file is closed, even after an error."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as whole:
        yield cast("IO[bytes]", whole)
        whole.seek(0)
        check()
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.fs.open(path.path, "wb")
        buffered = isinstance(file, AbstractBufferedFile)  # there is no object until it is closed
        try:
            shutil.copyfileobj(whole, file, 1 << 20)
            if buffered:
                check()  # again: an upload may take minutes
        except BaseException:
            if buffered:
                file.discard()
                file.closed = True  # otherwise its close, at the latest by the garbage collector, makes the object
            else:
                try:
                    file.close()  # this makes an object from the bytes so far
                finally:
                    path.unlink(missing_ok=True)
            raise
        file.close()
