"""JSON over Starlette for the emulator: it accepts any bytes as a body, and answers with valid JSON only."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from starlette.responses import Response

from airflow_provider_hf_endpoints.emulator.errors import ApiError


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def parse_json(body: bytes) -> Any:
    """The body as JSON. Raises ApiError 400 for anything else, with NaN, bad UTF-8 and endless nesting."""
    try:
        return json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise ApiError(400, "the request body is not valid JSON") from None


def parse_request(body: bytes) -> Any:
    """The body of a request to the control plane. Raises ApiError 400 in the words of the service's framework."""
    try:
        return json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        why = f"{error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno} column {error.colno}"
    except (ValueError, RecursionError) as error:
        why = str(error) or "too deep"
    raise ApiError(400, f"Failed to parse the request body as JSON: {why}", plain=True)


def dump_json(value: Any) -> bytes:
    """`value` as JSON, compact."""
    # ASCII only, so that a lone surrogate in a string cannot fail the encoding of the answer.
    return json.dumps(value, separators=(",", ":")).encode()


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of JSON."""
    return Response(dump_json(value), status, headers, "application/json")


def error_response(error: ApiError) -> Response:
    """The answer for `error`."""
    if error.plain:
        return Response(error.message, error.status, media_type="text/plain; charset=utf-8")
    return json_response(error.body, error.status)
