"""The transport that works everywhere: httpx, with its proxies, CA bundles and environment variables.

Slower than `streams.py`, and imported only where it is used: httpx brings its command-line tool's libraries along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from airflow_provider_hf_endpoints._http import silence_httpx
from airflow_provider_hf_endpoints.inference.errors import AnswerTooLargeError, InferenceTimeoutError
from airflow_provider_hf_endpoints.inference.http.address import Address, check_headers, endpoint_url
from airflow_provider_hf_endpoints.inference.http.httpx_errors import (
    MAYBE_STALE,
    RAISED,
    closed_before_answer,
    typed_error,
)
from airflow_provider_hf_endpoints.inference.http.transport import (
    CONNECT_TIMEOUT,
    HttpRequest,
    Transport,
)
from airflow_provider_hf_endpoints.inference.http.unpacking import unpack
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, WireResponse

JSON_BODY = {"content-type": "application/json"}


class HttpxTransport(Transport):
    """httpx: proxies, CA bundles and environment variables as everywhere. Its pool slows with what is in
    flight.

    :param url: the endpoint's URL
    :param headers: sent with every request
    :param connections: most connections at once
    :param max_response_bytes: most bytes of an answer's body
    :raises ValueError: no http or https URL, or a header that cannot be sent
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], connections: int, max_response_bytes: int = MAX_RESPONSE_BYTES
    ) -> None:
        silence_httpx()
        Address.of(url)  # httpx itself would find a mistake at the first request
        self._base = endpoint_url(url)
        self._max_bytes = max_response_bytes
        lines = {"accept-encoding": "identity", **headers}
        check_headers(lines)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        self._client = httpx.AsyncClient(headers=encoded, limits=limits, follow_redirects=False)

    async def send(self, request: HttpRequest) -> WireResponse:
        """See `Transport.send`."""
        try:
            # httpx's timeouts bound one read each; this one bounds the whole.
            async with asyncio.timeout(request.timeout):
                try:
                    return await self._exchange(request)
                except MAYBE_STALE as error:
                    if not closed_before_answer(error):
                        raise
                # Most likely a kept connection that the server had given up: once more, on a new one.
                self.resent += 1
                return await self._exchange(request)
        except TimeoutError as error:
            raise InferenceTimeoutError(f"none within {request.timeout:g} s", path=request.route) from error
        except RAISED as error:
            raise typed_error(error, request.route) from error

    async def _exchange(self, request: HttpRequest) -> WireResponse:
        exchange = self._client.stream(
            request.method,
            self._base + request.route,
            content=request.body or None,
            headers=JSON_BODY if request.body else None,
            timeout=httpx.Timeout(None, connect=min(CONNECT_TIMEOUT, request.timeout)),
        )
        async with exchange as answer:
            try:
                packed = await self._body(answer)
            except RAISED as error:
                raise typed_error(error, request.route) from error  # never sent again: an answer has begun
        # Header names come lower case from httpx.
        body = unpack(packed, answer.headers.get("content-encoding"), self._max_bytes)
        return WireResponse(answer.status_code, answer.headers, body)

    async def _body(self, answer: httpx.Response) -> bytes:
        """The body as it came; leaving in the middle closes the connection."""
        body = bytearray()
        async for part in answer.aiter_raw():
            body += part
            if len(body) > self._max_bytes:
                raise AnswerTooLargeError(f"a body of more than {self._max_bytes} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()
