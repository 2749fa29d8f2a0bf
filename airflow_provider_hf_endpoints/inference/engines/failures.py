"""Turns an answer that is not a success into a typed error, by its status and its body.

Only this file knows the forms of error bodies: nested object, plain string, flat, FastAPI's `detail`,
text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_hf_endpoints._http import wait_told
from airflow_provider_hf_endpoints.inference import errors, fastjson
from airflow_provider_hf_endpoints.inference.wire import WireResponse

# What the proxy in front of an endpoint says about the endpoint, always with status 400. The second text of a pause is
# older (elastic/elasticsearch#112033, August 2024); "in error" is a failed endpoint (Soulter/hugging-chat-api#288,
# June 2025).
_PAUSED = re.compile(r"endpoint is paused|^bad request: invalid state\b", re.I)
_FAILED = re.compile(r"endpoint is in error", re.I)
_TOO_LONG = re.compile(
    r"exceed_context_size|context[ _](length|size|window)|too many tokens|input is too (large|long)"
    r"|must have less than \d+ tokens|inputs?`? tokens \+"
    r"|exceeds? .{0,40}(context|max(imum)?[ _]?(model|input|seq))"
    r"|(prompt|input|sequence) .{0,60}(is )?(too long|longer than)",
    re.I,
)
_TOO_MANY = re.compile(r"batch size .{0,20}maximum allowed", re.I)
_NO_MODEL = re.compile(r"model.{0,200}(does not exist|not found|is not available)|model_not_found", re.I | re.S)
# How the pipelines of transformers, vLLM and TGI say that a model only continues texts.
# Chats without a template, and what vLLM says of a route that its model does not serve.
_NOT_SERVED = re.compile(
    r"chat_template is not set|default chat template is no longer allowed|template error: template not found"
    r"|model does not support [\w /-]+ API",
    re.I,
)
# As nginx, Go and Apache say it.
_HTTPS_NEEDED = re.compile(r"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS|plain HTTP to an SSL", re.I)
# The toolkit answers 400 to every exception in the container, its own failures included.
_OWN_FAILURE = re.compile(r"out of memory|CUDA|cuDNN|NCCL|device-side assert|RuntimeError|Broken pipe", re.I)

#: Length of a body's text that is searched, more than any error shows. A page may have megabytes.
_MOST_CHARACTERS = 8000
_AT_START, _AT_END = 6000, 2000


def error_from(response: WireResponse, path: str, now: datetime | None = None) -> errors.InferenceError:
    """The typed error for an answer whose status is not 2xx."""
    words = error_words(response)
    location = response.headers.get("location") if 300 <= response.status < 400 else None
    if location is None:
        kind = _of_proxy(response, words) or _kind(response.status, words)
    else:
        # Without its query, which may be a secret: a signed address, or a redirect to a login.
        kind, words = errors.RedirectedError, f"to {re.split('[?#]', location, maxsplit=1)[0]}"
    return kind(
        words,
        status=response.status,
        path=path,
        retry_after=wait_told(response.headers, now or datetime.now(UTC)),
    )


def _of_proxy(response: WireResponse, words: str) -> type[errors.InferenceError] | None:
    """The endpoint's state, from a 400 of the proxy; None if the answer is the engine's. It is never a row's fault.

    The proxy reads no row. Unknown words of the proxy mean that the endpoint does not serve at the moment: according to
    one report, an endpoint at zero answers 400 and not 503.
    """
    if response.status != 400:
        return None
    if _PAUSED.search(words):
        return errors.EndpointPausedError
    if _FAILED.search(words):
        return errors.EndpointFailedError
    return errors.StartingError if _is_proxys(response) else None


def _is_proxys(response: WireResponse) -> bool:
    """Whether a 400 has the form that only the proxy uses: `{"error": "Bad Request: …", "code": "BAD_REQUEST"}`."""
    try:
        body = fastjson.decode(response.body)
    except (ValueError, RecursionError):
        return False
    match body:
        case {"error": str(words), "code": "BAD_REQUEST"}:
            return len(body) == 2 and words.startswith("Bad Request")
        case _:
            return False


def _kind(status: int, words: str) -> type[errors.InferenceError]:
    match status:
        case 401:
            return errors.AuthenticationError
        case 402:
            return errors.PaymentRequiredError
        case 403:
            return errors.PermissionDeniedError
        case 440 | 498:  # a session or a token that has expired, in the words of IIS and of gateways
            return errors.AuthenticationError
        # These are about the headers, the protocol or the network, which are the same for every row.
        # 525, 526: a gateway finds no TLS that it accepts behind it.
        case 406 | 407 | 411 | 414 | 415 | 417 | 426 | 428 | 431 | 511 | 525 | 526:
            return errors.RefusedOnTheWayError
        case 404 | 410:
            return errors.ModelNotFoundError if _NO_MODEL.search(words) else errors.NotFoundError
        case 408 | 524 | 598:  # 524, 598: a gateway has waited too long
            return errors.InferenceTimeoutError
        case 425 | 502 | 503 | 504 | 521 | 522 | 523 | 530:
            # An endpoint with one replica answers each of the first four during an update or a cold start. They look
            # the same. 521 to 523 and 530: a gateway reaches no server behind it.
            return errors.StartingError
        case 420 | 429 | 529:  # 420: the rate limit of some gateways
            return errors.OverloadedError
        # llama.cpp answers 500 to an embedding input that is too long. Without this case it would be retried forever.
        case _ if _TOO_LONG.search(words):
            return errors.PromptTooLongError
        case 413:
            return errors.PayloadTooLargeError
        case 400 | 422 if _TOO_MANY.search(words):
            return errors.PayloadTooLargeError
        case 405 | 501:
            return errors.UnsupportedTaskError
        case 400 | 422 if _NOT_SERVED.search(words):
            return errors.UnsupportedTaskError
        case 409 | 421 | 423 | 424 | 444 | 449 | 460 | 499:
            # These are not about the request: a conflict or a lock, a wrong backend, a failure of the engine. 444, 449:
            # a server closed the connection, or wants the request again. 460 and 499: an intermediate server believed
            # that the client had closed the connection.
            return errors.ServerError
        case 400 if _HTTPS_NEEDED.search(words):
            return errors.HttpsNeededError
        case 400 if _OWN_FAILURE.search(words):
            return errors.ServerError
        case _ if status >= 500:
            return errors.ServerError
        case _ if status >= 400:
            return errors.BadRequestError
        case _:
            return errors.MalformedAnswerError


def error_words(response: WireResponse) -> str:
    """The text of the body, with the error code if the body has one.

    A long text is shortened in the middle: some engines repeat the whole prompt there.
    """
    text = response.body.decode("utf-8", "replace").strip()
    try:
        words = _from_json(fastjson.decode(text.encode()))
    except (ValueError, RecursionError):  # not JSON, or nested too deeply
        words = ""
    return _bounded(words) or _plain(_bounded(text))


def _bounded(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_AT_START]} … {text[-_AT_END:]}"


def _from_json(body: Any) -> str:
    match body:
        case {"error": Mapping() as inner}:
            return _with_code(_from_json(inner), inner)
        case {"error": str(message)}:
            return _with_code(message, body)
        case {"error": list(messages)}:
            return "; ".join(str(message) for message in messages)
        case {"message": str(message)}:
            return _with_code(message, body)
        case {"detail": str(message)}:
            return message
        case {"detail": list(items)}:
            return "; ".join(_validation(item) for item in items)
        case str():
            return body
        case _:
            return ""


def _with_code(message: str, body: Mapping[str, Any]) -> str:
    for name in ("error_type", "type", "code"):
        code = body.get(name)
        if isinstance(code, str) and code and code not in message:
            return f"{message} [{code}]"
    return message


def _validation(item: Any) -> str:
    if isinstance(item, Mapping) and "msg" in item:
        place = item.get("loc")
        where = ".".join(map(str, place if isinstance(place, list) else [] if place is None else [place]))
        return f"{where}: {item['msg']}" if where else str(item["msg"])
    return str(item)


def _plain(text: str) -> str:
    """The text of a web page or a plain answer, without tags, short enough for a log."""
    if "<" in text:
        text = re.sub(r"<[^<>]+>", " ", text)
    return re.sub(r"\s+", " ", text).strip()[:500]
