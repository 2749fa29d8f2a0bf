"""Ids of rows across shards. Each shard stores the sorted hashes of its ids, so that duplicates are found without
reading the input again."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.inputs.ids import hash_id
from airflow_provider_hf_endpoints.inference.inputs.lines import parse_line, row_id
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout, layout_of, layout_of_whole
from airflow_provider_hf_endpoints.inference.shards.planner import PLAN
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.folders import names_in

COMPARED_AT_MOST = 1 << 25  # bytes of other shards' ids: four million rows
IDS_AT_ONCE = 1 << 20  # that are compared in memory at the same time
WIDTH = 8  # bytes of a hash


def compare_ids(job: BatchJob, source: Input, hashes: list[array[int]]) -> None:
    """Store a shard's ids for the other shards, and check whether another shard has one of them.

    The later of two shards sees both ids, so a duplicate is reported before its second row is sent. Above a number of
    rows this would cost too much, because each shard reads all ids. Then only the merge checks.

    :param hashes: of all ids, as `inputs.ids.hashes_of` returned them
    :raises BatchInputError: an id is in another shard too
    """
    if not hashes or job.shard is None or job.names_rows_by is None:
        return
    own = layout_of(job).ids
    with replacing(own) as file:
        write_hashes(file, itertools.chain.from_iterable(hashes))
    others = worth_comparing(_ids_of_others(layout_of_whole(job), own))
    if others is None:
        return
    doubled = find_doubled([own, *others])
    for line in read_lines(source) if doubled else ():
        try:
            identity = row_id(parse_line(line), line, job.names_rows_by)
        except BadLineError:
            continue
        if hash_id(identity) in doubled:
            raise BatchInputError(
                f"id {identity!r} in column {job.names_rows_by!r} appears on {line.where} and in another shard of "
                f"{job.output_path}. Ids must be unique"
            )


def worth_comparing(paths: Iterable[UPath]) -> list[UPath] | None:
    """The files that exist, or None if they are too large to compare. After that, the store is asked for no file."""
    there: list[UPath] = []
    size = 0
    for path in paths:
        if path.exists():
            there.append(path)
            size += path.stat().st_size
        if size > COMPARED_AT_MOST:
            return None
    return there


def _ids_of_others(layout: OutputLayout, own: UPath) -> list[UPath]:
    """The id files of the other shards of a batch."""
    names = sorted(set(names_in(layout.shards)) - {own.parent.name, PLAN})
    return [OutputLayout.of(layout.shards / name).ids for name in names]


def write_hashes(file: IO[bytes], ordered: Iterable[int]) -> None:
    """Write hashes, given in ascending order."""
    hashes = iter(ordered)
    while block := array("Q", itertools.islice(hashes, IDS_AT_ONCE)):
        if sys.byteorder == "big":
            block.byteswap()
        block.tofile(file)


def find_doubled(files: Sequence[UPath]) -> set[int]:
    """Hashes that appear more than once in all files together. Memory has a million at a time.

    :param files: each written by `write_hashes`
    """
    with tempfile.TemporaryFile(prefix="hf-batch-ids-") as spool:
        places = [_copy(file, spool) for file in files]
        total = sum(end - start for start, end in places) // WIDTH
        rounds = -(-total // IDS_AT_ONCE)
        doubled: set[int] = set()
        # Hashes are spread evenly, so an equal part of their range contains about an equal number of them.
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
