"""The record of a finished row in the journal: what a resume needs to know, followed by the output line.

A record is one line: `checksum head payload`. The head has the record's numbers in hexadecimal, with a fixed width,
because a resume may read a million of them. The checksum covers the rest, so a line that is torn or has
changed is never used. Bytes in, bytes out; no files here.
"""

from __future__ import annotations

import struct
import zlib
from binascii import unhexlify
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

# What is counted about a row; plain numbers, because they are used once per row.
ERROR = 1
TRUNCATED = 2
FILTERED = 4
EMPTY = 8
RETRYABLE = 16  # an error that another run may not have
DISCARDED = 32  # not a row: the tokens of an answer that was thrown away
COPY = 64  # a copy of another record, whose tokens are already counted

_HEAD = struct.Struct(">QQQBqq")  # place, key, line key, flags, prompt tokens, completion tokens
_HEAD_AT = 9  # after the checksum and a space
_HEAD_END = _HEAD_AT + 2 * _HEAD.size


class Record(NamedTuple):
    """A finished row.

    :param place: place in the input, from 0
    :param key: of row and request, see `row_key`
    :param flags: sum of ERROR, TRUNCATED, FILTERED, EMPTY, RETRYABLE, DISCARDED, COPY
    :param prompt_tokens: of its answer; `completion_tokens` likewise
    :param payload: the output line, JSON without a newline; followed by a failed row's dead letter
    """

    place: int
    key: int
    flags: int
    prompt_tokens: int
    completion_tokens: int
    payload: bytes


def discarded(place: int, prompt_tokens: int, completion_tokens: int) -> Record:
    """The record of an answer that was thrown away. The engine has generated its tokens, and they are paid for.

    :param place: of its row, or of the first of its rows
    """
    return Record(place, 0, DISCARDED, prompt_tokens, completion_tokens, b"")


def row_key(row_id: bytes, request: bytes) -> int:
    """64 bits of a row's id and its rendered request, never 0.

    Both are included: rows with the same prompt are different rows, and a row whose prompt has changed must be sent
    again.
    """
    digest = blake2b(request, digest_size=8, key=row_id[:64]) if row_id else blake2b(request, digest_size=8)
    if len(row_id) > 64:
        digest.update(b"\0" + row_id)
    return int.from_bytes(digest.digest(), "big") or 1


def line_hasher(seed: bytes) -> Callable[[bytes], int]:
    """A function from an input line to 64 bits, never 0.

    :param seed: everything else that affects a request: if it differs, all results differ
    """
    salt = blake2b(seed, digest_size=16).digest()

    def line_key(raw: bytes) -> int:
        return int.from_bytes(blake2b(raw, digest_size=8, salt=salt).digest(), "big") or 1

    return line_key


def encode_record(record: Record, line_key: int = 0) -> bytes:
    """The record as a line, newline included.

    :param line_key: of the row's input line, 0 if unknown
    """
    head = _HEAD.pack(
        record.place,
        record.key,
        line_key,
        record.flags,
        record.prompt_tokens,
        record.completion_tokens,
    )
    body = b"%b %b" % (head.hex().encode(), record.payload)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def decode_record(line: bytes) -> Record | None:
    """The record in a line, None if the line is damaged."""
    head = read_head(line)
    if head is None:
        return None
    place, key, _, flags, prompt, completion = head
    return Record(place, key, flags, prompt, completion, line[_HEAD_END + 1 : -1])


def read_head(line: bytes) -> tuple[int, int, int, int, int, int] | None:
    """Place, key, line key, flags, prompt and completion tokens of a record, None if the line is
    damaged.

    A resume needs no more for most rows.
    """
    if not _is_whole(line):
        return None
    try:
        return _HEAD.unpack(unhexlify(line[_HEAD_AT:_HEAD_END]))
    except (ValueError, struct.error):
        return None


def _is_whole(line: bytes) -> bool:
    return line[-1:] == b"\n" and line[:_HEAD_AT] == b"%08x " % zlib.crc32(line[_HEAD_AT:-1])
