"""Exceptions of httpx as errors of this package: one table for the transport and the single-call clients."""

from __future__ import annotations

import ssl

import httpx

from airflow_provider_hf_endpoints.inference.errors import (
    BadRequestError,
    ConnectionFailedError,
    CutAnswerError,
    InferenceError,
    InferenceTimeoutError,
    MalformedAnswerError,
    UnknownHostError,
)
from airflow_provider_hf_endpoints.inference.http.connecting import is_unknown_host
from airflow_provider_hf_endpoints.inference.http.tls_failures import hopeless, is_hopeless, tls_failure

#: The exceptions of a request. Not every error of httpx is an `HTTPError`, broken TLS may raise its own error, and
#: Python itself refuses a URL that is not a text.
RAISED = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError, UnicodeError)
#: A request on a kept connection that the server has closed raises one of these.
MAYBE_STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


def typed_error(error: Exception, route: str) -> InferenceError:
    """The error for `error`, one of `RAISED`, of a request to `route`."""
    words = str(error) or type(error).__name__
    if (failure := tls_failure(error)) is not None and is_hopeless(failure):
        return hopeless(failure, route)
    match error:
        case httpx.InvalidURL() | UnicodeError() | httpx.LocalProtocolError():
            return BadRequestError(f"the request was not sent: {words}", path=route)
        case httpx.ConnectError() if is_unknown_host(error):
            return UnknownHostError(_with_host(error, words), path=route)
        case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return ConnectionFailedError(words, path=route)
        case httpx.TimeoutException():
            return InferenceTimeoutError(words, path=route)
        case httpx.DecodingError() | httpx.StreamError():
            return CutAnswerError(f"the body could not be decompressed: {words}", path=route)
        case httpx.RemoteProtocolError() if broke_rules(error):
            return MalformedAnswerError(words, path=route)
        case _:
            return CutAnswerError(words, path=route)


def _with_host(error: httpx.ConnectError, words: str) -> str:
    try:
        return f"{error.request.url.host}: {words}"
    except RuntimeError:  # an error without its request
        return words


def closed_before_answer(error: Exception) -> bool:
    """Whether the connection broke before the answer began, by the texts of httpx and httpcore."""
    return "complete message body" not in str(error) and not broke_rules(error)


def broke_rules(error: Exception) -> bool:
    """Whether the server sent something that is not HTTP, and did not just close the connection."""
    return isinstance(error, httpx.RemoteProtocolError) and not any(
        words in str(error) for words in ("without sending", "unexpectedly closed", "ConnectionClosed")
    )
