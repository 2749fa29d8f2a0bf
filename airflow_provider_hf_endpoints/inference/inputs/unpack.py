"""The bytes of an input file, unpacked as its name says, and the other way round.

A file that is cut short or damaged is an error that names it, never a file that ends early.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from upath import UPath

from airflow_provider_hf_endpoints._packages import missing_package
from airflow_provider_hf_endpoints.inference.input_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import InputFile
from airflow_provider_hf_endpoints.inference.inputs.refusals import refusal

try:
    # The standard library's since Python 3.14. Not the older package `zstandard`: its reader ends silently where a
    # file is cut short.
    from compression import zstd
except ImportError:
    try:
        from backports import zstd
    except ImportError:
        zstd = None

READ_BYTES = 1 << 18
_TORN = (EOFError, zlib.error, gzip.BadGzipFile) + (() if zstd is None else (zstd.ZstdError,))


class _Bytes(io.RawIOBase):
    """A file of which nothing is expected but `read` and `close`: what Airflow 3.0's paths open cannot be
    iterated."""

    def __init__(self, file: Any, path: UPath) -> None:
        self._file = file
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except OSError as error:  # a gated file of the Hub is refused here, not when it is opened
            raise refusal(self._path, error) or error from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def open_path(path: UPath) -> Any:
    """A file of the input, opened to be read.

    :raises BatchInputError: there is no such file, or it may not be read
    """
    try:
        return path.open("rb")
    except OSError as error:
        refused = refusal(path, error)
        if refused is None:
            raise
        raise refused from None


@contextmanager
def unpacked(file: InputFile) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked.

    :raises BatchInputError: there is no such file; while it is read: it is cut short or damaged
    """
    opened = open_path(file.path)
    if file.start:
        opened.seek(file.start - 1)  # the byte before tells whether a line starts there
    packed = io.BufferedReader(_Bytes(opened, file.path), READ_BYTES)
    with packed:
        if not file.packing:
            yield cast("IO[bytes]", packed)
            return
        try:
            if not packed.peek(1):  # which gzip takes for a file without content
                raise EOFError("it has no bytes")
            with _unpacker(file, packed) as content:
                yield content
        except _TORN as error:
            raise BatchInputError(
                f"input file {file} is truncated, or is not a {file.packing} file ({error}). The rows before this "
                "place are valid. Replace it with the complete file, and run the same job again"
            ) from error


def _unpacker(file: InputFile, packed: Any) -> IO[bytes]:
    if file.packing == ".gz":
        stream: Any = gzip.GzipFile(fileobj=packed)
    else:
        stream = _zstd(file).ZstdFile(packed)
    return cast("IO[bytes]", io.BufferedReader(stream, READ_BYTES))


def packing(name: str, file: IO[bytes]) -> Any:
    """What packs into a file as its name says; it has to be closed, which leaves the file open."""
    if name.endswith(".gz"):
        return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
    return _zstd(name).ZstdFile(file, "wb")


def can_zstd() -> bool:
    """Whether zstd can be packed and unpacked."""
    return zstd is not None


def _zstd(file: object) -> Any:
    if zstd is None:
        raise BatchInputError(f"{missing_package(f'file {file}', 'zstd')}, or unpack the file")
    return zstd
