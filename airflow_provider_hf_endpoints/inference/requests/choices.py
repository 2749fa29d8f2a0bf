"""Whether an answer has as many choices as its request asked for: a row that asked for three is not done with one."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.openai import CHAT_ROUTE, COMPLETIONS_ROUTE
from airflow_provider_hf_endpoints.inference.engines.routes import path_of
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.wire import InferenceResult

_SEVERAL = (b'"n":', b'"prompt":[')  # one of these stands in the body of each request for more than one


def require_choices(result: InferenceResult, route: str, body: bytes) -> None:
    """Check the number of choices, where the route gives some.

    :param body: of the request
    :raises MalformedAnswerError: there are more or fewer than were asked for
    """
    got = len(result.output) if isinstance(result.output, list) else 1
    if got == 1 and not any(sign in body for sign in _SEVERAL):
        return
    if path_of(route) not in (CHAT_ROUTE, COMPLETIONS_ROUTE):
        return
    wanted = _wanted(fastjson.decode(body))
    if wanted is not None and got != wanted:
        raise MalformedAnswerError(f"{got} choices where the request asks for {wanted}", usage=result.usage)


def _wanted(request: Any) -> int | None:
    """How many choices a request asks for; None where that cannot be told."""
    if not isinstance(request, dict):
        return None
    number = request.get("n")
    number = 1 if number is None else number
    prompt = request.get("prompt")
    # A list of numbers is one prompt in tokens.
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return number * prompts if type(number) is int and number > 0 else None
