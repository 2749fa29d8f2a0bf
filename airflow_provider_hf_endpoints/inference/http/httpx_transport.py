"""The transport that works everywhere: httpx, with its proxies, CA bundles and environment variables.

Slower than `streams.py`, and imported only where it is used: httpx brings its command-line tool's libraries along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from airflow_provider_hf_endpoints._http import silence_httpx
from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    CutAnswerError,
    InferenceTimeoutError,
)
from airflow_provider_hf_endpoints.inference.http.transport import CONNECT_TIMEOUT, HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.wire import WireResponse

JSON_BODY = {"content-type": "application/json"}


class HttpxTransport(Transport):
    """httpx: proxies, CA bundles and environment variables as everywhere. Its pool slows with what is in
    flight.

    :param url: the endpoint's URL
    :param headers: sent with every request
    :param connections: most connections at once
    """

    def __init__(self, url: str, headers: Mapping[str, str], connections: int) -> None:
        silence_httpx()
        self._base = url.rstrip("/")
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = httpx.AsyncClient(headers=dict(headers), limits=limits, follow_redirects=False)

    async def send(self, request: HttpRequest) -> WireResponse:
        """See `Transport.send`."""
        try:
            return await self._send(request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            if not closed_before_answer(error):
                raise CutAnswerError(str(error) or type(error).__name__, path=request.route) from error
        # Most likely a kept connection that the server had given up: once more, on a new one.
        self.resent += 1
        try:
            return await self._send(request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            raise CutAnswerError(str(error) or type(error).__name__, path=request.route) from error

    async def _send(self, request: HttpRequest) -> WireResponse:
        timeout = httpx.Timeout(request.timeout, connect=min(CONNECT_TIMEOUT, request.timeout))
        try:
            # httpx's timeouts bound one read each; this one bounds the whole.
            async with asyncio.timeout(request.timeout):
                answer = await self._client.request(
                    request.method,
                    self._base + request.route,
                    content=request.body or None,
                    headers=JSON_BODY if request.body else None,
                    timeout=timeout,
                )
        except (httpx.ConnectTimeout, httpx.ConnectError, httpx.ProxyError) as error:
            raise ConnectionFailedError(str(error) or type(error).__name__, path=request.route) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            words = f"none within {request.timeout:g} s"
            raise InferenceTimeoutError(words, path=request.route) from error
        # Header names come lower case from httpx.
        return WireResponse(answer.status_code, answer.headers, answer.content)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def closed_before_answer(error: Exception) -> bool:
    """Whether the connection broke before the answer began, as httpx and httpcore word it."""
    return "complete message body" not in str(error)
