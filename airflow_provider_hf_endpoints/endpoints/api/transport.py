"""How a `Request` becomes bytes and an answer or a typed error: addresses, headers, time limits and retries.

What the sync and the async client share; only the sending itself is theirs.
"""

from __future__ import annotations

import functools
import logging
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpcore
import httpx
import tenacity

from airflow_provider_hf_endpoints import __version__
from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.endpoints.api.ceiling import NO_CEILING, Ceiling
from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Session, is_transient
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    ConnectionLostError,
    InvalidAnswerError,
    InvalidArgumentError,
    RateLimitError,
    RequestTimeoutError,
    ServiceUnreachableError,
    error_from_response,
)

log = logging.getLogger(__name__)

CONTROL_URL = "https://api.endpoints.huggingface.cloud"
HUB_URL = "https://huggingface.co"
CATALOG_URL = "https://endpoints.huggingface.co"
_CATALOG_PATH = "/api/v1/catalog"

DEFAULT_TIMEOUT = 30.0  # seconds for one request; connecting may take ten of them
RETRY_BUDGET = 60.0  # seconds in which one request may be tried again
_CONNECT_TIMEOUT = 10.0
_INVALID_TRIES = 3  # of a request that is answered with something that is not JSON
# What a connection fails with that can't change by itself, by the words of OpenSSL and of httpx; and what to do.
_LASTING = (
    (
        re.compile("CERTIFICATE_VERIFY_FAILED|HOSTNAME_MISMATCH", re.I),
        "The server's certificate is not trusted. Check the connection's host. If a proxy of your network decrypts "
        "TLS, set the environment variable SSL_CERT_FILE to its certificates.",
    ),
    (
        re.compile("WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL|HTTP_REQUEST", re.I),
        "The server does not use TLS on this port. Check the connection's host and port; the URL may need http://.",
    ),
    (
        re.compile(r"\b407\b|proxy authentication", re.I),
        "The proxy asks for credentials. Check the proxy settings (HTTPS_PROXY).",
    ),
)
_LOCAL = re.compile(r"\w+://(localhost|127\.|\[::1\])")
_LONGEST_QUOTE = 200  # characters of an answer that is not JSON


@dataclass(frozen=True)
class Bases:
    """The addresses of the three services. With another control plane (an emulator), hub and catalog are there too."""

    control: str
    hub: str
    catalog: str

    @classmethod
    def of(cls, base_url: str | None, hub_url: str | None, catalog_url: str | None) -> Bases:
        control = _clean("base_url (the connection's host)", base_url or CONTROL_URL).removesuffix("/v2")
        real = control == CONTROL_URL
        hub = _clean("hub_url", hub_url or (HUB_URL if real else control)).removesuffix("/api/whoami-v2")
        catalog = _clean("catalog_url", catalog_url or (CATALOG_URL if real else control))
        return cls(control, hub, catalog.removesuffix(_CATALOG_PATH) + _CATALOG_PATH)

    def url(self, request: Request) -> str:
        match request.base:
            case "control":
                return self.control + request.path
            case "hub":
                return self.hub + request.path
            case "catalog":
                return self.catalog + request.path
            case "absolute":
                return request.path


def _clean(field: str, url: str) -> str:
    url = url.strip()
    if "://" not in url:
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise InvalidArgumentError(f"{field} is not a valid URL. Write it as https://host[:port].") from None
    if parts.username or parts.password:
        raise InvalidArgumentError(
            f"{field} contains a user name or password. Remove them; the token goes into the password field."
        )
    if not usable or parts.query or parts.fragment:
        raise InvalidArgumentError(f"{field}={url!r} is not a valid service URL. Write it as https://host[:port].")
    return url.rstrip("/")


@functools.cache
def tls() -> ssl.SSLContext:
    """One TLS context for all clients of a process: making one reads every CA certificate, which blocks a loop."""
    return httpx.create_ssl_context()


@functools.cache
def prepare_for_loop() -> None:
    """Read certificates and import what httpx imports late. Otherwise a first request would do so in the event loop and
    block it. For a separate thread.
    """
    tls()
    _ = httpcore.AnyIOBackend, anyio.connect_tcp
    anyio.run(anyio.sleep, 0)


