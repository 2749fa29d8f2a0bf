"""Reads the files of rows when their requests are sent: in threads, several at once, and no more bytes than fit."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import functools
import inspect
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from upath import UPath

from airflow_provider_hf_endpoints.inference.media.bodies import Media, ReadMedium, fill
from airflow_provider_hf_endpoints.inference.media.errors import (
    MediaChangedError,
    MediaEmptyError,
    MediaError,
    MediaInvalidError,
    MediaMissingError,
    MediaTooLargeError,
    MediaUnreadableError,
)
from airflow_provider_hf_endpoints.inference.media.kinds import UNKNOWN, content_type
from airflow_provider_hf_endpoints.inference.media.places import NOT_A_PLACE, place_of
from airflow_provider_hf_endpoints.inference.media.values import Medium
from airflow_provider_hf_endpoints.inference.stores.marks import Version, version_at
from airflow_provider_hf_endpoints.inference.stores.paths import local_path
from airflow_provider_hf_endpoints.inference.stores.patience import pauses
from airflow_provider_hf_endpoints.inference.stores.permanent import is_refusal

#: Bytes of all files that are in requests at the same time. In a request, a file takes about three times its size.
MOST_BYTES = 64 << 20
THREADS = 64
PATIENCE = 30.0  # seconds for a store that fails
_UNKNOWN = Version(None, None)


class MediaReader:
    """Reads the media of requests.

    :param largest: bytes of one file
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._room = _Room(MOST_BYTES)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="batch-media")

    @contextlib.asynccontextmanager
    async def filled(
        self, body: bytes, media: Media, base: UPath | None, versions: Sequence[Version]
    ) -> AsyncIterator[tuple[bytes, str]]:
        """The body with its media, and its content type. Its bytes count until the block ends.

        :param base: the folder from which paths are relative
        :param versions: of the files, if they are known
        :raises MediaError: a file is missing, empty, too large, or not what the template says
        """
        known = [versions[place] if place < len(versions) else _UNKNOWN for place in range(len(media.items))]
        for medium, version in zip(media.items, known, strict=True):
            self._check_size(medium, version.size)
        size = sum(self._expected(medium, version) for medium, version in zip(media.items, known, strict=True))
        async with self._room.of(size):
            work = self._pool.submit(self._fill, body, media, base, known)
            yield await asyncio.wrap_future(work)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _expected(self, medium: Medium, version: Version) -> int:
        if not medium.is_stored:
            return len(medium.source)
        return self._largest if version.size is None else version.size

    def _check_size(self, medium: Medium, size: int | None) -> None:
        if size == 0:
            raise MediaEmptyError(str(medium))
        if size is not None and size > self._largest:
            raise MediaTooLargeError(f"{medium} has {size:,} bytes, more than max_media_bytes={self._largest:,}")

    def _fill(self, body: bytes, media: Media, base: UPath | None, versions: Sequence[Version]) -> tuple[bytes, str]:
        return fill(body, media, [self._read(*each, base) for each in zip(media.items, versions, strict=True)])

    def _read(self, medium: Medium, version: Version, base: UPath | None) -> ReadMedium:
        if medium.is_url:
            return ReadMedium(b"", medium.source, "")
        content = _decoded(medium) if medium.is_inline else self._stored(medium, _place(medium, base), version.size)
        self._check_size(medium, len(content))
        kind = content_type(content, medium.name or ("" if medium.is_inline else medium.source), medium.kind)
        if medium.kind != "file" and kind != UNKNOWN and not kind.startswith(f"{medium.kind}/"):
            raise MediaInvalidError(f"{medium} is not of the type {medium.kind}, but {kind}")
        if medium.kind != "file" and kind == UNKNOWN:
            raise MediaInvalidError(f"{medium} has an unknown type; it starts with {content[:16]!r}")
        return ReadMedium(content, "", kind)

    def _stored(self, medium: Medium, path: UPath, size: int | None) -> bytes:
        """The content of a file. A store that fails is asked again."""
        waits = pauses(PATIENCE)
        while True:
            try:
                found = version_at(path).size if size is None else size
                self._check_size(medium, found)
                content = self._content(path)
                break
            except FileNotFoundError:
                raise MediaMissingError(str(medium)) from None
            except MediaError:
                raise
            except Exception as error:
                words = f"{medium}: {type(error).__name__}: {str(error)[:300]}"
                if isinstance(error, (*NOT_A_PLACE, IsADirectoryError)):
                    raise MediaInvalidError(words) from error
                pause = None if is_refusal(error) else next(waits, None)
                if pause is None:
                    raise MediaUnreadableError(words) from error
                time.sleep(pause)
        if found is not None and len(content) != found:
            raise MediaChangedError(f"{medium} had {found:,} bytes when it was found, and has {len(content):,}")
        return content

    def _content(self, path: UPath) -> bytes:
        local = local_path(path)
        if local is not None:
            with open(local, "rb") as file:
                return file.read(self._largest + 1)
        content: bytes = path.fs.cat_file(path.path, **_at_once(path.fs))
        return content


def _place(medium: Medium, base: UPath | None) -> UPath:
    try:
        return place_of(medium.source, base or UPath("."))
    except NOT_A_PLACE as error:
        raise MediaInvalidError(f"{medium} cannot be opened: {type(error).__name__}: {str(error)[:300]}") from error


def _at_once(fs: Any) -> dict[str, int]:
    """The option by which s3fs reads an object in one request. Otherwise it asks for the size first."""
    return {"max_concurrency": 1} if hasattr(fs, "call_s3") and _takes_number(type(fs)._cat_file) else {}


@functools.cache
def _takes_number(read: Callable[..., Any]) -> bool:
    return "max_concurrency" in inspect.signature(read).parameters


def _decoded(medium: Medium) -> bytes:
    """The bytes of a data URL."""
    head, comma, text = medium.source.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise MediaInvalidError(f"{medium} is a data URL without base64: {medium.source[:60]!r}")
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:  # UnicodeEncodeError is one, and binascii's error
        raise MediaInvalidError(f"{medium} has bytes that are not base64: {error}") from error


class _Room:
    """A number of bytes that many share, in the order of their asking. Who asks for more than all gets them alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        """So many bytes, while the block runs."""
        if self._waiting or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back(size)
                raise
        else:
            self._used += size
        try:
            yield
        finally:
            self._give_back(size)

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._most

    def _give_back(self, size: int) -> None:
        self._used -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._used += wanted
                turn.set_result(None)
