"""What tells of an input whether it is another by now: size and version of each file, which cost no reading, and a
digest of the rows, which is the same whenever the files were written and however they are packed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice

from airflow_provider_hf_endpoints.inference.inputs.files import Input, InputFile
from airflow_provider_hf_endpoints.inference.inputs.formats import FILES
from airflow_provider_hf_endpoints.inference.inputs.invalid_files import refusal
from airflow_provider_hf_endpoints.inference.inputs.lines import Line
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.stores.marks import Version, version_at

_AT_ONCE = 16  # rows, each of which may have megabytes


def version_of(file: InputFile) -> Version:
    """
    :raises FileNotFoundError: the file does not exist
    """
    return version_at(file.path)


def versions_of(source: Input) -> dict[str, Version]:
    """The versions of all files of an input that exist and can be looked at, by path."""
    found = {}
    for file in source.files:
        if file.format is FILES:
            continue  # a listing is too long to be made before the first row is sent
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
        self.rows = 0

    def add(self, lines: Iterable[Line]) -> None:
        """The next rows, or what stands in the place of one. It makes no difference how they are divided into calls."""
        texts = [line.raw + b"\n" + line.problem.encode() if line.problem else line.raw for line in lines]
        self.rows += len(texts)
        if texts:
            self._hash.update(b"\n".join([*texts, b""]))  # a row contains no line break

    def add_all(self, lines: Iterator[Line]) -> None:
        """All rows of an input, some at a time."""
        while some := list(islice(lines, _AT_ONCE)):
            self.add(some)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return self._hash.hexdigest()


def digest_of(source: Input) -> str:
    """The digest of an input's rows. Reads all of them.

    :raises BatchInputError: they cannot be read
    """
    digest = RowsDigest()
    digest.add_all(read_lines(source))
    return digest.hexdigest()
