"""Stores that fail on demand: an object store in memory, and the local disk by its system calls."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import upath.registry
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from upath.implementations.memory import MemoryPath

from tests.hostile.cases import StoreFault

ERRORS: list[Callable[[], Exception]] = [
    lambda: OSError(errno.EIO, "Input/output error"),
    lambda: OSError(errno.ENOSPC, "No space left on device"),
    lambda: PermissionError("AccessDenied"),
    lambda: TimeoutError("the store does not answer"),
    lambda: RuntimeError("SlowDown: Please reduce your request rate"),
    lambda: OSError(errno.EDQUOT, "Disk quota exceeded"),
    lambda: InterruptedError(errno.EINTR, "Interrupted system call"),
    lambda: OSError(errno.ESTALE, "Stale file handle"),
    lambda: OSError(errno.EXDEV, "Invalid cross-device link"),
    lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    # A client that reads a page of a proxy as the answer of its service.
    lambda: json.JSONDecodeError("Expecting value", "<html>", 0),
    lambda: KeyError("ETag"),
]


class Faults:
    """Counts operations of a store and raises at those that are to fail."""

    def __init__(self, faults: list[StoreFault]) -> None:
        self._faults = faults
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.met = 0
        self.on = True

    def around(self, operation: str, do: Callable[[], Any]) -> Any:
        """Do an operation, unless it is to fail."""
        if not self.on:
            return do()
        with self._lock:
            number = self._seen[operation]
            self._seen[operation] += 1
        for fault in self._faults:
            if fault.operation == operation and fault.first <= number < fault.first + fault.count:
                self.met += 1
                if fault.after:
                    do()
                raise ERRORS[fault.how]()
        return do()


class _Object(io.BytesIO):
    """An object open for writing: there, whole, when it is closed."""

    def __init__(self, store: HostileFileSystem, path: str) -> None:
        super().__init__()
        self._store, self._path = store, path

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._store.pipe_file(self._path, data)


class _Fetched(io.RawIOBase):
    """An object open for reading, which comes in parts."""

    def __init__(self, data: bytes, faults: Faults) -> None:
        self._data, self._faults = io.BytesIO(data), faults

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._data.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        return int(self._faults.around("fetch", lambda: self._data.readinto(buffer)))


class HostileFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Object storage in memory whose operations fail as the world says."""

    protocol = "hostile"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the class it extends
    pseudo_dirs = [""]  # noqa: RUF012
    faults = Faults([])

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(str(path).removeprefix("hostile:/")))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        def put() -> None:
            place = self._strip_protocol(path)
            if mode == "create" and place in self.store:
                raise FileExistsError(path)
            self.makedirs(self._parent(place), exist_ok=True)
            self.store[place] = MemoryFile(self, place, value)

        self.faults.around("write", put)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" in mode and "+" not in mode:
            found = self.faults.around("read", lambda: super(HostileFileSystem, self)._open(path, mode, **options))
            return io.BufferedReader(_Fetched(found.getvalue(), self.faults), 8192)
        return _Object(self, path)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        return self.faults.around("list", lambda: super(HostileFileSystem, self).ls(path, detail, **options))

    def rm_file(self, path: str) -> None:
        self.faults.around("delete", lambda: super(HostileFileSystem, self).rm_file(path))


fsspec.register_implementation("hostile", HostileFileSystem, clobber=True)
upath.registry.register_implementation("hostile", MemoryPath, clobber=True)


class _Written:
    """A local file open for writing whose writes may fail half done."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: bytes) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        try:
            return int(self._faults.around("write", lambda: self._file.write(data)) or 0)
        except OSError:
            half()
            raise

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def local_disk(folder: Path, faults: Faults) -> Iterator[None]:
    """The files below `folder` are on a disk that fails as `faults` says."""
    real_open, real_sync, real_datasync = builtins.open, os.fsync, os.fdatasync
    real_unlink, real_replace = os.unlink, os.replace

    def hostile_open(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        opened = real_open(file, mode, *args, **options)
        inside = isinstance(file, str | os.PathLike) and str(file).startswith(str(folder))
        return _Written(opened, faults) if inside and set(mode) & set("wxa+") and "b" in mode else opened

    def ours(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(str(folder))

    def unlink(path: Any, *args: Any, **options: Any) -> None:
        if ours(path):
            faults.around("delete", lambda: real_unlink(path, *args, **options))
        else:
            real_unlink(path, *args, **options)

    def replace(source: Any, target: Any, **options: Any) -> None:
        if ours(target):
            faults.around("write", lambda: real_replace(source, target, **options))
        else:
            real_replace(source, target, **options)

    with (
        mock.patch("builtins.open", hostile_open),
        mock.patch("os.fsync", lambda fd: faults.around("sync", lambda: real_sync(fd))),
        mock.patch("os.fdatasync", lambda fd: faults.around("sync", lambda: real_datasync(fd)), create=True),
        mock.patch("os.unlink", unlink),
        mock.patch("os.replace", replace),
    ):
        yield
