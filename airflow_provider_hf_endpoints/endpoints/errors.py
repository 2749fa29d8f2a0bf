"""The typed errors of the control plane, and the one function that turns a response into one of them.

The text of an error has three parts: what happened, what to do, and whether a retry can help. Method, path, status and
request id stand at the end. The names `InferenceEndpointError` and `InferenceEndpointTimeoutError` are
huggingface_hub's. No error contains a token: every text is redacted first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import unquote

from airflow_provider_hf_endpoints._http import wait_told
from airflow_provider_hf_endpoints._redact import redact

WHOAMI = "/api/whoami-v2"  # the Hub's route that says whose a token is
# Statuses that a retry does not change: not implemented, HTTP version, a loop, …
_LASTING = frozenset({501, 505, 506, 508, 510, 511})
_LONGEST_LOCATION = 200  # characters of a redirect's target that an error quotes
_LONGEST_QUOTE = 2000  # characters of a response's body that an error quotes
# Only a create can find its name taken.
_ENDPOINT = re.compile(r"/v\d+/endpoint/(?P<namespace>[^/]+)(?:/(?P<name>[^/]+))?(?:/.*)?")
_CREATES = re.compile(r"POST (/v2/endpoint/[^/]+|/(model|recipe)/.+/deploy)")


class InferenceEndpointError(Exception):
    """Something went wrong with an endpoint or with the service. The base class of all errors of the control plane."""

    retryable: bool = False  # whether the same call may succeed later without a change


class EndpointFailedError(InferenceEndpointError):
    """A wait ended because the endpoint cannot reach the target state: it failed, was paused, or was deleted."""


class InferenceEndpointTimeoutError(InferenceEndpointError, TimeoutError):
    """The endpoint was not ready in time."""

    retryable = True


class NoHardwareError(InferenceEndpointError):
    """No choice of hardware led to a running endpoint. The text lists each choice with the reason."""

    retryable = True


class EndpointTakenAwayError(InferenceEndpointError):
    """An endpoint that a task waits for, and that the task did not create, was deleted meanwhile."""

    retryable = True


class EndpointStillThereError(InferenceEndpointError):
    """The service answers 404 to a request that would stop an endpoint, and returns the endpoint when it is read."""

    retryable = True


class CostUnknownError(InferenceEndpointError):
    """The cost of an endpoint cannot be determined from what the service returned."""

    retryable = True


class InvalidArgumentError(InferenceEndpointError, ValueError):
    """An argument is not valid; no request was sent. The text names the argument, the value and the fix.

    A value that looks like a token is not shown.
    """

    def __init__(self, text: str) -> None:
        super().__init__(redact(text))


class ApiError(InferenceEndpointError):
    """The service refused a call, or failed.

    :param message: the service's own words, redacted.
    :param happened: the first part of the text; default `what`, followed by `message`.
    :param token_source: where the refused token comes from, in words
    """

    what: str = "The service refused the request"
    advice: str = "Change the request as the service's message says."

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        advice: str | None = None,
        retryable: bool | None = None,
        happened: str | None = None,
        request_id: str | None = None,
        token_source: str | None = None,
    ) -> None:
        self.message = message
        self.happened = happened or f"{self.what}: {message}"
        self.method = method
        self.path = path
        self.status = status
        self.code = code
        self.retry_after = retry_after  # seconds, from the Retry-After or RateLimit header
        self.request_id = request_id
        self.token_source = token_source
        if advice is not None:
            self.advice = advice
        if retryable is not None or status in _LASTING:
            self.retryable = bool(retryable)
        super().__init__(self._text())

    def _text(self) -> str:
        again = "A retry does not help."
        if self.retryable:
            again = f"A retry can help{f' after {self.retry_after:.0f} s' if self.retry_after else ''}."
        call = f"{self.method} {self.path}, " if self.method else ""
        status = f"status {self.status}" if self.status is not None else "no response"
        request_id = f", request id {self.request_id}" if self.request_id else ""
        end = "" if self.happened.endswith((".", "!", "?")) else "."
        return f"{self.happened}{end} {self.advice} {again} ({type(self).__name__}: {call}{status}{request_id})"

    def with_advice(self, advice: str, kind: type[ApiError] | None = None) -> ApiError:
        """The same error with other advice, as an error of `kind` where that is given."""
        return (kind or type(self))(
            self.message,
            method=self.method,
            path=self.path,
            status=self.status,
            code=self.code,
            retry_after=self.retry_after,
            advice=advice,
            happened=self.happened if kind is None else None,
            request_id=self.request_id,
            token_source=self.token_source,
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle every field: Airflow sends exceptions from one process to another."""
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(cls: type[ApiError], message: str, state: dict[str, object]) -> ApiError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    Exception.__init__(error, error._text())
    return error


