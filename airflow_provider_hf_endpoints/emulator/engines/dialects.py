"""The forms of each engine's errors, and its default limits. Pure tables and look-ups."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.emulator.engines.base import Call, Reply, json_reply
from airflow_provider_hf_endpoints.emulator.engines.words import DEFAULT_CONTEXT
from airflow_provider_hf_endpoints.emulator.service import images
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint

_TYPES = {  # dialect -> status -> type; "" is for any other status
    "vLLM": {400: "BadRequestError", 404: "NotFoundError", "": "InternalServerError"},
    "sGLang": {400: "BadRequest", 404: "NotFound", "": "InternalServerError"},
    "llamacpp": {400: "invalid_request_error", 404: "not_found_error", 503: "unavailable_error", "": "server_error"},
    "tgi": {422: "validation", 424: "generation", 429: "overloaded", "": "unknown"},
    "tei": {413: "Validation", 422: "Validation", 429: "Overloaded", 424: "Backend", "": "Unknown"},
}


def dialect_of(endpoint: Endpoint) -> str:
    """The engine whose routes and errors the endpoint has."""
    return images.dialect(endpoint.spec["model"]["image"])


def error_body(dialect: str, status: int, message: str, kind: str | None = None, *, openai: bool = False) -> Any:
    """An error in the form of `dialect`; `openai` for a route below `/v1`, where TEI has another form."""
    words: Any = _TYPES.get(dialect, _TYPES["vLLM"])
    kind = kind or words.get(status, words[""])
    match dialect:
        case "sGLang":
            return {"object": "error", "message": message, "type": kind, "param": None, "code": status}
        case "llamacpp":
            return {"error": {"code": status, "message": message, "type": kind}}
        case "tei" if openai:
            return {"message": message, "code": status, "type": kind}
        case "tgi" | "tei":
            return {"error": message, "error_type": kind}
        case "huggingface":
            return {"error": message}
        case "hfServe":
            return {"detail": message}
        case _:
            return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def error_reply(call: Call, status: int, message: str, kind: str | None = None, **extra: Any) -> Reply:
    """The same as a reply; every exception inside the toolkit is a 400."""
    dialect = dialect_of(call.endpoint)
    body = error_body(dialect, status, message, kind, openai=call.path.startswith("/v1"))
    if extra and isinstance(body.get("error"), dict):
        body["error"].update(extra)
    return json_reply(body, 400 if dialect == "huggingface" else status)


def loading_reply(call: Call) -> Reply | None:
    """A container's answer while its model loads; None: it does not listen yet, so the proxy answers."""
    if dialect_of(call.endpoint) != "llamacpp":
        return None
    return json_reply(error_body("llamacpp", 503, "Loading model"), 503)


def refuse_over(endpoint: Endpoint) -> int | None:
    """Concurrent requests per replica above which the engine answers 429; None: its queue has no limit."""
    if endpoint.behaviour.refuse_over is not None:
        return endpoint.behaviour.refuse_over
    match dialect_of(endpoint):
        case "tgi":
            return _whole(_env(endpoint).get("MAX_CONCURRENT_REQUESTS"), 128)
        case "tei":
            fields = endpoint.spec["model"]["image"].get("tei", {})
            return _whole(fields.get("maxConcurrentRequests"), 512)
        case _:
            return None


def context_length(endpoint: Endpoint) -> int:
    """Tokens of prompt and answer together, from the emulator's setting, the image or the container's arguments."""
    if endpoint.behaviour.context_length is not None:
        return endpoint.behaviour.context_length
    fields: dict[str, Any] = next(iter(endpoint.spec["model"]["image"].values()))
    match dialect_of(endpoint):
        case "tgi":
            set_by = fields.get("maxTotalTokens") or _env(endpoint).get("MAX_TOTAL_TOKENS")
        case "llamacpp":
            size, slots = fields.get("ctxSize"), fields.get("nParallel") or 1
            set_by = size // slots if size else None
        case _:
            set_by = _argument(endpoint, "--max-model-len") or _argument(endpoint, "--context-length")
    return _whole(set_by, DEFAULT_CONTEXT)


def max_input_length(endpoint: Endpoint) -> int:
    """TGI's own limit on the prompt alone."""
    fields: dict[str, Any] = next(iter(endpoint.spec["model"]["image"].values()))
    env = _env(endpoint)
    set_by = fields.get("maxInputLength") or env.get("MAX_INPUT_TOKENS") or env.get("MAX_INPUT_LENGTH")
    return _whole(set_by, context_length(endpoint) - 1)


def max_batch(endpoint: Endpoint) -> int:
    """TEI's limit on the items of one call."""
    return _whole(_env(endpoint).get("MAX_CLIENT_BATCH_SIZE"), 32)


def _env(endpoint: Endpoint) -> dict[str, str]:
    return endpoint.spec["model"].get("env") or {}


def _argument(endpoint: Endpoint, name: str) -> str | None:
    arguments = endpoint.spec["model"].get("args") or []
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            return str(arguments[index + 1])
        if argument.startswith(f"{name}="):
            return str(argument.partition("=")[2])
    return None


def _whole(value: Any, default: int) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 10 else default
