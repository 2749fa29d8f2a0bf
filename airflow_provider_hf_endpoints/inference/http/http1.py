"""An HTTP/1.1 answer out of the bytes of a connection, however they are cut into pieces. Pure: no sockets.

Only what a client of JSON APIs meets: a length, chunks, or a body that ends with the connection; no upgrades, no
trailers to be read, no pipelining. Whatever is not understood is an error, never a guess.
"""

from __future__ import annotations

import zlib

from airflow_provider_hf_endpoints.inference.errors import CutAnswerError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import WireResponse

MAX_HEAD = 128 * 1024  # bytes
_HEAD_END = b"\r\n\r\n"


class AnswerParser:
    """Takes an answer's bytes with `feed` until it gives the answer back."""

    __slots__ = ("_body", "_buffer", "_chunk_left", "_headers", "_mode", "_status", "keep_alive", "started")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._body = bytearray()
        self._mode = ""  # "" while the head is read, then length, chunks or end
        self._chunk_left = -1
        self._status = 0
        self._headers: dict[str, str] = {}
        #: Whether the connection may be used again after the answer.
        self.keep_alive = False
        #: Whether any byte of an answer has come.
        self.started = False

    def feed(self, data: bytes) -> WireResponse | None:
        """The answer once it is whole, None before.

        :raises MalformedAnswerError: this is no HTTP/1.1
        """
        self.started = True
        buffer = self._buffer
        buffer += data
        while self._mode == "":
            end = buffer.find(_HEAD_END)
            if end < 0:
                if len(buffer) > MAX_HEAD:
                    raise MalformedAnswerError(f"a head of more than {MAX_HEAD} bytes")
                return None
            head = bytes(buffer[:end])
            del buffer[: end + 4]
            self._read_head(head)
        match self._mode:
            case "length":
                if len(buffer) < self._chunk_left:
                    return None
                if len(buffer) > self._chunk_left:
                    # More than one answer to one request: nothing on this connection can be trusted any more.
                    self.keep_alive = False
                return self._whole(bytes(buffer[: self._chunk_left]))
            case "chunks":
                return self._read_chunks()
            case _:
                return None

    def eof(self) -> WireResponse:
        """The answer of a body that ends with its connection.

        :raises CutAnswerError: the answer was not complete
        """
        if self._mode == "end":
            return self._whole(bytes(self._buffer))
        raise CutAnswerError("the connection was closed in the middle of the answer")

    def _read_head(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        parts = lines[0].split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit() or len(parts[1]) != 3:
            raise MalformedAnswerError(f"no HTTP/1.1 but {lines[0][:60]!r}")
        status = int(parts[1])
        if status < 200:
            return  # 100 Continue, 103 Early Hints: the answer follows
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                raise MalformedAnswerError(f"a header without a colon: {line[:60]!r}")
            headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
        self._status, self._headers = status, headers
        connection = headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection and (parts[0] != b"HTTP/1.0" or "keep-alive" in connection)
        self._choose_mode(status)

    def _choose_mode(self, status: int) -> None:
        headers = self._headers
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise MalformedAnswerError(f"transfer-encoding {headers['transfer-encoding'][:60]!r}")
            self._mode = "chunks"
        elif status in (204, 304):
            self._mode, self._chunk_left = "length", 0
        elif "content-length" in headers:
            length = headers["content-length"]
            if not (length.isascii() and length.isdigit()):
                raise MalformedAnswerError(f"content-length {length[:60]!r}")
            self._mode, self._chunk_left = "length", int(length)
        else:
            self._mode = "end"
            self.keep_alive = False

    def _read_chunks(self) -> WireResponse | None:
        buffer = self._buffer
        while True:
            if self._chunk_left < 0:
                end = buffer.find(b"\r\n")
                if end < 0:
                    return None
                size = bytes(buffer[:end]).split(b";", 1)[0].strip()
                try:
                    self._chunk_left = int(size, 16)
                except ValueError:
                    raise MalformedAnswerError(f"a chunk of size {size[:20]!r}") from None
                if self._chunk_left < 0:
                    raise MalformedAnswerError(f"a chunk of size {size[:20]!r}")
                del buffer[: end + 2]
            if self._chunk_left == 0:
                return self._read_trailer()
            if len(buffer) < self._chunk_left + 2:
                return None
            if buffer[self._chunk_left : self._chunk_left + 2] != b"\r\n":
                raise MalformedAnswerError("a chunk that is longer than it says")
            self._body += buffer[: self._chunk_left]
            del buffer[: self._chunk_left + 2]
            self._chunk_left = -1

    def _read_trailer(self) -> WireResponse | None:
        """What follows the last chunk: nothing, or header lines that nobody needs, and an empty line."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            return self._whole(bytes(self._body))
        return self._whole(bytes(self._body)) if _HEAD_END in buffer else None

    def _whole(self, body: bytes) -> WireResponse:
        encoding = self._headers.get("content-encoding", "identity").lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            # It was told to send none; some proxies do all the same.
            try:
                unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
                body = unpacker.decompress(body) + unpacker.flush()
            except zlib.error as error:
                raise CutAnswerError(f"a body that cannot be unpacked: {error}") from error
            if not unpacker.eof:
                raise CutAnswerError("a packed body that stops in the middle")
        elif encoding != "identity":
            raise MalformedAnswerError(f"content-encoding {encoding[:60]!r}")
        return WireResponse(self._status, self._headers, body)
