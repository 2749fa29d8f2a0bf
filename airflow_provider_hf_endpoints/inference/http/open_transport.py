"""The default transport of a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_hf_endpoints.inference.http.streams import StreamsTransport
from airflow_provider_hf_endpoints.inference.http.transport import CONNECT_TIMEOUT, Transport
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, TransportName

log = logging.getLogger(__name__)


def open_transport(
    url: str,
    token: str | None,
    connections: int,
    ask: Mapping[str, str] | None = None,
    *,
    name: TransportName = "auto",
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    connect_timeout: float = CONNECT_TIMEOUT,
) -> Transport:
    """The fast transport, or httpx if the job asks for it or the environment sets a proxy for the endpoint.

    :param connections: maximum of requests at once
    :param ask: headers that request more than the engine's answer
    :param max_response_bytes: maximum of bytes of an answer's body
    :param connect_timeout: seconds for a connection, from the host's address to the end of the handshake
    :raises ValueError: it is not an http or https URL, or the token is not valid in a header
    """
    headers = {"accept": "application/json", **(ask or {})}
    if token:
        headers["authorization"] = f"Bearer {token}"
    proxied = uses_proxy(url)
    if name == "auto" and not proxied:
        return StreamsTransport(url, headers, max_response_bytes=max_response_bytes, connect_timeout=connect_timeout)
    from airflow_provider_hf_endpoints.inference.http.httpx_transport import HttpxTransport

    if proxied:
        log.info("a proxy is set for this endpoint: using httpx")
    return HttpxTransport(url, headers, connections, max_response_bytes, connect_timeout)


def uses_proxy(url: str) -> bool:
    """Whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY send requests to `url` through a proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    if not (parts.scheme in proxies or "all" in proxies):
        return False
    return not proxy_bypass(parts.hostname or "")