class Transport:
    """What both clients share: who they are, how a request looks on the wire, and what an answer means."""

    def __init__(
        self,
        token: str,
        *,
        base_url: str | None = None,
        namespace: str | None = None,
        hub_url: str | None = None,
        catalog_url: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry_budget: float = RETRY_BUDGET,
        ceiling: Ceiling = NO_CEILING,
        token_source: str | None = None,
    ) -> None:
        if not token or not token.strip():
            raise InvalidArgumentError("The token is empty. Give a Hugging Face access token (it starts with hf_).")
        if not (token.strip().isascii() and token.strip().isprintable()) or " " in token.strip():
            raise InvalidArgumentError(
                "The token contains blanks, control characters or non-ASCII characters, so it is not a Hugging Face "
                "token. Copy it again."
            )
        if not 0 < timeout < float("inf"):
            raise InvalidArgumentError(f"timeout={timeout!r} is not valid. Give a positive number of seconds.")
        if not 0 <= retry_budget < float("inf"):
            raise InvalidArgumentError(
                f"retry_budget={retry_budget!r} is not valid. Give a number of seconds; 0 means no retries."
            )
        self._token = token.strip()
        self._token_source = token_source
        self._sent: set[str] = set()  # the secrets in requests
        self._bases = Bases.of(base_url, hub_url, catalog_url)
        self._seconds = timeout
        self.http_timeout = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT))
        self._retry_budget = retry_budget
        self.session = Session(namespace=namespace, ceiling=ceiling)

    def __repr__(self) -> str:
        """Without the token."""
        return f"{type(self).__name__}(base_url={self._bases.control!r}, namespace={self.session.namespace!r})"

    def limit(self, seconds: float) -> None:
        """From now on, let one request take `seconds` with its retries: less for who is about to be killed, or more."""
        self._retry_budget = seconds
        read = min(self._seconds, seconds)
        self.http_timeout = httpx.Timeout(read, connect=min(read, _CONNECT_TIMEOUT))

    @property
    def base_url(self) -> str:
        """Where the control plane is."""
        return self._bases.control

    def arguments(self, request: Request) -> dict[str, Any]:
        accept = "application/json" if request.answer == "json" else "*/*"
        arguments: dict[str, Any] = {
            "method": request.method,
            "url": self._bases.url(request),
            "params": dict(request.params) or None,
            "timeout": self.http_timeout,
            "headers": {
                "Authorization": f"Bearer {self._token}",
                "Accept": accept,
                "User-Agent": f"airflow-provider-hf-endpoints/{__version__}",
            },
        }
        self._note_secrets(request)
        if request.json is not None:
            arguments["json"] = request.json
        return arguments

    def understand(self, request: Request, response: httpx.Response) -> Answer:
        path = _shown_path(request)
        if not response.is_success:
            raise error_from_response(
                method=request.method,
                path=path,
                status=response.status_code,
                body=response.text,
                headers=response.headers,
                now=datetime.now(UTC),
                secrets=self._secrets(),
                token_source=self._token_source,
            )
        headers = {name.lower(): value for name, value in response.headers.items()}
        data: Any = None
        match request.answer:
            case "text":
                data = response.text
            case "json":
                try:
                    data = response.json()
                except (ValueError, RecursionError):
                    words = redact(response.text, self._secrets())[:_LONGEST_QUOTE]
                    raise InvalidAnswerError(
                        f"the body is not JSON: {words!r}",
                        method=request.method,
                        path=path,
                        status=response.status_code,
                    ) from None
        return Answer(response.status_code, headers, data)

    def _secrets(self) -> list[str]:
        """What an error's text must not repeat, should the service quote this request or one before."""
        return [self._token, *self._sent]

    def _note_secrets(self, request: Request) -> None:
        model = (request.json or {}).get("model") or {}
        credentials = ((model.get("image") or {}).get("custom") or {}).get("credentials") or {}
        values = [*(model.get("secrets") or {}).values(), credentials.get("password")]
        self._sent.update(value for value in values if isinstance(value, str))

    def transport_error(self, request: Request, error: httpx.HTTPError | httpx.InvalidURL) -> ApiError:
        words = redact(str(error) or type(error).__name__, self._secrets())
        advice = next((advice for pattern, advice in _LASTING if pattern.search(words)), None)
        lasting = advice is not None or isinstance(
            error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError
        )
        kind: type[ApiError]
        match error:
            case (
                httpx.ConnectTimeout()
                | httpx.ConnectError()
                | httpx.PoolTimeout()
                | httpx.ProxyError()
                | httpx.UnsupportedProtocol()
                | httpx.InvalidURL()
                | httpx.LocalProtocolError()
            ):
                kind = ServiceUnreachableError
            case httpx.TimeoutException():
                kind, words = RequestTimeoutError, f"no response within {self.http_timeout.read:g} s"
            case _:
                kind = ConnectionLostError
        happened = None
        if kind is ServiceUnreachableError:
            server = "{0.scheme}://{0.netloc}".format(urlsplit(self._bases.url(request)))
            happened = f"Cannot connect to {server} ({_plain(words)})"
            if advice is None and _LOCAL.match(server):
                advice = "Check the connection's host; is the emulator running?"
        return kind(
            words,
            method=request.method,
            path=_shown_path(request),
            advice=advice,
            retryable=False if lasting else None,
            happened=happened,
        )

    def retry_settings(self, request: Request) -> dict[str, Any]:
        """tenacity's settings, the same for both clients: exponential waits with jitter, bounded in time."""

        def again(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome is not None else None
            if not isinstance(error, ApiError) or request.once or not is_transient(error):
                return False
            if isinstance(error, InvalidAnswerError) and state.attempt_number >= _INVALID_TRIES:
                return False  # a page that stays does not pass with time
            return request.repeatable or isinstance(error, RateLimitError | ServiceUnreachableError)

        return {
            "retry": again,
            "wait": _wait_as_told,
            "stop": tenacity.stop_before_delay(self._retry_budget),
            "before_sleep": _say_retry,
            "reraise": True,
        }


_BACKOFF = tenacity.wait_exponential(multiplier=0.5, max=20) + tenacity.wait_random(0, 1)


def _wait_as_told(state: tenacity.RetryCallState) -> float:
    """The service's Retry-After is never undercut."""
    error = state.outcome.exception() if state.outcome is not None else None
    told = error.retry_after if isinstance(error, ApiError) else None
    return max(_BACKOFF(state), told or 0.0)


def _say_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.info("Attempt %d failed; retry in %.1f s: %s", state.attempt_number, state.upcoming_sleep, error)


def _shown_path(request: Request) -> str:
    """The path for an error: of an absolute URL only what identifies it, without a query."""
    return urlsplit(request.path).path if request.base == "absolute" else request.path


def _plain(words: str) -> str:
    """The words of an operating system's error without its number, to stand within a sentence."""
    text = re.sub(r"^\[Errno -?\d+\] ", "", words)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
