"""Unpacks the body of an answer. The transports do not ask for packing, but some proxies pack. Pure."""

from __future__ import annotations

import zlib

from airflow_provider_hf_endpoints.inference.errors import (
    AnswerTooLargeError,
    CutAnswerError,
    InferenceError,
    MalformedAnswerError,
)

_WITH_HEADER = zlib.MAX_WBITS | 32  # gzip's or zlib's header, whichever is there
_BARE = -zlib.MAX_WBITS  # the format of some servers for deflate


def unpack_answer(status: int, body: bytes, encoding: str | None, most: int) -> bytes:
    """`body` of an answer without its content encoding.

    A refusal means what its status says. If its body cannot be unpacked, a text says so in its place.

    :raises InferenceError: as `unpack`, if the status is a success
    """
    try:
        return unpack(body, encoding, most)
    except InferenceError as error:
        if 200 <= status < 300:
            raise
        return f"unreadable response body: {error.words}".encode()


def unpack(body: bytes, encoding: str | None, most: int) -> bytes:
    """`body` without its content encoding.

    :param most: maximum of bytes; a few packed bytes could fill the memory
    :raises AnswerTooLargeError: there are more
    :raises CutAnswerError: it is damaged or incomplete
    :raises MalformedAnswerError: the encoding is unknown
    """
    name = "identity" if encoding is None else encoding.strip().lower()
    if name in ("identity", ""):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise MalformedAnswerError(f"unexpected content-encoding {name[:60]!r}")
    if not body:
        return body
    try:
        return _inflate(body, _WITH_HEADER, most)
    except zlib.error as error:
        if name != "deflate":
            raise CutAnswerError(f"the body could not be decompressed: {error}") from error
    try:
        return _inflate(body, _BARE, most)
    except zlib.error as error:
        raise CutAnswerError(f"the body could not be decompressed: {error}") from error


def _inflate(packed: bytes, window: int, most: int) -> bytes:
    """All members of a packed body, one after the other."""
    out = bytearray()
    while packed:
        member = zlib.decompressobj(window)
        out += member.decompress(packed, most + 1 - len(out))
        if len(out) > most:
            raise AnswerTooLargeError(f"more than {most} bytes after decompression")
        if not member.eof:
            raise CutAnswerError("a truncated compressed body")
        packed = member.unused_data
    return bytes(out)
