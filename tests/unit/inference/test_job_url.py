"""The URL of a job: refused when the job is made, in words about the URL, where it cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.inference.http.address import Address, endpoint_url, url_of, without_secrets


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
        ("http://host#part", "url is not valid .*contains '#'"),
        ("https://host/v1?api-version=1#", "url is not valid .*contains '#'"),
    ],
)
def test_a_url_that_is_none_is_refused(tmp_path: Path, url: str, words: str) -> None:
    """With its value."""
    with pytest.raises(ValueError, match=words):
        job(url, tmp_path)


@pytest.mark.parametrize(
    ("url", "route", "expected"),
    [
        ("http://host", "/v1/models", "/v1/models"),
        ("http://host/?", "/v1/models", "/v1/models"),
        ("http://host?api-version=1", "/v1/models", "/v1/models?api-version=1"),
        ("http://host/v1/?api-version=1", "/v1/models", "/v1/models?api-version=1"),
        ("http://host/v1/chat/completions?a=/v1&b=?", "/x", "/x?a=/v1&b=?"),
        ("http://host/deep/?a=1", "/x?b=2", "/deep/x?b=2&a=1"),
    ],
)
def test_a_query_is_sent_behind_every_route(url: str, route: str, expected: str) -> None:
    """By each transport and client: services want their version or a key with every request."""
    assert expected == Address.of(url).target(route)
    assert f"http://host{expected}" == url_of(endpoint_url(url), route)


def test_a_query_is_not_shown() -> None:
    """It may be a key."""
    assert "https://host:8/path" == without_secrets("https://me:secret@host:8/path?code=secret")
