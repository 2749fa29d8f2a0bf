"""Checks that an answer has as many choices as requested: a row that asked for three is not finished with one.

The request's `asked` has the number.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.engines.dialects.openai import CHAT_ROUTE, COMPLETIONS_ROUTE
from airflow_provider_hf_endpoints.inference.engines.names import gives_text
from airflow_provider_hf_endpoints.inference.engines.routes import path_of
from airflow_provider_hf_endpoints.inference.errors import FewerChoicesError, MalformedAnswerError
from airflow_provider_hf_endpoints.inference.requests.render import RowRequest
from airflow_provider_hf_endpoints.inference.wire import InferenceResult


def require_choices(result: InferenceResult, request: RowRequest) -> None:
    """Check the number of choices, if the route returns choices.

    :raises FewerChoicesError: there are fewer than requested, and all are complete
    :raises MalformedAnswerError: there are more
    """
    got = len(result.output) if isinstance(result.output, list) else 1
    wanted = 1 if request.asked is None else request.asked.texts
    if got == wanted or wanted == 0 or not _gives_choices(request, wanted):
        return
    words = f"{got} choices, but the request asks for {wanted}"
    if got > wanted:
        raise MalformedAnswerError(words, usage=result.usage)
    words += ": the answer is whole, so the engine seems to ignore `n`, and the row is not sent again"
    raise FewerChoicesError(words, usage=result.usage)


def _gives_choices(request: RowRequest, wanted: int) -> bool:
    path = path_of(request.route)
    # A pipeline of the toolkit may be a custom handler, whose answer is free unless several choices are requested.
    return path in (CHAT_ROUTE, COMPLETIONS_ROUTE) or (path == "/" and wanted > 1 and gives_text(request.task))
