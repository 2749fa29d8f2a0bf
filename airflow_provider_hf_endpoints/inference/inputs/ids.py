"""Ids of rows: that every row has a separate one. Known by their hashes, which take eight bytes of memory a row.

Two ids are the same where an output cannot tell them apart. Results in Parquet have ids as text, so the number 1 and
the text "1" are the same; so are two texts that differ in half a character, which UTF-8 has no form of. All else that
differs is different: case, blanks, and the two forms in which Unicode writes an accent.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable
from hashlib import blake2b

from airflow_provider_hf_endpoints.inference.input_errors import BadLineError, BatchInputError
from airflow_provider_hf_endpoints.inference.inputs.files import Input
from airflow_provider_hf_endpoints.inference.inputs.lines import RowId, parse_line, row_id
from airflow_provider_hf_endpoints.inference.inputs.read import read_lines

_BUCKETS = 256
_LINES_AT_A_TIME = 4096


def hash_id(identity: RowId) -> int:
    """64 bits of a row's id, the same for ids that are the same."""
    return int.from_bytes(blake2b(_as_written(identity), digest_size=8).digest(), "big")


def _as_written(identity: RowId) -> bytes:
    """An id as the poorest output has it."""
    try:
        return str(identity).encode()
    except UnicodeEncodeError:
        return str(identity).encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()


def written_alike(first: RowId, second: RowId) -> str:
    """What to say of two ids that are the same; nothing where they look the same, too."""
    return "" if repr(first) == repr(second) else f" ({first!r} there; an output in Parquet has the same text for both)"


def hashes_of(
    source: Input, id_column: str, *, stop_on_bad: bool, go_on: Callable[[], None] = lambda: None
) -> list[array[int]]:
    """The hashes of all ids, in order: eight bytes per row, sorted in parts.

    :param stop_on_bad: refuse a line that is not a row; otherwise it has no id
    :param go_on: called every few thousand lines, because all lines are read; may raise
    :raises BatchInputError: an id is missing, or appears twice
    """
    buckets = [array("Q") for _ in range(_BUCKETS)]
    for line in read_lines(source):
        if line.place % _LINES_AT_A_TIME == 0:
            go_on()
        try:
            row = parse_line(line)
        except BadLineError:
            if stop_on_bad:
                raise
            continue
        hashed = hash_id(row_id(row, line, id_column))
        buckets[hashed >> 56].append(hashed)
    for number, bucket in enumerate(buckets):
        buckets[number] = array("Q", sorted(bucket))
    doubled = {first for bucket in buckets for first, second in itertools.pairwise(bucket) if first == second}
    if doubled:
        raise BatchInputError(f"{source}: {_first_doubled(source, id_column, doubled)}")
    return buckets


def _first_doubled(source: Input, id_column: str, doubled: set[int]) -> str:
    seen: dict[int, tuple[RowId, str]] = {}
    for line in read_lines(source):
        try:
            identity = row_id(parse_line(line), line, id_column)
        except BadLineError:
            continue
        hashed = hash_id(identity)
        if hashed in seen:
            first, where = seen[hashed]
            return (
                f"id {identity!r} in column {id_column!r} appears on {where} and on {line.where}"
                f"{written_alike(first, identity)}. Ids must be unique"
            )
        if hashed in doubled:
            seen[hashed] = identity, line.where
    return f"ids in column {id_column!r} are not unique"
