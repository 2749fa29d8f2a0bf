"""A body that came packed, unpacked. The transports ask for none, and some proxies pack all the same. Pure."""

from __future__ import annotations

import zlib

from airflow_provider_hf_endpoints.inference.errors import (
    AnswerTooLargeError,
    CutAnswerError,
    InferenceError,
    MalformedAnswerError,
)

_WITH_HEADER = zlib.MAX_WBITS | 32  # gzip's or zlib's, whichever stands there
_BARE = -zlib.MAX_WBITS  # what some servers mean by deflate


def unpack_answer(status: int, body: bytes, encoding: str | None, most: int) -> bytes:
    """`body` of an answer without its content encoding.

    A refusal means what its status says, whatever its body is: where that can't be read, words say so in its place.

    :raises InferenceError: as `unpack`, where the status is a success
    """
    try:
        return unpack(body, encoding, most)
    except InferenceError as error:
        if 200 <= status < 300:
            raise
        return f"unreadable response body: {error.words}".encode()


def unpack(body: bytes, encoding: str | None, most: int) -> bytes:
    """`body` without its content encoding.

    :param most: bytes that it may have; a few bytes that are packed well would fill any memory
    :raises AnswerTooLargeError: there are more
    :raises CutAnswerError: it can't be unpacked, or stops in the middle
    :raises MalformedAnswerError: an encoding that nobody asked for and that is not known here
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
    """All members of a packed body, one behind the other."""
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
