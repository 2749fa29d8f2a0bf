"""The typed errors of the control plane, and the one function that turns an answer into one of them.

Every error says what was asked (method, path), what came back (status, the service's own words), whether trying again
can help, and what to do. The names `InferenceEndpointError` and `InferenceEndpointTimeoutError` are huggingface_hub's.
No error ever carries a token: texts are redacted on the way in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from airflow_provider_hf_endpoints._http import wait_told
from airflow_provider_hf_endpoints._redact import redact

WHOAMI = "/api/whoami-v2"  # the Hub's route that says whose a token is
# Statuses of a server that stay as they are however often it is asked: not implemented, HTTP version, a loop, …
_LASTING = frozenset({501, 505, 506, 508, 510, 511})
_LONGEST_LOCATION = 200  # characters of a redirect's target that an error quotes
_LONGEST_QUOTE = 2000  # characters of an answer's body that an error quotes
# Only where an endpoint is made can its name be taken.
_CREATES = re.compile(r"POST (/v2/endpoint/[^/]+|/(model|recipe)/.+/deploy)")


class InferenceEndpointError(Exception):
    """Anything that went wrong with an endpoint or with the service; the base of all errors of this room."""

    retryable: bool = False  # whether the same call may succeed later without anybody acting


class EndpointFailedError(InferenceEndpointError):
    """A wait ended because the endpoint can't get where it was to go: failed, updateFailed, paused, deleted."""


class InferenceEndpointTimeoutError(InferenceEndpointError, TimeoutError):
    """The endpoint was not ready in time."""

    retryable = True


class NoHardwareError(InferenceEndpointError):
    """None of several choices of hardware led to an endpoint that runs; the text lists them, each with its reason."""

    retryable = True


class InvalidArgumentError(InferenceEndpointError, ValueError):
    """An argument is refused before anything is sent; the text names the field, the value and the fix."""


class ApiError(InferenceEndpointError):
    """The service refused or failed a call."""

    advice: str = "See the service's own words above."

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
    ) -> None:
        self.message = message  # the service's own words, redacted
        self.method = method
        self.path = path
        self.status = status
        self.code = code
        self.retry_after = retry_after  # seconds, by the service's Retry-After or RateLimit header
        if advice is not None:
            self.advice = advice
        if retryable is not None or status in _LASTING:
            self.retryable = bool(retryable)
        super().__init__(self._text())

    def _text(self) -> str:
        answer = f"status {self.status}" if self.status is not None else "no answer"
        again = "Trying again won't help."
        if self.retryable:
            later = f" in {self.retry_after:.0f} s, by the service's answer" if self.retry_after else ""
            again = f"Trying again can help{later}."
        return f"{self.method} {self.path}: {answer}: {self.message} [{type(self).__name__}] {self.advice} {again}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with every field: Airflow moves exceptions between processes."""
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(cls: type[ApiError], message: str, state: dict[str, object]) -> ApiError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    Exception.__init__(error, error._text())
    return error


class AuthenticationError(ApiError):
    """401: the token is missing, wrong or expired."""

    advice = (
        "The service does not accept the token: check the connection's password (a token that starts with hf_, "
        "made under your account's Access Tokens). For an organisation it can also mean that billing is not set up."
    )


class PermissionDeniedError(ApiError):
    """403: the token is valid and may not do this."""

    advice = (
        "Give the token the permission (fine-grained tokens: inference.endpoints.read to look, "
        "inference.endpoints.write to manage, inference.endpoints.infer.write to call), or use the right namespace."
    )


class PaymentRequiredError(ApiError):
    """402, or 403 with words about payment: the namespace has no payment method."""

    advice = (
        "Someone who owns the namespace has to add a payment method, or replace one that has expired. Inference "
        "Endpoints has a billing of its own, at endpoints.huggingface.co: a card in the Hub's settings is not enough."
    )


class EndpointNotFoundError(ApiError):
    """404: no such endpoint (or route)."""

    advice = "Check the endpoint's name and namespace, and that nobody has deleted it."


class NameTakenError(ApiError):
    """409: an endpoint of this name exists already."""

    advice = "Choose another name, or reuse, update or delete the endpoint that has it."


class QuotaExceededError(ApiError):
    """409 (or 400) with words about quota: the namespace has used up what it may run of this hardware."""

    advice = (
        "Pause or delete endpoints on the same hardware, choose other hardware, or ask Hugging Face for more quota."
    )
    retryable = True