class AuthenticationError(ApiError):
    """401: the token is missing, wrong or expired."""

    what = "The service does not accept the token"
    advice = (
        "Replace the token, in a connection its password, by a valid access token, which starts with hf_. For an "
        "organisation, a 401 can also mean that billing is not set up."
    )


class PermissionDeniedError(ApiError):
    """403: the token is valid, but lacks the permission for this call."""

    what = "The token lacks a permission"
    advice = (
        "Check the namespace, or add the permission to the token (fine-grained tokens: inference.endpoints.read to "
        "list, inference.endpoints.write to manage, inference.endpoints.infer.write to send requests)."
    )


class PaymentRequiredError(ApiError):
    """402, or 403 with a message about payment: the namespace has no payment method."""

    what = "The namespace has no valid payment method"
    advice = (
        "Ask the owner of the namespace to add a payment method, or to replace one that has expired. Inference "
        "Endpoints has its own billing page, at endpoints.huggingface.co: a card in the Hub's settings is not enough."
    )


class EndpointNotFoundError(ApiError):
    """404: the endpoint or the route does not exist."""

    what = "Not found"
    advice = "Check the endpoint's name and namespace. Somebody may also have deleted the endpoint."
    names_compared = False  # whether a similar name was looked for: once for an error is enough


class NameTakenError(ApiError):
    """409: an endpoint with this name exists already."""

    what = "The name is already in use"
    advice = "Choose another name, or reuse, update or delete the existing endpoint."


class QuotaExceededError(ApiError):
    """409 (or 400) with a message about quota: the namespace has used its quota for this hardware."""

    what = "The quota is used up"
    advice = (
        "Pause or delete endpoints on the same hardware, choose other hardware, or ask Hugging Face for more quota."
    )
    retryable = True


class NoCapacityError(ApiError):
    """400 'Compute instance not available yet': the cloud has no free instance of this hardware."""

    what = "The hardware is not available at the moment"
    advice = "Try another instance type or region, or wait."
    retryable = True


class BadRequestError(ApiError):
    """400 or 422: the service does not accept the request."""

    what = "The service does not accept the request"
    advice = "Correct the argument that the service names."


class RateLimitError(ApiError):
    """429: too many requests."""

    what = "The service limits the rate of requests"
    advice = "Poll less often, or share one token between fewer clients."
    retryable = True


class ServiceError(ApiError):
    """5xx, or a response that makes no sense: the fault is the service's."""

    what = "The service failed"
    advice = "If the problem lasts, look at the service's status page."
    retryable = True


class InvalidAnswerError(ServiceError):
    """The response does not follow the contract, for example because it is not JSON."""

    what = "The response is not valid"
    advice = (
        "Check that the connection's host is the control plane. The login page of a proxy or a web site also answers "
        "like this, and so does a maintenance page."
    )


class RequestTimeoutError(ServiceError):
    """No response in time. The service may have carried out the request."""

    what = "The service did not respond in time"
    advice = "The service or the network is slow. To wait longer, raise `timeout` (seconds) in the connection's extra."


class ServiceUnreachableError(ServiceError):
    """The request did not reach the service (name not found, connection refused, TLS failure).

    An error that only a person can remove, such as a refused certificate, is not `retryable`.
    """

    what = "Cannot connect to the service"
    advice = "Check the connection's host, the network and the proxy settings."


class ConnectionLostError(ServiceError):
    """The connection broke before the response arrived. The service may have carried out the request."""

    what = "The connection to the service broke"


