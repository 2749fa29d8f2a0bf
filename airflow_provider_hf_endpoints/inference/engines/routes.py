"""How the answer of a route is read. On OpenAI's routes, engines of every dialect answer in OpenAI's form."""

from __future__ import annotations

from airflow_provider_hf_endpoints.inference.engines.dialects.openai import (
    CHAT_ROUTE,
    COMPLETIONS_ROUTE,
    EMBEDDINGS_ROUTE,
    TRANSCRIBE_ROUTE,
)
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE, TRANSCRIBE, canonical_task

#: In place of a task: the JSON of the answer is the output.
AS_IT_IS = "the answer's JSON"
_OPENAI = {
    CHAT_ROUTE: CHAT,
    COMPLETIONS_ROUTE: GENERATE,
    EMBEDDINGS_ROUTE: EMBED,
    TRANSCRIBE_ROUTE: TRANSCRIBE,
}


def path_of(route: str) -> str:
    """The route's path: with a leading slash, without a query."""
    path = route.partition("?")[0].rstrip("/")
    return path if path.startswith("/") else f"/{path}"


def is_openais(route: str) -> bool:
    """Whether the route is one of OpenAI's, whichever engine serves it."""
    return path_of(route) in _OPENAI


def task_of(route: str, task: str, own: str | None) -> str:
    """How the answer of a route that a caller chose is read.

    :param task: the caller's task
    :param own: the route of that task on this engine, None if it has none
    """
    found = _OPENAI.get(path_of(route))
    if found is not None:
        return found
    return canonical_task(task) if own is not None and path_of(own) == path_of(route) else AS_IT_IS
