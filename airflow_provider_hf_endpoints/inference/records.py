"""One finished row as the journal keeps it: its output line, and in front of it what a resume needs to know.

A record is one line: `checksum place key flags prompt_tokens completion_tokens payload`. The checksum covers
all that follows it, so a line that was torn or changed is never taken for a row. Bytes in, bytes out; no
files here.
"""

from __future__ import annotations

import zlib
from hashlib import blake2b
from typing import NamedTuple

# What is to be counted about a row; plain numbers, because they are looked at once per row.
ERROR = 1
TRUNCATED = 2
FILTERED = 4
EMPTY = 8
RETRYABLE = 16  # an error that another run may not meet


class Record(NamedTuple):
    """A finished row.

    :param place: place in the input, from 0
    :param key: identity of row and request, see `row_key`
    :param flags: sum of ERROR, TRUNCATED, FILTERED, EMPTY
    :param payload: the output line, JSON without a newline
    """

    place: int
    key: int
    flags: int
    prompt_tokens: int
    completion_tokens: int
    payload: bytes


def row_key(row_id: bytes, request: bytes) -> int:
    """64 bits of a row's id and its rendered request, never 0.

    Both count: rows with the same prompt are different rows, and a row whose prompt changed has to be done
    again.
    """
    digest = blake2b(request, digest_size=8, key=row_id[:64]) if row_id else blake2b(request, digest_size=8)
    if len(row_id) > 64:
        digest.update(b"\0" + row_id)
    return int.from_bytes(digest.digest(), "big") or 1


def encode_record(record: Record) -> bytes:
    """The record as a line, newline included."""
    body = b"%d %016x %d %d %d %b" % (
        record.place,
        record.key,
        record.flags,
        record.prompt_tokens,
        record.completion_tokens,
        record.payload,
    )
    return b"%08x %b\n" % (zlib.crc32(body), body)


def decode_record(line: bytes) -> Record | None:
    """The record in a line, None when the line is not exactly what was written."""
    if len(line) < 10 or line[-1:] != b"\n" or line[8:9] != b" ":
        return None
    body = line[9:-1]
    try:
        if line[:8] != b"%08x" % zlib.crc32(body):
            return None
        place, key, flags, prompt, completion, payload = body.split(b" ", 5)
        return Record(int(place), int(key, 16), int(flags), int(prompt), int(completion), payload)
    except ValueError:
        return None


def read_head(line: bytes) -> tuple[int, int, int] | None:
    """Place, key and flags of a record, None when the line is not exactly what was written.

    All that a resume needs of most rows, at half the price of `decode_record`.
    """
    if line[-1:] != b"\n" or line[8:9] != b" " or line[:8] != b"%08x" % zlib.crc32(memoryview(line)[9:-1]):
        return None
    try:
        place, key, flags, _ = line[9:60].split(b" ", 3)
        return int(place), int(key, 16), int(flags)
    except ValueError:
        return None
