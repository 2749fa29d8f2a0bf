"""`hf://` paths: found by Airflow, read with the connection's token, refused where a batch would write."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from huggingface_hub import HfFileSystem
from upath import UPath

from airflow_provider_hf_endpoints.fs.hub import get_fs
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.output import require_writer

TOKEN = "hf_hub_secret_token"
CONNECTION = {"conn_type": "hf_endpoints", "password": TOKEN, "extra": {"hub_url": "http://127.0.0.1:9"}}


def test_airflow_finds_it_and_gives_it_the_connections_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path shows neither token nor storage options."""
    monkeypatch.setenv("AIRFLOW_CONN_HUB", json.dumps(CONNECTION))
    path = ObjectStoragePath("hf://hub@datasets/org/name@main/data/a.jsonl")
    assert isinstance(path.fs, HfFileSystem)
    assert (TOKEN, "http://127.0.0.1:9") == (path.fs.token, path.fs.endpoint)
    assert "datasets/org/name@main/data" == path.parent.path
    assert TOKEN not in f"{path} {path!r} {path.fs!r} {path.parent / 'b.jsonl'!r}"


def test_the_default_connection_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a path that names none."""
    monkeypatch.setenv("AIRFLOW_CONN_HF_ENDPOINTS_DEFAULT", json.dumps(CONNECTION))
    assert TOKEN == get_fs(None, {}).token


def test_an_output_on_the_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of the journal and each sign of life of the lock would be a commit."""
    with pytest.raises(BatchInputError, match="every file written is a commit"):
        require_writer(UPath("hf://datasets/org/name/out/results-00000.jsonl"))
