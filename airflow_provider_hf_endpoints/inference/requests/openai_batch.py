"""OpenAI Batch files as they are: lines of `custom_id`, `method`, `url`, `body`, each of them a whole request.

A file that was made for OpenAI or for vLLM's `run-batch` runs unchanged. Its model names are not the endpoint's,
which serves one model: `model` in every body becomes that one, where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference import fastjson
from airflow_provider_hf_endpoints.inference.engines.discovery import Target
from airflow_provider_hf_endpoints.inference.engines.names import CHAT, EMBED, GENERATE
from airflow_provider_hf_endpoints.inference.input_errors import BadLineError
from airflow_provider_hf_endpoints.inference.requests.render import Render, RowRequest

ID_COLUMN = "custom_id"
COLUMNS = [ID_COLUMN, "url", "body"]
_TASKS = {"/v1/chat/completions": CHAT, "/v1/completions": GENERATE, "/v1/embeddings": EMBED}


def compile_lines(target: Target) -> Render:
    """A function from such a line to its request; it raises `BadLineError` for one that is none."""

    def render(row: Mapping[str, Any]) -> RowRequest:
        url, body = row.get("url"), row.get("body")
        if row.get("method", "POST") != "POST" or url not in _TASKS or not isinstance(body, dict):
            raise BadLineError(
                f"a line of an OpenAI Batch needs method POST, a body, and one of {', '.join(_TASKS)} as url; "
                f"got {row.get('method')!r}, {type(body).__name__}, {url!r}"
            )
        if body.get("stream"):
            raise BadLineError("an OpenAI Batch cannot stream")
        if target.model is not None:
            body = {**body, "model": target.model}
        return RowRequest(url, fastjson.encode(body), _TASKS[url])

    return render
