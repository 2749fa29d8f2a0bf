"""The typed errors of calls to a running endpoint.

Each says what happened, who is at fault and what to do next, and whether the same request can succeed later
(`retryable`). `engines/failures.py` turns answers into errors. No message contains a token.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

from airflow_provider_hf_endpoints._redact import redact
from airflow_provider_hf_endpoints.inference.wire import Usage

_MOST_WORDS = 2000  # characters


class InferenceError(Exception):
    """A call to an endpoint without a usable answer.

    :param words: the engine's or the proxy's own words, without secrets
    :param status: HTTP status, None without an answer
    :param path: path of the request, without host and query
    :param retry_after: seconds that the server asked to wait, None if it did not
    :param usage: tokens of an answer that is not usable, None without an answer or a count
    """

    retryable: ClassVar[bool] = False
    #: `caller` (the request is wrong), `endpoint` (its state, its engine), `token`, `network`, `provider` (us).
    fault: ClassVar[str] = "endpoint"
    what: ClassVar[str] = "The endpoint returned no usable answer"
    todo: ClassVar[str] = ""
    #: Seconds for which an endpoint that has answered nothing else is waited for, at most.
    patience: ClassVar[float] = math.inf
    #: Where the refused token comes from, in words.
    token_source: str | None = None

    def __init__(
        self,
        words: str = "",
        *,
        status: int | None = None,
        path: str = "",
        retry_after: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.words = redact(words[: 2 * _MOST_WORDS])[:_MOST_WORDS]  # a search is quadratic
        self.status = status
        self.path = path
        self.retry_after = retry_after if retry_after is not None and 0 <= retry_after < math.inf else None
        self.usage = usage
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        """What happened, what to do, and at the end the call."""
        words = f": {self.words}" if self.words else ""
        what = self.what
        if self.token_source:
            what = re.sub("[Tt]he token", rf"\g<0> of {self.token_source}", what, count=1)
        text = f"{what}{words}{'.' if not words.endswith('.') else ''} {self.todo}".strip()
        call = [f"status {self.status}" if self.status is not None else "", f"path {self.path}" if self.path else ""]
        return f"{text} ({', '.join(filter(None, call))})" if any(call) else text

    @property
    def kind(self) -> str:
        """Short machine name of the error, as in a batch's output (`prompt_too_long`)."""
        name = type(self).__name__.removesuffix("Error")
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")

    def as_row_error(self) -> dict[str, object]:
        """The error as the `error` column of an output line."""
        return {
            "type": self.kind,
            "message": self.words or self.what,
            "status": self.status,
            "fault": self.fault,
            "retryable": self.retryable,
        }

    def without(self, secret: str | None) -> InferenceError:
        """The same error with `secret` removed from the server's words, in case they quote it."""
        if not secret or secret not in self.words:
            return self
        words = redact(self.words, (secret,))
        return _rebuild(type(self), words, self.status, self.path, self.retry_after, self.usage, self.token_source)

    def of_token(self, source: str | None) -> InferenceError:
        """The same error, which says that the token comes from `source`. Errors of another fault stay as they are."""
        if self.fault != "token" or not source:
            return self
        return _rebuild(type(self), self.words, self.status, self.path, self.retry_after, self.usage, source)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle only their args. A task's error must cross processes with all its fields.
        fields = (self.words, self.status, self.path, self.retry_after, self.usage, self.token_source)
        return (_rebuild, (type(self), *fields))


def _rebuild(
    cls: type[InferenceError],
    words: str,
    status: int | None,
    path: str,
    retry_after: float | None,
    usage: Usage | None,
    token_source: str | None,
) -> InferenceError:
    error = cls(words, status=status, path=path, retry_after=retry_after, usage=usage)
    if token_source is not None:
        error.token_source = token_source
        error.args = (error._sentence(),)
    return error


class AuthenticationError(InferenceError):
    """401: no token, or a token that the endpoint does not know."""

    fault = "token"
    what = "The endpoint does not accept the token"
    todo = (
        "Replace the token, in a connection its password. A container with a separate key (vLLM's --api-key) "
        "refuses every Hugging Face token: start the container without that key. A 401 does not wake an endpoint that "
        "is scaled to zero."
    )


