"""The URL of a job: refused when the job is made, in words about the URL, where it cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob


def job(url: str, folder: Path) -> BatchJob:
    return BatchJob(
        url=url, task="chat-completion", input_path=folder / "in.jsonl", output_path=folder / "out.jsonl", prompt="{a}"
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host", "must start with https"),
        ("localhost:80", "must start with https"),
        (" http://host", "must start with https"),
        ("http://[::1", r"url is not valid .*http://\[::1"),
        ("http://host:99999", "url is not valid .*Port"),
        ("http://host:abc", "url is not valid .*Port"),
    ],
)
def test_a_url_that_is_none_is_refused(tmp_path: Path, url: str, words: str) -> None:
    """With its value."""
    with pytest.raises(ValueError, match=words):
        job(url, tmp_path)
