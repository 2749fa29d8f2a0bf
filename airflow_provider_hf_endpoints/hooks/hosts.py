"""Refuses a host of the connection that is an address of Hugging Face, but not of the control plane.

A request to such a host would get a page or a 404 as its response, or would send the token without encryption. Other
hosts may be an emulator or a gateway, and pass. Pure; imports no Airflow.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.endpoints.api.transport import CONTROL_URL
from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

_API = urlsplit(CONTROL_URL).hostname or ""
_ENDPOINTS = ".endpoints.huggingface.cloud"  # the end of the host in an endpoint's own URL
_PAGES = ("huggingface.co", "hf.co", "huggingface.cloud")  # a Space (hf.space) may be a gateway
_API_PATHS = ("", "/v2")  # the client removes the last
# Routes that the client adds itself. Nothing shorter: a gateway may have its own `/api/…` or `/v2/…` before them.
_ROUTES = ("/v2/endpoint", "/v2/provider", "/v3/endpoint", "/api/whoami-v2", "/api/v1/catalog")
_CUT_ROUTE = "/v3"


def checked_host(conn_id: str, url: str) -> str:
    """The control plane's URL, Hugging Face's in the one form that the client compares with.

    :raises InvalidArgumentError: with what the URL is, and what the host has to be
    """
    try:
        parts = urlsplit(url)
        why = _why_not(parts)
    except ValueError:
        return url  # not a URL: the client's settings have an error for it
    if why:
        raise InvalidArgumentError(
            f"The connection {conn_id!r} has the host {redact(_shown(parts))!r}, {why}. Leave the host empty for "
            f"Hugging Face ({CONTROL_URL}); only an emulator or a gateway needs a host."
        )
    return CONTROL_URL if _host(parts) == _API else url


def _why_not(parts: SplitResult) -> str:
    host, path = _host(parts), parts.path.rstrip("/")
    if host in ("http", "https"):
        return f"in which '://' after {host!r} is missing or misspelt"
    if host == _API:
        if parts.scheme != "https":
            return f"but with {parts.scheme}:// the token would be sent without encryption"
        if parts.port not in (None, 443):
            return f"but the control plane does not listen on port {parts.port}"
        return "" if path in _API_PATHS else f"but the host must have no path such as {path!r}"
    if host.endswith(_ENDPOINTS):
        return "which is the URL of one endpoint. Operators take the endpoint's name as `endpoint`"
    if any(host == page or host.endswith(f".{page}") for page in _PAGES):
        return "which is not the control plane of Inference Endpoints"
    if path == _CUT_ROUTE or any(f"{path}/".startswith(f"{route}/") for route in _ROUTES):
        return f"but its path {path!r} is a route of the control plane, which the client adds itself"
    return ""


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _shown(parts: SplitResult) -> str:
    """The URL without a user name and a password."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
