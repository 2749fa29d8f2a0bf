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
_FIRST_PIECE = 1 << 10  # bytes for a zstd frame, of which most are larger; some writers make one for each row
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
    tapes and disks fill a block with them. Anything else behind a frame is an error.

    A frame gets its bytes in pieces that grow. What it does not use is copied, so a file of small frames that got all
    that was read would be copied once for each frame.
    """

    def __init__(self, packed: io.BufferedReader, frame: Any) -> None:
        self._packed = packed
        self._new_frame = frame
        self._frame = frame()
        self._read = b""
        self._at = 0  # in what was read
        self._piece = _FIRST_PIECE
        self._failed: Exception | None = None  # what comes after the bytes that were given

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._failed is not None:
            raise self._failed
        filled, size = 0, len(buffer)
        while filled < size and (filled == 0 or self._frame.eof):  # one part of a large frame, or many small frames
            try:
                if self._frame.eof and not self._goes_on():
                    break
                data = self._next(size - filled)
            except _TORN as error:
                if not filled:
                    raise
                self._failed = error  # the rows before are valid
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def _next(self, most: int) -> bytes:
        """The next bytes of the frame; none if it has ended, or needs more first."""
        data = b""
        while not data and not self._frame.eof:
            piece = b""
            if self._frame.needs_input:
                if self._at >= len(self._read) and not self._reads():
                    raise EOFError("it ends within a frame")
                piece = self._read[self._at : self._at + self._piece]
                self._at += len(piece)
                self._piece = min(2 * self._piece, READ_BYTES)
            data = self._frame.decompress(piece, most)
            self._at -= len(self._frame.unused_data)
        return data

    def _reads(self) -> bool:
        """Read on, if there is more."""
        self._read, self._at = self._packed.read1(READ_BYTES), 0
        return bool(self._read)

    def _goes_on(self) -> bool:
        """Go to the next frame, if there is one."""
        while self._at >= len(self._read) or self._read[self._at] == 0:
            if self._at < len(self._read):
                self._at += 1
            elif not self._reads():
                return False
        self._frame, self._piece = self._new_frame(), _FIRST_PIECE
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
