"""An HTTP/1.1 answer from the bytes of a connection, in pieces of any size. Pure: no sockets.

Heads are read in `heads.py`; this file finds the end of a body. It supports what a client of JSON APIs needs: no
upgrades, no pipelining; trailers are checked and dropped. As strict as h11: `benchmarks/http_fuzz.py` compares both.
"""

from __future__ import annotations

import re

from airflow_provider_hf_endpoints.inference.errors import AnswerTooLargeError, CutAnswerError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.http.heads import CHUNKS, CLOSE, LENGTH, Head, check_trailer, read_head
from airflow_provider_hf_endpoints.inference.http.unpacking import unpack_answer
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, WireResponse

MAX_HEAD = 100 * 1024  # bytes, as in httpcore; the same for the line before a chunk, and for trailers
#: Lines may end with a bare line feed, as in h11 and RFC 9112 (2.2), except for the lines before chunks.
_EMPTY_LINE = re.compile(rb"\n\r?\n")
# At most 20 digits, more than 64 bits have. Blanks at the end violate the RFC, but servers send them.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;.*+)?[ \t]*+")


def passes(status: int) -> bool:
    """Whether the status alone shows that the same request may succeed later.

    A 400 or a 404 would end a row or a batch. Its body may say that the endpoint is at fault, so an incomplete body is
    requested again.
    """
    return status >= 500 or status in (408, 425, 429)


class AnswerParser:
    """Takes the bytes of an answer with `feed`, until the answer is complete.

    :param method: of the request: an answer to HEAD has no body, whatever its headers
    :param max_bytes: maximum of the body, packed or unpacked
    """

    __slots__ = ("_body", "_buffer", "_chunk_left", "_head", "_max_bytes", "_method", "_seen", "keep_alive", "started")

    def __init__(self, method: str = "POST", max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._method = method
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._body: bytearray | None = None  # of the chunks so far; None after the last chunk
        self._chunk_left = -1
        self._head: Head | None = None
        self._seen = 0  # bytes of the buffer that were searched for an end
        #: Whether the connection may be used again after the answer.
        self.keep_alive = False
        #: Whether any byte of an answer has come.
        self.started = False

    def feed(self, data: bytes) -> WireResponse | None:
        """The complete answer, None before that.

        :raises MalformedAnswerError: this is not HTTP/1.1
        :raises AnswerTooLargeError: the body has more than `max_bytes`
        """
        self.started = True
        self._buffer += data
        head = self._head or self._read_heads()
        if head is None:
            return None
        if head.framing == LENGTH:
            return self._whole(head.length) if len(self._buffer) >= head.length else None
        if head.framing == CHUNKS:
            return self._read_chunks()
        self._bound(len(self._buffer))
        return None

    def eof(self) -> WireResponse:
        """The answer whose body ends with the connection.

        :raises CutAnswerError: the answer was not complete
        """
        if self._head is not None and self._head.framing == CLOSE:
            return self._whole(len(self._buffer))
        raise CutAnswerError("the connection was closed in the middle of the response")

    def refusal_so_far(self, *, cut: bool) -> WireResponse | None:
        """A refusal without the rest of its body: the status is enough. None if the status is a success.

        :param cut: whether the rest will not come; then None for a status that may not be temporary, see `passes`
        """
        head = self._head
        if head is None or 200 <= head.status < 300 or (cut and not passes(head.status)):
            return None
        self.keep_alive = False
        body = b"" if "content-encoding" in head.headers else bytes((self._body or b"") + self._buffer)
        return WireResponse(head.status, head.headers, body[: self._max_bytes])

    def _read_heads(self) -> Head | None:
        """The head before the body, after informational heads."""
        while (lines := self._lines()) is not None:
            head = read_head(lines, self._method)
            if head is not None:
                self._head, self._body = head, bytearray()
                self.keep_alive = head.keep_alive
                if head.framing == LENGTH:
                    self._bound(head.length)
                return head
        if self._buffer and not b"HTTP/1.".startswith(self._buffer[:7]):
            raise MalformedAnswerError(f"not an HTTP/1.1 response: {bytes(self._buffer[:60])!r}")
        return None

    def _lines(self) -> str | None:
        """The lines up to an empty one, removed from the buffer and decoded as Latin-1; None if it is incomplete.

        :raises MalformedAnswerError: the lines are too long
        """
        buffer = self._buffer
        found = _EMPTY_LINE.search(buffer, self._seen)
        size = len(buffer) if found is None else found.start()
        if size > MAX_HEAD:
            raise MalformedAnswerError(f"response headers larger than {MAX_HEAD} bytes")
        if found is None:
            self._seen = max(0, size - 2)
            return None
        self._seen = 0
        lines = buffer[:size].decode("latin-1")
        del buffer[: found.end()]
        return lines

    def _read_chunks(self) -> WireResponse | None:
        buffer = self._buffer
        while self._body is not None:
            if self._chunk_left < 0 and not self._read_chunk_line():
                return None
            left = self._chunk_left
            if left == 0:
                return self._read_trailer()
            if not b"\r\n".startswith(buffer[left : left + 2]):
                raise MalformedAnswerError("a chunk longer than its declared size")
            if len(buffer) < left + 2:
                return None
            self._body += buffer[:left]
            del buffer[: left + 2]
            self._chunk_left = -1
        return None

    def _read_chunk_line(self) -> bool:
        """Read the length of the next chunk; false while the line is incomplete."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", self._seen)
        size = len(buffer) if end < 0 else end
        if size > MAX_HEAD:
            raise MalformedAnswerError(f"a line longer than {MAX_HEAD} bytes before a chunk")
        if end < 0:
            self._seen = max(0, size - 1)
            return False
        self._seen = 0
        found = _CHUNK_LINE.fullmatch(buffer, 0, end)
        if found is None:
            raise MalformedAnswerError(f"a chunk with the invalid size {bytes(buffer[: min(end, 20)])!r}")
        self._chunk_left = int(found[1], 16)
        del found  # it references the buffer, which could not shrink
        del buffer[: end + 2]
        self._bound(len(self._body or b"") + self._chunk_left)
        return True

    def _read_trailer(self) -> WireResponse | None:
        """The end after the last chunk: an empty line, perhaps after header lines, which are not used."""
        buffer = self._buffer
        blank = 1 if buffer.startswith(b"\n") else 2 if buffer.startswith(b"\r\n") else 0
        if blank:
            del buffer[:blank]
        else:
            lines = None if buffer == b"\r" else self._lines()
            if lines is None:
                return None
            check_trailer(lines)
        self._body, body = None, self._body
        return self._finish(bytes(body or b""))

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            raise AnswerTooLargeError(f"a body larger than {self._max_bytes} bytes")

    def _whole(self, size: int) -> WireResponse:
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return self._finish(body)

    def _finish(self, body: bytes) -> WireResponse:
        assert self._head is not None
        if self._buffer:
            # More than one answer to one request: the connection cannot be trusted any more.
            self.keep_alive = False
        status, headers = self._head.status, self._head.headers
        if "content-encoding" in headers:
            body = unpack_answer(status, body, headers["content-encoding"], self._max_bytes)
        return WireResponse(status, headers, body)
