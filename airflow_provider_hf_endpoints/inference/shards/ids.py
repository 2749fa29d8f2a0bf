"""Ids of rows across shards: each shard leaves the hashes of its own, sorted, so that doubled ones can be found without
reading the input again."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import IO

from upath import UPath

IDS_AT_ONCE = 1 << 20  # compared in memory at a time
WIDTH = 8  # bytes of a hash


def hash_id(identity: str | int) -> int:
    """64 bits of a row's id; the text and the number of the same digits differ."""
    hashed = blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()
    return int.from_bytes(hashed, "big")


def write_hashes(file: IO[bytes], ordered: Iterable[int]) -> None:
    """Write hashes that come in ascending order."""
    hashes = iter(ordered)
    while block := array("Q", itertools.islice(hashes, IDS_AT_ONCE)):
        if sys.byteorder == "big":
            block.byteswap()
        block.tofile(file)


def find_doubled(files: Sequence[UPath]) -> set[int]:
    """Hashes that stand in more than one place, of all files together; memory holds a million at a time.

    :param files: each written by `write_hashes`
    """
    with tempfile.TemporaryFile(prefix="hf-batch-ids-") as spool:
        places = [_copy(file, spool) for file in files]
        total = sum(end - start for start, end in places) // WIDTH
        rounds = -(-total // IDS_AT_ONCE)
        doubled: set[int] = set()
        # Hashes are spread evenly, so an even part of their range holds about an even part of them.
        for number in range(1, rounds + 1):
            below = (1 << 64) * number // rounds
            together: list[int] = []
            for at, (start, end) in enumerate(places):
                found = list(itertools.takewhile(below.__gt__, _read(spool, start, end)))
                together += found
                places[at] = (start + len(found) * WIDTH, end)
            together.sort()
            doubled.update(first for first, second in itertools.pairwise(together) if first == second)
        return doubled


def _copy(path: UPath, spool: IO[bytes]) -> tuple[int, int]:
    start = spool.tell()
    with path.open("rb") as file:
        shutil.copyfileobj(file, spool, 1 << 20)
    return start, spool.tell()


def _read(spool: IO[bytes], start: int, end: int) -> Iterator[int]:
    while start < end:
        spool.seek(start)
        block = array("Q")
        block.frombytes(spool.read(min(1 << 16, end - start)))
        if sys.byteorder == "big":
            block.byteswap()
        yield from block
        start += len(block) * WIDTH
