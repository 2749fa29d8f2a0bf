"""Whether an answer has as many choices as its request asked for: a row that asked for three is not done with one."""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.openai import CHAT_ROUTE, COMPLETIONS_ROUTE
from airflow_provider_hf_endpoints.inference.engines.routes import path_of
from airflow_provider_hf_endpoints.inference.errors import MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


def require_choices(result: InferenceResult, request: RowRequest) -> None:
    """Check the number of choices, where the route gives some.

    :raises MalformedAnswerError: there are more or fewer than were asked for
    """
    got = len(result.output) if isinstance(result.output, list) else 1
    if got == (1 if request.asked is None else request.asked.texts):
        return
    if path_of(request.route) not in (CHAT_ROUTE, COMPLETIONS_ROUTE):
        return
    wanted = _wanted(fastjson.decode(request.body))
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