class PermissionDeniedError(InferenceError):
    """403: the token is valid, but may not call this endpoint."""

    fault = "token"
    what = "The token may not call this endpoint"
    todo = (
        "Add the permission inference.endpoints.infer.write for the endpoint's namespace to the token, or replace the "
        "token, in a connection its password."
    )


class PaymentRequiredError(PermissionDeniedError):
    """402: the account of the endpoint must pay first."""

    what = "The endpoint asks for a payment"
    todo = "Ask an owner of the namespace to check its billing. The remaining rows can then be sent."


class RefusedOnTheWayError(InferenceError):
    """A proxy requires a login (407, 511), or does not accept the headers or the protocol (406, 411, 414, 415, 417,
    426, 428, 431). Every request would fail."""

    fault = "network"
    what = "A proxy or gateway refused the request before it reached the engine"
    todo = (
        "No row is at fault. Check the endpoint's URL, the proxy in HTTPS_PROXY or HTTP_PROXY, its login, and the "
        "length of the token."
    )


class EndpointPausedError(InferenceError):
    """The proxy's 400 for a paused endpoint, which does not start by itself."""

    what = "The endpoint is paused"
    todo = "Resume the endpoint first. Requests do not wake a paused endpoint."


class EndpointFailedError(InferenceError):
    """The proxy's 400 for a failed endpoint ("in error"), which does not start by itself."""

    what = "The endpoint has failed"
    todo = (
        "The endpoint's log says why. No row is at fault. Resume the endpoint, or delete and create it, then send "
        "the remaining rows."
    )


class NotFoundError(InferenceError):
    """404 or 410: the endpoint does not exist, or its engine has no such route."""

    what = "No endpoint or route at this address"
    todo = (
        "The endpoint may have been deleted, or its engine does not serve this route. Check the endpoint and the task."
    )


class ModelNotFoundError(InferenceError):
    """404 of an engine that serves another model than requested."""

    fault = "caller"
    what = "The endpoint does not serve the requested model"
    todo = "Leave `model` out: the model is then read from /v1/models."


class BadRequestError(InferenceError):
    """4xx: the engine refused the request itself."""

    fault = "caller"
    what = "The engine refused the request"
    todo = "The same request would be refused again. Change the request."


class PromptTooLongError(BadRequestError):
    """The input does not fit into the model's context or the engine's limit."""

    what = "The input is too long for the model"
    todo = "Shorten the input, or ask for fewer new tokens."


class PayloadTooLargeError(BadRequestError):
    """413: too many items or bytes in one call."""

    what = "The request contains too many items for the engine"
    todo = "Send fewer items per request."


class UnsupportedTaskError(BadRequestError):
    """The engine has no route for the task; nothing was sent."""

    what = "The engine does not support this task"
    todo = "Choose another task, or call the container's own route."


class UnsuitableInputsError(UnsupportedTaskError):
    """Inputs in a form that the task does not take; nothing was sent."""

    what = "The inputs do not have the form that the task takes"
    todo = "Change the inputs."


class UnsupportedParameterError(BadRequestError):
    """A parameter that the engine ignores, or understands differently."""

    what = "The engine does not support a parameter"
    todo = "Leave the parameter out, or choose an engine that supports it (docs/reference/engines.md)."


class AnswerTooLargeError(InferenceError):
    """A body of more than `max_response_bytes`; the connection was closed."""

    what = "The response is larger than max_response_bytes"
    todo = "Ask for fewer tokens or inputs per request, or raise max_response_bytes."


class TlsError(InferenceError):
    """The server does not use TLS, or no TLS that this machine accepts; nothing was sent."""

    fault = "network"
    what = "No TLS connection to the endpoint is possible"
    todo = (
        "A retry does not help. Check that the port of the URL is for https, and that no proxy changes the connection. "
        "`openssl s_client -connect HOST:PORT` shows which server answers."
    )


