"""What tells of an input whether it is another by now: size and version of each file, which cost no reading, and a
digest of the rows, which is the same whenever the files were written and however they are packed."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import refusal
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.stores.paths import local_path

#: Properties of an object that change with its content. The first one that exists is used.
_NAMES = (
    *("ETag", "etag", "generation", "blob_id", "md5Hash", "content_settings", "last_modified", "LastModified"),
    *("mtime", "created"),
)

_AT_ONCE = 16  # rows, each of which may have megabytes


class Version(NamedTuple):
    """The size of a file in bytes, and the storage's version of its content; None if the storage does not say."""

    size: int | None
    mark: str | None


def version_of(file: InputFile) -> Version:
    """
    :raises FileNotFoundError: the file does not exist
    """
    local = local_path(file.path)
    if local is not None:
        stat = local.stat()
        return Version(stat.st_size, str(stat.st_mtime_ns))
    about = file.path.fs.info(file.path.path)
    mark = next((str(about[name]) for name in _NAMES if about.get(name) is not None), None)
    return Version(None if about.get("size") is None else int(about["size"]), mark)


def versions_of(source: Input) -> dict[str, Version]:
    """The versions of all files of an input that exist and can be looked at, by path."""
    found = {}
    for file in source.files:
        try:
            found[str(file)] = version_of(file)
        except OSError as error:
            if refusal(file.path, error) is None:
                raise
            continue  # the read reports this
    return found


class RowsDigest:
    """A digest of rows, given in their order."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)

    def add(self, lines: Iterable[Line]) -> None:
        """The next rows, or what stands in the place of one. It makes no difference how they are divided into calls."""
        texts = [line.raw + b"\n" + line.problem.encode() if line.problem else line.raw for line in lines]
        if texts:
            self._hash.update(b"\n".join([*texts, b""]))  # a row contains no line break

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return self._hash.hexdigest()


def digest_of(source: Input) -> str:
    """The digest of an input's rows. Reads all of them.

    :raises BatchInputError: they cannot be read
    """
    digest, lines = RowsDigest(), read_lines(source)
    while some := list(islice(lines, _AT_ONCE)):
        digest.add(some)
    return digest.hexdigest()
