"""OpenAI Batch files: lines with `custom_id`, `method`, `url`, `body`, each of them a whole request.

A file made for OpenAI or for vLLM's `run-batch` runs unchanged. Its model names are not the endpoint's. The endpoint
serves one model, which replaces `model` in every body, if known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines import asked_in_body
from airflow_provider_hf_endpoints.inference.engines.dialects.openai import (
    CHAT_ROUTE,
    COMPLETIONS_ROUTE,
    EMBEDDINGS_ROUTE,
)
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.routes import task_of
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError
from airflow_provider_hf_endpoints.inference.requests.render import Render, RowRequest

ID_COLUMN = "custom_id"
COLUMNS = [ID_COLUMN, "url", "body"]
_ROUTES = {
    **{route: route for route in (CHAT_ROUTE, COMPLETIONS_ROUTE, EMBEDDINGS_ROUTE)},
    # Azure's form.
    **{route.removeprefix("/v1"): route for route in (CHAT_ROUTE, COMPLETIONS_ROUTE, EMBEDDINGS_ROUTE)},
    # The form of vLLM's `run-batch`.
    **{route: route for route in ("/v1/score", "/score", "/v1/rerank", "/v2/rerank", "/rerank")},
}


def compile_lines(target: Target) -> Render:
    """A function from such a line to its request. It raises `BadLineError` for a line that is not valid."""

    def render(row: Mapping[str, Any]) -> RowRequest:
        url, body = row.get("url"), row.get("body")
        route = _ROUTES.get(url) if isinstance(url, str) else None
        if (row.get("method") or "POST") != "POST" or route is None or not isinstance(body, dict):
            raise BadLineError(
                f"a line of an OpenAI Batch file needs method POST, a body, and one of {', '.join(_ROUTES)} as url, "
                f"not {row.get('method')!r}, {type(body).__name__}, {url!r}"
            )
        if body.get("stream"):
            raise BadLineError("an OpenAI Batch line sets `stream`, but a batch reads complete responses. Leave it out")
        if target.model is not None:
            body = {**body, "model": target.model}
        task = task_of(route, "", None)
        asked = asked_in_body(target.dialect, task, body, target.engine, as_it_came=True)
        return RowRequest(route, fastjson.encode(body), task, asked)

    return render
