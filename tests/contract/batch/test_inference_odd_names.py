"""Unusual names, values and addresses in a batch: some before its first row, some beside its rows."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from tests.contract.batch_play import job_of, planned, questions, run_shards, write_rows
from tests.contract.inference_server import Reply, Request, chat_reply, serving

HALF = "\ud800"  # a lone surrogate: text in Python and in JSON, and none in UTF-8
NO_UTF8 = os.fsdecode(b"in\xff.jsonl")  # a name that some tool wrote in Latin-1


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses such names")
@pytest.mark.parametrize("output", ["out", os.fsdecode(b"out\xff.jsonl")])
def test_a_file_whose_name_is_no_utf8_is_read_and_finished(tmp_path: Path, output: str) -> None:
    """Its name stands in identity and manifest; the same job, run again, finds itself finished."""
    write_rows(tmp_path, questions(3), NO_UTF8)
    with serving() as server:
        job = job_of(server.url, tmp_path, input_path=tmp_path / NO_UTF8, output_path=tmp_path / output)
        assert run_batch(job).succeeded == 3
        sent = len(server.posts)
        assert run_batch(job).succeeded == 3
        assert sent == len(server.posts)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses such names")
def test_shards_of_a_file_whose_name_is_no_utf8(tmp_path: Path) -> None:
    """The plan holds the name, too."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    write_rows(folder, questions(8))
    shards = planned(folder, shards=2)
    with serving() as server:
        run_shards(job_of(server.url, folder), shards)
        assert 8 == len(server.posts)


def test_a_model_whose_name_is_no_utf8_does_not_undo_what_was_paid(tmp_path: Path) -> None:
    """The engine names its model; the manifest, written last, holds the name as JSON escapes it."""

    def answer(request: Request) -> Reply:
        if request.path.endswith("/v1/models"):
            return Reply(json={"object": "list", "data": [{"id": HALF, "owned_by": "vllm"}]})
        return Reply(404, {}) if request.method == "GET" else chat_reply("ok")

    write_rows(tmp_path, questions(1))
    with serving(answer) as server:
        assert run_batch(job_of(server.url, tmp_path, engine="vLLM")).succeeded == 1
    assert HALF == json.loads((tmp_path / "out/manifest.json").read_text())["report"]["model"]


@pytest.mark.parametrize("options", [{"prompt": HALF + "{text}"}, {"parameters": {"stop": HALF}}, {"system": HALF}])
def test_a_text_of_the_job_that_is_no_utf8_is_sent_as_json_has_it(tmp_path: Path, options: dict[str, Any]) -> None:
    """The identity of the job is made of such a text, too."""
    write_rows(tmp_path, questions(1))
    with serving() as server:
        run_batch(job_of(server.url, tmp_path, **options))
        assert json.dumps(HALF)[1:-1] in json.dumps(server.posts[0].body)


@pytest.mark.parametrize("options", [{"token": "a\nb"}, {"token": "t€"}, {"url": "http://"}])
@pytest.mark.parametrize("transport", ["auto", "httpx"])
def test_an_address_or_a_token_that_is_none_is_refused_as_input(
    tmp_path: Path, options: dict[str, str], transport: str
) -> None:
    """With what to check, and no other exception."""
    write_rows(tmp_path, questions(1))
    url = options.get("url", "http://127.0.0.1:9")
    with pytest.raises(BatchInputError, match=r"cannot connect to .*Check the URL, the token"):
        run_batch(job_of(url, tmp_path, transport=transport, token=options.get("token")))


@pytest.mark.parametrize("url", ["https://[::1", "http://h:99999"])
def test_an_address_that_is_none_is_refused_with_the_job(tmp_path: Path, url: str) -> None:
    """The error shows the address."""
    with pytest.raises(ValueError, match=f"^url is not valid .*{re.escape(url)}"):
        job_of(url, tmp_path)


def test_certificates_that_are_not_there_are_told_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE that names no file is a mistake of the environment, not of the program."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    write_rows(tmp_path, questions(1))
    with pytest.raises(BatchInputError, match="SSL_CERT_FILE"):
        run_batch(job_of("https://127.0.0.1:9", tmp_path))


def test_nan_in_a_row_of_json_is_as_missing_as_null(tmp_path: Path) -> None:
    """As in CSV and Parquet: a prompt or a parameter of nothing is the row's error, and a kept column is null."""
    rows: list[Any] = ['{"text": NaN, "s": 1}', '{"text": "b", "s": -Infinity}', '{"text": "c", "s": 1, "k": NaN}']
    write_rows(tmp_path, rows)
    with serving() as server:
        job = job_of(server.url, tmp_path, row_parameters={"seed": "{s}"}, keep_columns=["k"], max_error_rate=None)
        report = run_batch(job)
        assert ["c"] == [request.body["messages"][0]["content"] for request in server.posts]
    assert {"bad_row": 2} == report.errors
