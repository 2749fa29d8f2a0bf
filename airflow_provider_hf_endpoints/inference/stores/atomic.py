"""A file that takes the place of another at once, on a disk or an object store: nobody ever sees it half written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from upath import UPath

from airflow_provider_hf_endpoints.inference.stores.paths import local_path

IN_MEMORY = 1 << 22  # bytes of a file on its way to an object store, beyond which it waits on the disk


@contextmanager
def replacing(path: UPath) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well; nobody sees it half written."""
    local = local_path(path)
    if local is None:
        with _uploading(path) as upload:
            yield upload
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    temporary = local.with_name(f".{local.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, local)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _uploading(path: UPath) -> Iterator[IO[bytes]]:
    """Gathered on the worker's disk until it is whole: an object appears when its file is closed, also by an error."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as whole:
        yield cast("IO[bytes]", whole)
        whole.seek(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
        try:
            shutil.copyfileobj(whole, file, 1 << 20)
        except BaseException:
            try:
                file.close()  # which makes an object of what has come so far
            finally:
                path.unlink(missing_ok=True)
            raise
        file.close()
