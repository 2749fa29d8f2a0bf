"""Ids of rows across shards. Each shard stores the sorted hashes of its ids, so that duplicates are found without
reading the input again.

A file ends with a digest of its hashes and of the shard that they belong to. So a damaged file, or another shard's, is
never taken for the ids of a shard.
"""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import IO, NamedTuple

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.inputs.ids import hash_id
from airflow_provider_hf_endpoints.inference.inputs.lines import parse_line, row_id
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines
from airflow_provider_hf_endpoints.inference.job.job import BatchJob
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout, layout_of, layout_of_whole
from airflow_provider_hf_endpoints.inference.shards.planner import PLAN
from airflow_provider_hf_endpoints.inference.stores.atomic import replacing
from airflow_provider_hf_endpoints.inference.stores.folders import names_in

log = logging.getLogger(__name__)

COMPARED_AT_MOST = 1 << 25  # bytes of other shards' ids: four million rows
IDS_AT_ONCE = 1 << 20  # that are compared in memory at the same time
WIDTH = 8  # bytes of a hash, and of the digest at the end


class IdFile(NamedTuple):
    """The file of a shard's ids.

    :param owner: the shard, with its plan
    """

    path: UPath
    owner: str


def id_file(layout: OutputLayout, plan: str, name: str) -> IdFile:
    """
    :param layout: of the shard's own output
    :param plan: the digest of its plan
    """
    return IdFile(layout.ids, f"{plan}/{name}")


def compare_ids(job: BatchJob, source: Input, hashes: list[array[int]]) -> None:
    """Store a shard's ids for the other shards, and check whether another shard has one of them.

    The later of two shards sees both ids, so a duplicate is reported before its second row is sent. Above a number of
    rows this would cost too much, because each shard reads all ids. Then only the merge checks.

    :param hashes: of all ids, as `inputs.ids.hashes_of` returned them
    :raises BatchInputError: an id is in another shard too
    """
    if not hashes or job.shard is None or job.names_rows_by is None:
        return
    own = id_file(layout_of(job), job.shard.plan, job.shard.name)
    with replacing(own.path) as file:
        write_hashes(file, itertools.chain.from_iterable(hashes), own.owner)
    others = worth_comparing(_ids_of_others(layout_of_whole(job), job.shard))
    if others is None:
        return
    doubled = find_doubled([own, *others], _left_out)
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


def worth_comparing(files: Iterable[IdFile]) -> list[IdFile] | None:
    """The files that exist, or None if they are too large to compare. After that, the store is asked for no file."""
    there: list[IdFile] = []
    size = 0
    for file in files:
        if file.path.exists():
            there.append(file)
            size += file.path.stat().st_size
        if size > COMPARED_AT_MOST:
            return None
    return there


def _ids_of_others(layout: OutputLayout, own: Shard) -> list[IdFile]:
    """The id files of the other shards of a batch."""
    names = sorted(set(names_in(layout.shards)) - {own.name, PLAN})
    return [id_file(layout.of_shard(name), own.plan, name) for name in names]


def _left_out(file: IdFile) -> Iterable[int]:
    log.warning(
        "%s does not contain the ids of its shard: it is damaged, or belongs to another plan. Its ids are not compared "
        "with those of this shard before the merge, which reads them from the results",
        file.path,
    )
    return ()


def write_hashes(file: IO[bytes], ordered: Iterable[int], owner: str) -> None:
    """Write hashes, given in ascending order, and the digest.

    :param owner: see `IdFile`
    """
    hashes, seal = iter(ordered), blake2b(owner.encode(), digest_size=WIDTH)
    while block := array("Q", itertools.islice(hashes, IDS_AT_ONCE)):
        data = _bytes_of(block)
        seal.update(data)
        file.write(data)
    file.write(seal.digest())


def find_doubled(files: Sequence[IdFile], instead: Callable[[IdFile], Iterable[int]]) -> set[int]:
    """Hashes that appear more than once in all files together. Memory has a million at a time.

    :param files: each written by `write_hashes`
    :param instead: returns hashes to use in place of a file that is missing, damaged or another shard's
    """
    with tempfile.TemporaryFile(prefix="hf-batch-ids-") as spool:
        places = [_copy(file, spool) or _write(instead(file), spool) for file in files]
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


def _copy(ids: IdFile, spool: IO[bytes]) -> tuple[int, int] | None:
    """Copy the hashes of a file, and return their place; None if the file is not as its shard wrote it."""
    start, seal, rest = spool.tell(), blake2b(ids.owner.encode(), digest_size=WIDTH), b""
    try:
        with ids.path.open("rb") as file:
            while block := file.read(1 << 20):
                block = rest + block
                hashes, rest = block[:-WIDTH], block[-WIDTH:]
                seal.update(hashes)
                spool.write(hashes)
    except FileNotFoundError:
        pass
    if rest == seal.digest():
        return start, spool.tell()
    spool.seek(start)
    spool.truncate()
    return None


def _write(hashes: Iterable[int], spool: IO[bytes]) -> tuple[int, int]:
    start = spool.tell()
    spool.write(_bytes_of(array("Q", sorted(hashes))))
    return start, spool.tell()


def _bytes_of(hashes: array[int]) -> bytes:
    if sys.byteorder == "big":
        hashes.byteswap()
    return hashes.tobytes()


def _read(spool: IO[bytes], start: int, end: int) -> Iterator[int]:
    while start < end:
        spool.seek(start)
        block = array("Q")
        block.frombytes(spool.read(min(1 << 16, end - start)))
        if sys.byteorder == "big":
            block.byteswap()
        yield from block
        start += len(block) * WIDTH