class CertificateError(TlsError):
    """The server's certificate is not trusted, has expired, or belongs to another host; nothing was sent."""

    what = "The certificate of the endpoint could not be verified"
    todo = (
        "A retry does not help. Check the host in the URL and this machine's clock. For your own certificate "
        "authority, set SSL_CERT_FILE to its certificate."
    )


class HttpsNeededError(TlsError):
    """400 in the words of a web server: the port is one for https, and the request came without TLS."""

    fault = "caller"
    what = "The address takes https only"
    todo = "Write https:// in place of http:// in the URL."


class RedirectedError(NotFoundError):
    """3xx with a Location: the endpoint has another address."""

    what = "The endpoint redirects requests, and redirects are not followed"
    todo = "Check the endpoint's URL (https, not http). The token is sent only to that URL."


class OverloadedError(InferenceError):
    """429: the engine or the proxy is overloaded."""

    retryable = True
    what = "The endpoint refuses requests because it is overloaded"
    todo = "Send fewer requests at once, or wait as long as the endpoint asks."


class StartingError(InferenceError):
    """503: no replica is ready, because of a cold start, a loading model or an update."""

    retryable = True
    what = "The endpoint has no ready replica"
    todo = "A request wakes the endpoint. Wait, or raise scale_up_timeout."


class ServerError(InferenceError):
    """5xx: the engine failed while it worked on the request."""

    retryable = True
    what = "The engine failed"
    todo = "If the same request fails every time, the request itself may be the cause."


class InferenceTimeoutError(InferenceError):
    """No complete answer within the request's timeout."""

    retryable = True
    fault = "network"
    what = "No complete response arrived in time"
    todo = "Raise the timeout, or ask for fewer tokens."


class ConnectionFailedError(InferenceError):
    """No connection, or it broke before an answer began."""

    retryable = True
    fault = "network"
    what = "The endpoint could not be reached"
    todo = "Check the URL, and whether the endpoint is running."


class UnknownHostError(ConnectionFailedError):
    """No name server knows the host of the URL."""

    what = "The host of the endpoint is unknown"
    todo = "Check the URL for a mistake in the host's name, and whether the endpoint was deleted."
    #: A new name may be unknown for a while to name servers that were asked for it before.
    patience = 120.0


class RetryBudgetError(InferenceError):
    """Too many requests of a batch failed and were sent again, so the batch would mostly repeat requests."""

    retryable = True
    what = "The engine fails too often to continue the batch"
    todo = "Check the endpoint's logs for a broken replica. To continue in spite of the failures, raise retry_budget."


class MalformedAnswerError(InferenceError):
    """200 with a body that is not valid: not JSON, empty, or without the parts that the task needs."""

    retryable = True
    what = "The response of the endpoint is not valid"
    todo = "Check that the task fits the endpoint's engine and model."


class InternalError(InferenceError):
    """An unexpected exception in the handling of one row: a fault of this provider or of a library."""

    fault = "provider"
    what = "The provider failed on this row"
    todo = "The row is recorded with this error. Please report the error, with the traceback from the log."


class FewerChoicesError(MalformedAnswerError):
    """A complete answer with fewer texts than requested: an engine that ignores `n` always returns that."""

    retryable = False
    what = "The engine returned fewer texts than requested"
    todo = (
        "Leave `n` out and repeat each row in the input, or serve the model with an engine that supports `n` (see the "
        "table in docs/reference/engines.md)."
    )

    @property
    def kind(self) -> str:
        """The same kind as for any answer that is not as requested."""
        return "malformed_answer"


class DiscoveryError(InferenceError):
    """An unexpected exception in the discovery of the engine."""

    fault = "provider"
    what = "The engine could not be detected, because the requests for that failed"
    todo = "No row was sent. If the transport is your own, check it; otherwise report the error."


class CutAnswerError(MalformedAnswerError):
    """An answer or a stream that ended before it was complete."""

    what = "The answer was truncated"
    todo = "The text is incomplete and was discarded."
