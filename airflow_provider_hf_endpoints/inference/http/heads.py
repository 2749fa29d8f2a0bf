"""The head of an HTTP/1.1 answer: status line, headers, and the length of the body. Pure.

As strict as h11, which has the same grammar (RFC 9110 and 9112). Anything unknown is an error, never a guess: if two
readers of a connection disagree, one of them reads a part of an answer as the next answer.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError

#: How a body ends: with a number of bytes, with its last chunk, or with its connection.
LENGTH, CHUNKS, CLOSE = "length", "chunks", "close"

_TOKEN = r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
# Control characters too, because servers send them; but no NUL, no line break, no form feed.
_TEXT = r"[^\x00\n\r\f\v]*"
_STATUS_LINE = re.compile(rf"HTTP/1\.([0-9]) ([0-9]{{3}})(?: {_TEXT})?")
#: All header lines of a head at once; a line that is not valid is missing in what is found. The blanks before a value
#: are
#: never given back (`*+`), or a line of blanks would take the square of its length.
_HEADERS = re.compile(rf"^({_TOKEN}):[ \t]*+({_TEXT})$", re.MULTILINE)
_NAME = re.compile(_TOKEN)
_USUAL = 4096  # characters of a head; the lines of a larger head are not cached
_FOLD = re.compile(r"\n[ \t]+")
_MOST_DIGITS = 20
_NUMBER = re.compile(rf"[0-9]{{1,{_MOST_DIGITS}}}", re.ASCII)


class Head(NamedTuple):  # made once an answer: a frozen dataclass takes three times as long
    """The part of an answer before its body.

    :param headers: names in lower case; several lines with the same name become one value with commas
    :param framing: how the body ends
    :param length: of the body in bytes, for that framing
    :param keep_alive: whether the server keeps the connection after the answer
    """

    status: int
    headers: dict[str, str]
    framing: str
    length: int
    keep_alive: bool


def read_head(text: str, method: str) -> Head | None:
    """The head of an answer to a request with `method`; None for one that announces another (100, 103).

    :param text: all lines without the empty one at their end, decoded as Latin-1
    :raises MalformedAnswerError: this is not HTTP/1.1
    """
    line, _, rest = text.removesuffix("\r").replace("\r\n", "\n").partition("\n")
    one_zero, status = _status_line(line)
    headers = _headers(rest)
    length = _content_length(headers) if "content-length" in headers else None
    chunked = "transfer-encoding" in headers and _is_chunked(headers)
    if status < 200:
        if status < 100 or status == 101:
            raise MalformedAnswerError(f"unexpected status {status:03}")
        return None
    # HTTP/1.0 keeps connections only if both sides agree on it, and this client does not ask for it.
    keep_alive = not one_zero and not ("connection" in headers and _says_close(headers))
    if status in (204, 304) or method == "HEAD":
        return Head(status, headers, LENGTH, 0, keep_alive and not (chunked and length is not None))
    if chunked:
        # With a length beside it, the sender is broken or an attacker (RFC 9112, 6.3). Do not use its connection again.
        return Head(status, headers, CHUNKS, 0, keep_alive and length is None)
    if length is not None:
        return Head(status, headers, LENGTH, length, keep_alive)
    return Head(status, headers, CLOSE, 0, False)


def check_trailer(text: str) -> None:
    """Check the lines after the last chunk. Their content is not used.

    :raises MalformedAnswerError: a line that is not a header
    """
    _headers(text.removesuffix("\r").replace("\r\n", "\n"))


@functools.lru_cache(maxsize=16)  # a server sends the same with nearly every answer
def _status_line(line: str) -> tuple[bool, int]:
    """Whether an answer is of HTTP/1.0, and its status."""
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise MalformedAnswerError(f"not an HTTP/1.1 response: {line[:60]!r}")
    return found[1] == "0", int(found[2])


def _headers(text: str) -> dict[str, str]:
    """Header lines as names in lower case and values."""
    headers: dict[str, str] = {}
    if len(text) > _USUAL:
        return _unusual_headers(text)
    for line in text.split("\n") if text else ():
        name, value = _header_line(line)
        if name is None or name in headers:
            return _unusual_headers(text)
        headers[name] = value
    return headers


@functools.lru_cache(maxsize=1000)  # most lines of an answer are the same as in the previous one
def _header_line(line: str) -> tuple[str | None, str]:
    """Name in lower case and value of a header; no name if the line is unusual or not a header."""
    name, colon, value = line.partition(":")
    usual = colon and _NAME.fullmatch(name) and value.isprintable()
    return name.lower() if usual else None, value.strip(" ")


def _unusual_headers(text: str) -> dict[str, str]:
    """The same for continued or repeated lines, for control characters, and for lines that are not headers."""
    found = _HEADERS.findall(text)
    if len(found) != text.count("\n") + 1:
        found = _unfolded(text)
    headers: dict[str, str] = {}
    for name, value in found:
        lower, value = name.lower(), value.rstrip(" \t")
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return headers


def _unfolded(text: str) -> list[tuple[str, str]]:
    """Headers whose values continue in lines that begin with a space. This is obsolete, but readers may accept it."""
    if text[0] not in " \t":
        joined = _FOLD.sub(" ", text)
        found: list[tuple[str, str]] = _HEADERS.findall(joined)
        if len(found) == joined.count("\n") + 1:
            return found
    wrong = next((line for line in text.split("\n") if not _HEADERS.fullmatch(line)), text)
    raise MalformedAnswerError(f"not a valid header line: {wrong[:60]!r}")


def _content_length(headers: dict[str, str]) -> int:
    text = headers["content-length"]
    if text.isdigit() and text.isascii() and len(text) <= _MOST_DIGITS:
        return int(text)
    # Some proxies repeat the same number. Two different numbers are an attack or a broken server.
    numbers = {number.strip(" \t") for number in text.split(",")}
    if len(numbers) > 1 or not _NUMBER.fullmatch(number := numbers.pop()):
        raise MalformedAnswerError(f"content-length {text[:60]!r}")
    headers["content-length"] = number
    return int(number)


def _is_chunked(headers: dict[str, str]) -> bool:
    text = headers["transfer-encoding"]
    if text.lower() != "chunked":
        raise MalformedAnswerError(f"transfer-encoding {text[:60]!r}")
    headers["transfer-encoding"] = "chunked"
    return True


def _says_close(headers: dict[str, str]) -> bool:
    return "close" in (part.strip(" \t") for part in headers["connection"].lower().split(","))
