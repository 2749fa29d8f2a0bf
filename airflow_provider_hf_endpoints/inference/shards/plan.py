"""How one batch is divided among many workers: which bytes belong to which shard, and what its share of the limit is.

Decisions only: files are known by name, size and version here, and nothing is read. Shards follow each other in the
input, so their outputs, one after the other, are the output of the whole.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1  # of a plan
MOST_SHARDS = 99_999


class TooManyShardsError(ValueError):
    """A plan would have more shards than whoever runs them can take."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as the planner found it.

    :param size: bytes
    :param version: changes when the content does (an etag, a time), None where the storage tells none
    :param splits: a range of its bytes can be read alone: its rows are lines, and it is not packed
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
        """Bytes."""
        return (self.file.size if self.end is None else self.end) - self.start


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a planned batch, as it travels from the planner to a worker: numbers only.

    :param number: from 0
    :param of: how many there are
    :param plan: the plan's digest
    :param began: when the planner ran, seconds since the epoch: budgets of all shards count from there. No part of
        which shard it is
    """

    number: int
    of: int
    plan: str
    began: float | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """As in a folder's name."""
        return f"{self.number:05d}-of-{self.of:05d}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, for an XCom."""
        began = {} if self.began is None else {"began": self.began}
        return {"number": self.number, "of": self.of, "plan": self.plan, **began}

    @classmethod
    def parse(cls, value: Any) -> Shard:
        """The shard in plain JSON.

        :raises ValueError: that is none
        """
        if isinstance(value, Shard):
            return value
        if not isinstance(value, Mapping) or set(value) - {"began"} != {"number", "of", "plan"}:
            raise ValueError(f"shard is one of the planner's results, with number, of and plan; not {value!r}")
        number, of, plan = value["number"], value["of"], value["plan"]
        for each in (number, of):
            if not isinstance(each, int) or isinstance(each, bool):
                raise ValueError(f"shard has whole numbers as number and of, not {each!r}")
        if not 0 <= number < of or not isinstance(plan, str):
            raise ValueError(f"shard {value!r} is none: number counts from 0 to below of, and plan is a text")
        began = value.get("began")
        if began is not None and (not isinstance(began, int | float) or isinstance(began, bool)):
            raise ValueError(f"shard has seconds since the epoch as began, not {began!r}")
        return cls(number, of, plan, began)


@dataclass(frozen=True, slots=True)
class Plan:
    """Who reads what.

    :param input_path: as the user gave it
    :param shards: each with its pieces, in the order of the input
    """

    input_path: str
    input_format: str
    files: tuple[PlannedFile, ...]
    shards: tuple[tuple[Piece, ...], ...]

    @property
    def digest(self) -> str:
        """A short name of the plan: another one as soon as a file, a size, a version or a cut differs."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def refs(self, began: float | None = None) -> list[Shard]:
        """What the workers are given.

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

        :raises ValueError: that is none, or of another version
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
            raise ValueError(f"no plan of shards: {error!r}") from error


def plan_shards(
    files: Sequence[PlannedFile],
    *,
    shards: int | None = None,
    bytes_per_shard: int | None = None,
    most: int = MOST_SHARDS,
) -> tuple[tuple[Piece, ...], ...]:
    """Divide the files into shards of about the same size, in their order.

    A file that cannot be split goes whole into one of them, so there may be fewer shards than asked for.

    :param shards: how many, or
    :param bytes_per_shard: how large
    :param most: shards that may come of it
    :raises TooManyShardsError: more would
    :raises ValueError: neither or both are given, or they are not positive
    """
    check_division(shards, bytes_per_shard)
    ends = list(itertools.accumulate(file.size for file in files))
    total = ends[-1] if ends else 0
    count = shards if shards is not None else -(-total // (bytes_per_shard or 1))
    if count > most:
        raise TooManyShardsError(f"{_asked(shards, bytes_per_shard, total)} {count} shards, and {most} are the most.")
    count = max(1, min(count, total))
    cuts = {_cut(files, ends, total * number // count) for number in range(1, count)}
    edges = sorted({0, total} | cuts)
    return tuple(_between(files, ends, start, end) for start, end in itertools.pairwise(edges))


def check_division(shards: int | None, bytes_per_shard: int | None) -> None:
    """Refuse a division that is none.

    :raises ValueError: neither or both are given, or they are not positive whole numbers
    """
    if (shards is None) == (bytes_per_shard is None):
        raise ValueError("give either shards (how many) or bytes_per_shard (how large)")
    for name, value in (("shards", shards), ("bytes_per_shard", bytes_per_shard)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} is a whole number of at least 1, not {value!r}")


def _asked(shards: int | None, bytes_per_shard: int | None, total: int) -> str:
    if shards is not None:
        return f"shards={shards} makes"
    return f"bytes_per_shard={bytes_per_shard} of {total} bytes makes"


def _cut(files: Sequence[PlannedFile], ends: Sequence[int], place: int) -> int:
    """The place itself, or the nearer edge of a file that cannot be cut there."""
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


def share(limit: int, shard: Shard, at_once: int) -> int:
    """How many of the job's requests a shard may have in flight.

    Where all shards run at once, the shares add up to exactly the limit. Where fewer do, which of them is not known:
    then every share is rounded down, and any `at_once` of them stay within the limit.

    :param at_once: shards that run at the same time, at most
    :raises ValueError: there is not one for each
    """
    if limit < at_once:
        raise ValueError(f"{limit} requests in flight are too few for {at_once} shards at once: each needs one")
    rest = limit % at_once if at_once >= shard.of else 0
    return limit // at_once + (shard.number < rest)
