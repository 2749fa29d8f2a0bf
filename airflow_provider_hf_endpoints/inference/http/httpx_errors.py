"""Whatever httpx raises, as one of ours: the one table of it, for the transport and the single-call clients."""

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
)
from airflow_provider_hf_endpoints.inference.http.tls_failures import hopeless, is_hopeless, tls_failure

#: What a request can raise. Not every error of httpx is an `HTTPError`, broken TLS may come as it is, and
#: Python itself refuses a URL that is not a text.
RAISED = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError, UnicodeError)
#: A kept connection that the server closed meanwhile shows as one of these at the next request on it.
MAYBE_STALE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


def typed_error(error: Exception, route: str) -> InferenceError:
    """What `error`, one of `RAISED`, means to whoever sent a request to `route`."""
    words = str(error) or type(error).__name__
    if (failure := tls_failure(error)) is not None and is_hopeless(failure):
        return hopeless(failure, route)
    match error:
        case httpx.InvalidURL() | UnicodeError() | httpx.LocalProtocolError():
            return BadRequestError(f"the request was not sent: {words}", path=route)
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


def closed_before_answer(error: Exception) -> bool:
    """Whether the connection broke before the answer began, as httpx and httpcore word it."""
    return "complete message body" not in str(error) and not broke_rules(error)


def broke_rules(error: Exception) -> bool:
    """Whether something came that is not HTTP, rather than an end."""
    return isinstance(error, httpx.RemoteProtocolError) and not any(
        words in str(error) for words in ("without sending", "unexpectedly closed", "ConnectionClosed")
    )