def error_from_response(
    *,
    method: str,
    path: str,
    status: int,
    body: str,
    headers: Mapping[str, str],
    now: datetime,
    secrets: Iterable[str] = (),
    token_source: str | None = None,
) -> ApiError:
    """The typed error for a response that is not a success, by its status *and* its message.

    :param token_source: where the token comes from, in words
    """
    words, code = _words(body)
    words = redact(words, secrets)[:_LONGEST_QUOTE] or "(no text)"
    kind = _classify(status, words.lower())
    if 300 <= status < 400:
        words = f"redirected to {redact(headers.get('location') or '(no address)', secrets)[:_LONGEST_LOCATION]}"
    advice = _advice(status, path)
    if kind is NameTakenError and not _CREATES.fullmatch(f"{method} {path}"):
        kind = BadRequestError
        advice = "The endpoint's state does not allow this now. Look at the endpoint, then try again."
    if kind is PermissionDeniedError and (missing := re.search(r"missing permissions: ([\w., ]+\w)", words)):
        advice = f"Check the namespace, or add the permission {missing.group(1)} to the token."
    if kind is RateLimitError and path == WHOAMI:
        advice = (
            "The Hub limits how often a client may look up the token's owner. Set `namespace` in the connection's "
            "extra: no lookup is needed then."
        )
    return kind(
        words,
        method=method,
        path=path,
        status=status,
        code=code,
        retry_after=wait_told(headers, now),
        advice=advice,
        retryable=False if 300 <= status < 400 else None,
        happened=_happened(kind, method, path, words, token_source),
        request_id=headers.get("x-request-id"),
        token_source=token_source,
    )


def _happened(kind: type[ApiError], method: str, path: str, words: str, token_source: str | None) -> str | None:
    """What happened, where the path or the token's source says more than the kind of the error."""
    token = f"token of {token_source}" if token_source else "token"
    if kind is AuthenticationError:
        return f"The service does not accept the {token}: {words}"
    place = _ENDPOINT.fullmatch(path)
    if place is None:
        return None
    namespace, name = unquote(place["namespace"]), unquote(place["name"] or "")
    if kind is EndpointNotFoundError:
        what = f"No endpoint {name!r} in namespace {namespace!r}" if name else f"No namespace {namespace!r}"
        return what if "not found" in words.lower() else f"{what}: {words}"
    if kind is PermissionDeniedError:
        may = "read" if method == "GET" else "change"
        what = f"The {token} may not {may} namespace {namespace!r}"
        return what if "missing permissions" in words else f"{what}: {words}"
    return None


def _advice(status: int, path: str) -> str | None:
    """What to do, where the status and the path say more than the kind of the error."""
    match status:
        case 407 | 511:
            return "A proxy asks for credentials. Check the proxy settings (HTTPS_PROXY)."
        case _ if status in _LASTING:
            return "The service does not support this request. Check the connection's host."
        case _ if 300 <= status < 400:
            return "The service itself never redirects. Check the connection's host, and whether a proxy wants a login."
        case 404 | 410 if path in (WHOAMI, "/list") or path.startswith("/v2/provider"):
            return "The server does not have this route. Check the connection's host (and `hub_url`, `catalog_url`)."
        case _:
            return None


def _classify(status: int, words: str) -> type[ApiError]:
    match status:
        case 401:
            return AuthenticationError
        case 402:
            return PaymentRequiredError
        case 403:
            return PaymentRequiredError if "payment" in words else PermissionDeniedError
        case 404 | 410:
            return EndpointNotFoundError
        case 409:
            return QuotaExceededError if "quota" in words else NameTakenError
        case 400 if "not available yet" in words:
            return NoCapacityError
        case 400 if "quota exceeded" in words:  # a resume checks the quota again
            return QuotaExceededError
        case 429:
            return RateLimitError
        case 408:
            return RequestTimeoutError
        case _ if status >= 500:
            return ServiceError
        case _ if status >= 400:
            return BadRequestError
        case _:
            return InvalidAnswerError


def _words(body: str) -> tuple[str, str | None]:
    """The text and the code of an error body. A body that is not the service's JSON is the text itself."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body.split()), None
    code = data.get("code") if isinstance(data, dict) else None
    return _text_in(data) or body, code if isinstance(code, str) else None


def _text_in(data: object) -> str | None:
    """The text of an error: the value itself, or what stands under one of the usual keys, at most one level deeper."""
    if isinstance(data, str):
        return data
    if not isinstance(data, dict):
        return None
    found = next((data[key] for key in ("error", "message", "detail") if data.get(key)), None)
    if isinstance(found, dict) and isinstance(message := found.get("message"), str):
        return message
    return found if isinstance(found, str) or found is None else json.dumps(found, ensure_ascii=False)