class NoCapacityError(ApiError):
    """400 'Compute instance not available yet': the cloud has none of this hardware at the moment."""

    advice = "The hardware is short at the moment: try another instance type or region, or wait."
    retryable = True


class BadRequestError(ApiError):
    """400 or 422: the service does not accept the request as it is."""

    advice = "Correct the argument that the service names."


class RateLimitError(ApiError):
    """429: too many requests."""

    advice = "Poll less often, or share one token between fewer clients."
    retryable = True


class ServiceError(ApiError):
    """5xx, or an answer that makes no sense: the service's fault."""

    advice = "The service has a problem; its status page says more if it lasts."
    retryable = True


class InvalidAnswerError(ServiceError):
    """The answer is not what the contract promises, e.g. no JSON."""

    advice = (
        "Check that the connection's host is the control plane: the login page of a proxy or of a web site answers "
        "like this, and so does a page that says that the service is under maintenance."
    )


class RequestTimeoutError(ServiceError):
    """No answer in time; the request may have been carried out all the same."""

    advice = "The service or the network is slow; the connection's extra `timeout` (seconds) sets how long to wait."


class ServiceUnreachableError(ServiceError):
    """The request never reached the service (name not found, connection refused, TLS failure).

    What can't change without somebody acting, such as a certificate that is refused, is not `retryable`.
    """

    advice = "Check the network, the proxy settings, and the connection's host."


class ConnectionLostError(ServiceError):
    """The connection broke before the answer was there; the request may have been carried out all the same."""


def error_from_response(
    *,
    method: str,
    path: str,
    status: int,
    body: str,
    headers: Mapping[str, str],
    now: datetime,
    secrets: Iterable[str] = (),
) -> ApiError:
    """The typed error for an answer that is not a success, by its status *and* its words."""
    words, code = _words(body)
    words = redact(words, secrets)[:_LONGEST_QUOTE] or "(no text)"
    kind = _classify(status, words.lower())
    advice = _advice(status, path)
    if 300 <= status < 400:
        words = f"redirected to {redact(headers.get('location') or 'nowhere', secrets)[:_LONGEST_LOCATION]}"
    if kind is NameTakenError and not _CREATES.fullmatch(f"{method} {path}"):
        kind, advice = BadRequestError, "The endpoint's state does not allow this now: look at it, then try again."
    if kind is PermissionDeniedError and (missing := re.search(r"missing permissions: ([\w., ]+\w)", words)):
        advice = f"The token lacks {missing.group(1)}: add it to the token, or use another token."
    if kind is RateLimitError and path == WHOAMI:
        advice = (
            "The Hub limits how often a token may ask whose it is: name the namespace in the connection's extra "
            "(`namespace`), so that nobody has to ask."
        )
    told = wait_told(headers, now)
    return kind(
        words,
        method=method,
        path=path,
        status=status,
        code=code,
        retry_after=told,
        advice=advice,
        retryable=False if 300 <= status < 400 else None,
    )


def _advice(status: int, path: str) -> str | None:
    """What to do where the status and the path say more than the kind of the error."""
    match status:
        case 407 | 511:
            return "Something between here and the service asks for credentials: check the proxy's settings."
        case _ if status in _LASTING:
            return "The service does not offer this, and will not when it is asked again."
        case _ if 300 <= status < 400:
            return "The service redirects nobody: check the connection's host, and whether a proxy asks for a login."
        case 404 | 410 if path in (WHOAMI, "/list") or path.startswith("/v2/provider"):
            return "The service has no such route: check the connection's host (and `hub_url`, `catalog_url`)."
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
    """The text and the code of an error body; the body itself where it is not the service's JSON."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body.split()), None
    code = data.get("code") if isinstance(data, dict) else None
    return _text_in(data) or body, code if isinstance(code, str) else None


def _text_in(data: object) -> str | None:
    """The text of an error: as it is, under one of the usual keys, or one level deeper; else that part as JSON."""
    if isinstance(data, str):
        return data
    if not isinstance(data, dict):
        return None
    found = next((data[key] for key in ("error", "message", "detail") if data.get(key)), None)
    if isinstance(found, dict) and isinstance(message := found.get("message"), str):
        return message
    return found if isinstance(found, str) or found is None else json.dumps(found, ensure_ascii=False)
