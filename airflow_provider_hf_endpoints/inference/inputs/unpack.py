"""Packing and unpacking of files, by the suffix of their names.

An incomplete or damaged file is an error that names the file. It never looks like a shorter file.
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
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import refusal

try:
    # From the standard library since Python 3.14. Not the older package `zstandard`: its reader ends silently at the
    # end of an incomplete file.
    from compression import zstd
except ImportError:
    try:
        from backports import zstd
    except ImportError:
        zstd = None

READ_BYTES = 1 << 18
_TORN = (EOFError, zlib.error, gzip.BadGzipFile) + (() if zstd is None else (zstd.ZstdError,))


class _Bytes(io.RawIOBase):
    """A file of which only `read` and `close` are used: the files that Airflow 3.0's paths open cannot be
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


class _ZstdFrames(io.RawIOBase):
    """The content of a file's zstd frames. Zeros behind a frame are skipped, as gzip skips them behind a member: some
    tapes and disks fill a block with them. Anything else behind a frame is an error."""

    def __init__(self, packed: io.BufferedReader, frame: Any) -> None:
        self._packed = packed
        self._new_frame = frame
        self._frame = frame()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            if self._frame.eof and not self._goes_on():
                return 0
            more = b""
            if self._frame.needs_input:
                more, self._rest = self._rest or self._packed.read1(READ_BYTES), b""
                if not more:
                    raise EOFError("it ends within a frame")
            data = self._frame.decompress(more, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _goes_on(self) -> bool:
        """Go to the next frame, if there is one."""
        rest = self._frame.unused_data
        while not (rest := rest.lstrip(b"\x00")):
            rest = self._packed.read1(READ_BYTES)
            if not rest:
                return False
        self._frame, self._rest = self._new_frame(), rest
        return True


def open_path(path: UPath) -> Any:
    """An opened input file.

    :raises BatchInputError: the file does not exist, or may not be read
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

    :raises BatchInputError: the file does not exist; while it is read: it is incomplete or damaged
    """
    opened = open_path(file.path)
    if file.start:
        opened.seek(file.start - 1)  # the byte before shows whether a line starts there
    packed = io.BufferedReader(_Bytes(opened, file.path), READ_BYTES)
    with packed:
        if not file.packing:
            yield cast("IO[bytes]", packed)
            return
        try:
            if not packed.peek(1):  # gzip would treat this as an empty file
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
        stream = _ZstdFrames(packed, _zstd(file).ZstdDecompressor)
    return cast("IO[bytes]", io.BufferedReader(stream, READ_BYTES))


def packing(name: str, file: IO[bytes]) -> Any:
    """A writer that packs into a file by the suffix of its name. Close the writer; the file stays open."""
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
