"""What stops a batch at its first answer is about what all rows have in common: the URL and the headers of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from tests.contract.batch_play import job_of, write_rows
from tests.contract.inference_server import Reply, Request, serving

TEXTS = ["a", "b" * 60_000, "?x=1&y=/../%00#é\r\nX-Injected: 1", "http://elsewhere/v1"]
CHAT = [{"role": "user", "content": "{text}"}]
JOBS: dict[str, dict[str, Any]] = {
    "chat": {"prompt": "{text}"},
    "messages": {"messages": CHAT, "system": "{text}", "row_parameters": {"user": "{text}"}},
    "generate": {"prompt": "{text}", "task": "text-generation"},
    "embed": {"prompt": "{text}", "task": "embedding", "engine": "tei", "rows_per_request": 1},
    "classify": {"prompt": "{text}", "task": "text-classification", "engine": "tei", "rows_per_request": 1},
    "toolkit": {"prompt": "{text}", "task": "text-classification", "engine": "toolkit"},
    "route": {"body": {"inputs": "{text}", "url": "{text}", "model": "{text}"}, "route": "/own?api-version=1"},
    "lines": {"input_format": "openai-batch"},
}


@pytest.mark.parametrize("name", JOBS)
def test_no_part_of_a_row_is_in_the_url_or_a_header(tmp_path: Path, name: str) -> None:
    """So a 414 or a 431 says of a row what it says of all, and the batch stops: no row has failed."""
    lines = [
        {
            "custom_id": text[:99],
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": text}]},
        }
        for text in TEXTS
    ]
    write_rows(tmp_path, lines if name == "lines" else [{"text": text} for text in TEXTS])

    def answer(request: Request) -> Reply:
        return Reply(400, {"error": "whatever the row says"})

    with serving(answer) as server:
        run_batch(job_of(server.url, tmp_path, max_error_rate=None, **{"prompt": None, **JOBS[name]}))
        posts = server.posts
    heads = {
        (post.path, *(item for item in post.headers.items() if item[0].lower() != "content-length")) for post in posts
    }
    assert (len(TEXTS), 1) == (len(posts), len(heads))
