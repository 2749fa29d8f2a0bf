"""The transport that works everywhere: httpx, with its proxies, CA bundles and environment variables.

Slower than `streams.py`, and imported only when it is used, because httpx imports many libraries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from airflow_provider_hf_endpoints._http import silence_httpx
from airflow_provider_hf_endpoints.inference.errors import (
    AnswerTooLargeError,
    ConnectionFailedError,
    InferenceError,
    InferenceTimeoutError,
)
from airflow_provider_hf_endpoints.inference.http.address import Address, check_headers, endpoint_url, url_of
from airflow_provider_hf_endpoints.inference.http.certificates import verify_for
from airflow_provider_hf_endpoints.inference.http.http1 import passes
from airflow_provider_hf_endpoints.inference.http.httpx_errors import (
    MAYBE_STALE,
    RAISED,
    closed_before_answer,
    typed_error,
)
from airflow_provider_hf_endpoints.inference.http.tls_failures import Handshakes, tls_failure
from airflow_provider_hf_endpoints.inference.http.transport import (
    CONNECT_TIMEOUT,
    HttpRequest,
    Transport,
)
from airflow_provider_hf_endpoints.inference.http.unpacking import unpack_answer
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, WireResponse


class _Stage:
    """The state of a request: while it has no connection, `timer` ends earlier."""

    def __init__(self, timer: asyncio.Timeout, request: HttpRequest, connect_timeout: float) -> None:
        self._timer = timer
        self._request = request
        self._clock = asyncio.get_running_loop().time
        self._ends = self._clock() + request.timeout
        self._patience = min(connect_timeout, request.timeout)
        self._has_connection = False

    def connecting(self) -> None:
        """The request waits for a connection."""
        self._has_connection = False
        self._timer.reschedule(min(self._ends, self._clock() + self._patience))

    def connected(self) -> None:
        """The request has a connection."""
        self._has_connection = True
        self._timer.reschedule(self._ends)

    @property
    def error(self) -> InferenceError:
        """The error if the time is over."""
        route = self._request.route
        if self._has_connection:
            return InferenceTimeoutError(f"none within {round(self._request.timeout, 2):g} s", path=route)
        return ConnectionFailedError(f"no connection within {round(self._patience, 2):g} s", path=route)


class HttpxTransport(Transport):
    """httpx, with proxies, CA bundles and environment variables. Its pool becomes slower with the number of requests
    in flight.

    :param url: the endpoint's URL
    :param headers: sent with every request
    :param connections: maximum of connections
    :param max_response_bytes: maximum of bytes of an answer's body
    :param connect_timeout: seconds for a connection, from the host's address to the end of the handshake
    :raises ValueError: it is not an http or https URL, or a header that cannot be sent
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        connections: int,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        silence_httpx()
        Address.of(url)  # otherwise httpx would find a mistake only at the first request
        self._base = endpoint_url(url)
        self._tls = Handshakes()
        self._max_bytes = max_response_bytes
        self._connect_timeout = connect_timeout
        lines = {"accept-encoding": "identity", **headers}
        check_headers(lines)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        self._client = httpx.AsyncClient(
            headers=encoded, limits=limits, follow_redirects=False, verify=verify_for(self._base)
        )

    async def send(self, request: HttpRequest) -> WireResponse:
        """See `Transport.send`."""
        # httpx's timeouts limit single steps, and the wait for a proxy not at all. This one limits the whole request.
        try:
            async with asyncio.timeout(None) as timer:
                stage = _Stage(timer, request, self._connect_timeout)
                try:
                    return await self._exchange(request, stage)
                except MAYBE_STALE as error:
                    if not closed_before_answer(error):
                        raise
                # Most likely a kept connection that the server had closed: send once more, on a new one.
                self.resent += 1
                return await self._exchange(request, stage)
        except TimeoutError as error:
            raise stage.error from error
        except RAISED as error:
            raise typed_error(error, request.route) from error

    async def _exchange(self, request: HttpRequest, stage: _Stage) -> WireResponse:
        answer = await self._begin(request, stage)
        try:
            packed = await self._body(answer, request.route)
        finally:
            await answer.aclose()
        # Header names come lower case from httpx.
        body = unpack_answer(answer.status_code, packed, answer.headers.get("content-encoding"), self._max_bytes)
        return WireResponse(answer.status_code, answer.headers, body)

    async def _begin(self, request: HttpRequest, stage: _Stage) -> httpx.Response:
        """An answer whose head has been read.

        :raises TlsError: a TLS connection is not possible
        """
        stage.connecting()

        async def follow(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
                self._tls.worked()
                stage.connected()

        asked = self._client.build_request(
            request.method,
            url_of(self._base, request.route),
            content=request.body or None,
            headers={"content-type": request.content_type} if request.body else None,
            timeout=None,
            extensions={"trace": follow},
        )
        try:
            return await self._client.send(asked, stream=True)
        except httpx.ConnectError as error:
            if (failure := tls_failure(error)) is None:
                raise
            raise self._tls.failed(failure, request.route) from error

    async def _body(self, answer: httpx.Response, route: str) -> bytes:
        """The body as bytes. An exception closes the connection.

        For a refusal whose body is too large or incomplete, the bytes so far are returned: its status is enough.
        """
        body = bytearray()
        try:
            async for part in answer.aiter_raw():
                body += part
                if len(body) > self._max_bytes:
                    break
        except RAISED as error:
            if not passes(answer.status_code):
                raise typed_error(error, route) from error  # never sent again: an answer has begun
        if answer.is_success and len(body) > self._max_bytes:
            raise AnswerTooLargeError(f"a body larger than {self._max_bytes} bytes")
        return bytes(body[: self._max_bytes])

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()
