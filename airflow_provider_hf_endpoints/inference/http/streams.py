"""The batch's own HTTP/1.1 client on asyncio: one connection per request in flight, kept and reused.

A batch sends and reads small JSON to and from one host, thousands of times a second. A general client's
pool costs more than the exchange itself (`benchmarks/`), so here the pool is a list. It supports no proxies:
`open_transport` uses httpx if there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

from airflow_provider_hf_endpoints.inference.errors import (
    AnswerTooLargeError,
    BadRequestError,
    ConnectionFailedError,
    CutAnswerError,
    InferenceError,
    InferenceTimeoutError,
    UnknownHostError,
)
from airflow_provider_hf_endpoints.inference.http.address import Address, check_headers
from airflow_provider_hf_endpoints.inference.http.certificates import default_ssl_context
from airflow_provider_hf_endpoints.inference.http.connecting import Addresses, is_unknown_host
from airflow_provider_hf_endpoints.inference.http.http1 import AnswerParser
from airflow_provider_hf_endpoints.inference.http.tls_failures import Handshakes, tls_failure
from airflow_provider_hf_endpoints.inference.http.transport import (
    CONNECT_TIMEOUT,
    JSON,
    HttpRequest,
    Transport,
)
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, WireResponse

TLS_BUFFER = 32 * 1024  # bytes
#: Each begins with a buffer of 256 KB, so a thousand would take a quarter of a gigabyte.
HANDSHAKES_AT_ONCE = 64
IDLE_LIFETIME = 55.0  # seconds; load balancers close at 60


class _ClosedBeforeAnswerError(Exception):
    """The server closed the connection before it had sent a byte."""


def _shrink_tls_buffer(transport: asyncio.BaseTransport) -> None:
    """Reduce asyncio's TLS buffer of 256 KB per connection to the size of an answer.

    Neither attribute is documented. Event loops without them do not change.
    """
    tls: Any = getattr(transport, "_ssl_protocol", None)
    if all(hasattr(tls, name) for name in ("max_size", "_ssl_buffer", "_ssl_buffer_view")):
        tls.max_size = TLS_BUFFER
        tls._ssl_buffer = bytearray(TLS_BUFFER)
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)


class _Connection(asyncio.Protocol):
    """One connection, with at most one request."""

    __slots__ = ("_parser", "_transport", "_waiter", "closed", "idle_since", "used")

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: AnswerParser | None = None
        self._waiter: asyncio.Future[WireResponse] | None = None
        self.closed = False
        self.used = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _shrink_tls_buffer(transport)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._parser is None:
            self.close()  # unexpected bytes, such as a 408 before the server closes
            return
        try:
            answer = self._parser.feed(data)
        except AnswerTooLargeError as error:
            self.close()
            self._end(self._parser.refusal_so_far(cut=False) or error)
            return
        except InferenceError as error:
            self._end(error)
            return
        if answer is not None:
            if not self._parser.keep_alive:
                self.close()
            self._end(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        parser = self._parser
        if self._waiter is None or parser is None:
            return
        if not parser.started:
            self._end(_ClosedBeforeAnswerError(str(exc) if exc else "closed"))
            return
        try:
            self._end(parser.eof())
        except InferenceError as error:
            self._end(parser.refusal_so_far(cut=True) or error)

    def exchange(self, data: bytes, parser: AnswerParser) -> asyncio.Future[WireResponse]:
        """Send a request's bytes. The future returns the answer that `parser` reads."""
        assert self._transport is not None
        self._parser = parser
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._waiter

    def fail(self, error: Exception) -> None:
        """Fail the request of this connection and close it, so that the engine stops working on it."""
        self._end(error)

    def close(self) -> None:
        """Close at once. Unsent bytes are dropped."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _end(self, outcome: WireResponse | Exception) -> None:
        waiter, self._waiter, self._parser = self._waiter, None, None
        if isinstance(outcome, Exception):
            self.close()
        if waiter is None or waiter.done():
            return
        if isinstance(outcome, Exception):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)


class StreamsTransport(Transport):
    """Connections to one endpoint, straight on asyncio.

    :param url: the endpoint's URL
    :param headers: sent with every request
    :param ssl_context: for `https`; None for httpx's own choice of CA bundle (`SSL_CERT_FILE`, certifi)
    :param max_response_bytes: maximum of bytes of an answer's body
    :param connect_timeout: seconds for a connection, from the host's address to the end of the handshake
    :raises ValueError: it is not an http or https URL, or a header that cannot be sent
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        ssl_context: ssl.SSLContext | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self._address = Address.of(url)
        self._addresses = Addresses(self._address.host, self._address.port)
        self._max_bytes = max_response_bytes
        self._connect_timeout = connect_timeout
        self._ssl: ssl.SSLContext | None = None
        if self._address.secure:
            self._ssl = ssl_context or default_ssl_context()
            self._ssl.set_alpn_protocols(["http/1.1"])
        lines = {"host": self._address.authority, "accept-encoding": "identity", **headers}
        check_headers(lines)
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1")
        self._starts: dict[tuple[str, str], bytes] = {}
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._handshakes: asyncio.Semaphore | None = None
        self._tls = Handshakes()

    async def send(self, request: HttpRequest) -> WireResponse:
        """See `Transport.send`."""
        data = self._bytes(request)
        deadline = time.monotonic() + request.timeout
        connection = self._take_idle()
        if connection is not None:
            try:
                return await self._exchange(connection, data, request, deadline)
            except _ClosedBeforeAnswerError:
                self.resent += 1  # the server had closed the kept connection: send once more, on a new one
        connection = await self._connect(request, deadline)
        try:
            return await self._exchange(connection, data, request, deadline)
        except _ClosedBeforeAnswerError as error:
            words = f"the connection was closed without a response ({error})"
            raise CutAnswerError(words, path=request.route) from error

    async def _exchange(
        self, connection: _Connection, data: bytes, request: HttpRequest, deadline: float
    ) -> WireResponse:
        loop = asyncio.get_running_loop()
        waiter = connection.exchange(data, AnswerParser(request.method, self._max_bytes))
        left = max(0.0, deadline - time.monotonic())
        timer = loop.call_later(left, self._time_out, connection, request)
        try:
            answer = await waiter
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            timer.cancel()
            if connection.closed:
                self._all.discard(connection)
            else:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
        return answer

    @staticmethod
    def _time_out(connection: _Connection, request: HttpRequest) -> None:
        connection.fail(InferenceTimeoutError(f"none within {round(request.timeout, 2):g} s", path=request.route))

    def _take_idle(self) -> _Connection | None:
        """The connection used last, which is the likeliest to be open."""
        oldest = time.monotonic() - IDLE_LIFETIME
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.close()
            self._all.discard(connection)
        return None

    async def _connect(self, request: HttpRequest, deadline: float) -> _Connection:
        if self._ssl is None:
            return await self._connect_now(request, deadline)
        self._handshakes = self._handshakes or asyncio.Semaphore(HANDSHAKES_AT_ONCE)
        try:
            async with asyncio.timeout(max(0.001, deadline - time.monotonic())):
                await self._handshakes.acquire()
        except TimeoutError as error:
            words = f"no connection within {round(request.timeout, 2):g} s, as all handshakes before it take long"
            raise ConnectionFailedError(words, path=request.route) from error
        try:
            return await self._connect_now(request, deadline)
        finally:
            self._handshakes.release()

    async def _connect_now(self, request: HttpRequest, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        patience = min(self._connect_timeout, max(0.001, deadline - time.monotonic()))
        try:
            async with asyncio.timeout(patience):
                sock = await self._addresses.connect()
                name = self._address.host if self._ssl else None
                _, connection = await loop.create_connection(
                    _Connection, sock=sock, ssl=self._ssl, server_hostname=name
                )
        except TimeoutError as error:
            words = f"no connection within {round(patience, 2):g} s"
            raise ConnectionFailedError(words, path=request.route) from error
        except OSError as error:  # refused, unreachable, unknown host, TLS failure
            if (failure := tls_failure(error)) is not None:
                raise self._tls.failed(failure, request.route) from error
            kind = UnknownHostError if is_unknown_host(error) else ConnectionFailedError
            words = f"{self._address.host}: {error}" if kind is UnknownHostError else str(error) or type(error).__name__
            raise kind(words, path=request.route) from error
        self._tls.worked()
        self._all.add(connection)
        return connection

    def _bytes(self, request: HttpRequest) -> bytes:
        key = (request.method, request.route)
        start = self._starts.get(key)
        if start is None:
            try:
                target = quote(self._address.target(request.route), safe="/%:@!$&'()*+,;=~?-._")
            except UnicodeError as error:
                raise BadRequestError(f"the request was not sent: the route {request.route!r} is not a text") from error
            start = f"{request.method} {target} HTTP/1.1\r\n".encode("ascii") + self._head
            if len(self._starts) < 100:
                self._starts[key] = start
        if not request.body:
            return start + b"\r\n"
        if request.content_type == JSON:  # nearly always, many thousand times a second
            form = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            return form % (start, len(request.body), request.body)
        kind = request.content_type.encode("latin-1")
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (start, kind, len(request.body), request.body)

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in list(self._all):
            connection.close()
        self._all.clear()
        self._idle.clear()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # connections are closed after the loop's next round
