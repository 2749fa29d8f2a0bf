"""How one batch is divided among many workers: which bytes belong to which shard.

Decisions only: a file is a name, a size and a version here, and nothing is read. Shards follow each other in the
input, so their outputs, one after another, are the output of the whole batch.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.inference.job.shard import Shard

FORMAT = 1  # of a plan
MOST_SHARDS = 99_999


class TooManyShardsError(ValueError):
    """A plan would have more shards than Airflow or the caller allows."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as the planner saw it.

    :param size: bytes
    :param version: changes when the content does (an etag, a time), None if the storage has none
    :param splits: whether a range of its bytes can be read alone: its rows are lines, and it is not packed
    """

    path: str
    size: int
    version: str | None = None
    splits: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file that one shard reads: the lines that *start* in `[start, end)`.

    :param end: None for all of a file that is read whole
    """

    file: PlannedFile
    start: int = 0
    end: int | None = None

    @property
    def size(self) -> int:
        """The number of bytes."""
        return (self.file.size if self.end is None else self.end) - self.start


@dataclass(frozen=True, slots=True)
class Plan:
    """Which shard reads which pieces.

    :param input_path: as given by the user
    :param shards: each with its pieces, in the order of the input
    """

    input_path: str
    input_format: str
    files: tuple[PlannedFile, ...]
    shards: tuple[tuple[Piece, ...], ...]

    @property
    def digest(self) -> str:
        """A short name of the plan. It changes with every file, size, version or cut."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def refs(self, began: float | None = None) -> list[Shard]:
        """The arguments for the workers.

        :param began: when the planner ran
        """
        digest = self.digest
        return [Shard(number, len(self.shards), digest, began) for number in range(len(self.shards))]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; pieces are `[file, start, end]`."""
        places = {file: number for number, file in enumerate(self.files)}
        return {
            "format": FORMAT,
            "input_path": self.input_path,
            "input_format": self.input_format,
            "files": [[file.path, file.size, file.version, file.splits] for file in self.files],
            "shards": [[[places[piece.file], piece.start, piece.end] for piece in shard] for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Plan:
        """The plan in plain JSON.

        :raises ValueError: the value is not valid, or of another version
        """
        if value.get("format") != FORMAT:
            raise ValueError(f"a plan of format {value.get('format')!r}, not {FORMAT}")
        try:
            files = tuple(PlannedFile(*file) for file in value["files"])
            shards = tuple(
                tuple(Piece(files[number], start, end) for number, start, end in shard) for shard in value["shards"]
            )
            return cls(value["input_path"], value["input_format"], files, shards)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a plan of shards: {error!r}") from error


def plan_shards(
    files: Sequence[PlannedFile],
    *,
    shards: int | None = None,
    bytes_per_shard: int | None = None,
    most: int = MOST_SHARDS,
) -> tuple[tuple[Piece, ...], ...]:
    """Divide the files into shards of about the same size, in their order.

    A file that cannot be divided belongs to one shard, so there may be fewer shards than requested.

    :param shards: the number of shards, or
    :param bytes_per_shard: their size
    :param most: the maximum number of shards
    :raises TooManyShardsError: there would be more
    :raises ValueError: neither or both are given, or they are not positive
    """
    check_division(shards, bytes_per_shard)
    ends = list(itertools.accumulate(file.size for file in files))
    total = ends[-1] if ends else 0
    count = shards if shards is not None else -(-total // (bytes_per_shard or 1))
    if count > most:
        raise TooManyShardsError(f"{_asked(shards, bytes_per_shard, total)} {count} shards, but the maximum is {most}.")
    count = max(1, min(count, total))
    cuts = {_cut(files, ends, total * number // count) for number in range(1, count)}
    edges = sorted({0, total} | cuts)
    return tuple(_between(files, ends, start, end) for start, end in itertools.pairwise(edges))


def check_division(shards: int | None, bytes_per_shard: int | None) -> None:
    """Refuse a division that is not valid.

    :raises ValueError: neither or both are given, or they are not positive integers
    """
    if (shards is None) == (bytes_per_shard is None):
        raise ValueError("shards (how many) and bytes_per_shard (how large) exclude each other. Give exactly one")
    for name, value in (("shards", shards), ("bytes_per_shard", bytes_per_shard)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")


def _asked(shards: int | None, bytes_per_shard: int | None, total: int) -> str:
    if shards is not None:
        return f"shards={shards} makes"
    return f"bytes_per_shard={bytes_per_shard} of {total} bytes would give"


def _cut(files: Sequence[PlannedFile], ends: Sequence[int], place: int) -> int:
    """The place itself, or the nearer edge of a file that cannot be divided."""
    number = bisect.bisect_right(ends, place)
    if files[number].splits:
        return place
    start, end = ends[number] - files[number].size, ends[number]
    return start if place - start < end - place else end


def _between(files: Sequence[PlannedFile], ends: Sequence[int], start: int, end: int) -> tuple[Piece, ...]:
    pieces = []
    for number in range(bisect.bisect_right(ends, start), len(files)):
        file = files[number]
        begins = ends[number] - file.size
        if begins >= end:
            break
        if file.size == 0:
            continue
        first, last = max(0, start - begins), min(file.size, end - begins)
        whole = first == 0 and last == file.size
        pieces.append(Piece(file, first, None if whole else last))
    return tuple(pieces)
