"""The versions of the files that rows name, looked up while the input is read: a resumed batch finds replaced files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from upath import UPath

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.errors import InferenceError
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.patterns import is_pattern, split
from airflow_provider_hf_endpoints.inference.media.places import NOT_A_PLACE, place_of
from airflow_provider_hf_endpoints.inference.media.values import Medium
from airflow_provider_hf_endpoints.inference.stores.marks import Version, version_at
from airflow_provider_hf_endpoints.inference.stores.paths import local_path
from airflow_provider_hf_endpoints.inference.stores.permanent import is_refusal

AT_ONCE = 256  # lines
THREADS = 16
_UNKNOWN = Version(None, None)


def folder_of(line: Line) -> UPath | None:
    """The folder from which the paths of a row are relative."""
    if line.file is None:
        return None
    path = line.file.path
    if line.file.format.name != "files":
        return path.parent
    return split(path)[0] if is_pattern(path) else path


class Stamper:
    """Adds the versions of a row's files to its line.

    :param media_of: the media of a line's request; raises if the line gives no request
    """

    def __init__(self, media_of: Callable[[Line], Sequence[Medium]]) -> None:
        self._media_of = media_of
        self._pool: ThreadPoolExecutor | None = None

    def stamped(self, lines: Iterator[Line]) -> Iterator[Line]:
        """The lines with the versions of their files."""
        failure: Exception | None = None
        while failure is None:
            some: list[Line] = []
            try:
                some.extend(itertools.islice(lines, AT_ONCE))
            except Exception as error:  # noqa: BLE001 - raised below, after the lines before it
                failure = error
            if not some and failure is None:
                return
            yield from self._all(some)
        raise failure

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _all(self, lines: list[Line]) -> Iterator[Line]:
        found = [self._named(line) for line in lines]
        wanted = [(line, medium) for line, media in zip(lines, found, strict=True) for medium in media]
        versions = iter(self._looked_up(wanted))
        for line, media in zip(lines, found, strict=True):
            yield line._replace(versions=tuple(itertools.islice(versions, len(media)))) if media else line

    def _named(self, line: Line) -> Sequence[Medium]:
        with suppress(Exception):  # the row's error, which is found again when its request is made
            return self._media_of(line)
        return ()

    def _looked_up(self, wanted: Sequence[tuple[Line, Medium]]) -> list[Version]:
        if all(_is_quick(*each) for each in wanted):
            return [_version(*each) for each in wanted]
        self._pool = self._pool or ThreadPoolExecutor(THREADS, thread_name_prefix="batch-versions")
        return list(self._pool.map(lambda each: _version(*each), wanted))


def _is_quick(line: Line, medium: Medium) -> bool:
    base = folder_of(line)
    return not medium.is_stored or _listed(line, medium) is not None or base is None or local_path(base) is not None


def _listed(line: Line, medium: Medium) -> Version | None:
    """What the listing of a folder said about the file, if the row is of one."""
    if line.file is None or line.file.format.name != "files":
        return None
    row = fastjson.decode(line.raw)
    return Version(row["size"], row["version"]) if row["path"] == medium.source else None


def _version(line: Line, medium: Medium) -> Version:
    if not medium.is_stored:
        return _UNKNOWN
    if (listed := _listed(line, medium)) is not None:
        return listed
    try:
        return version_at(place_of(medium.source, folder_of(line) or UPath(".")))
    except (FileNotFoundError, InferenceError, *NOT_A_PLACE):
        return _UNKNOWN  # the read reports this
    except Exception as error:
        if is_refusal(error):
            return _UNKNOWN
        raise  # the store fails: the block is read again
