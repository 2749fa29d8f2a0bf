"""`hf://` paths: found by Airflow, read over HTTP with the connection's token, refused where a batch would write."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from huggingface_hub import HfFileSystem
from upath import UPath

from airflow_provider_hf_endpoints.fs.hub import get_fs
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.output.writers import require_writer
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.hub_server import Hub, hub_server
from tests.contract.inference_server import echo, serving

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


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"extra": {"hub_url": "http://hub.local/api/whoami-v2"}}, "http://hub.local"),
        ({"host": "http://control.local"}, "http://control.local"),
        ({"host": "http://control.local", "extra": {"hub_url": "https://huggingface.co"}}, "https://huggingface.co"),
        ({}, "https://huggingface.co"),
    ],
)
def test_the_token_goes_to_the_connections_own_hub(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], endpoint: str
) -> None:
    """Which is the control plane's host, where that is another than Hugging Face's: the token is of that one."""
    monkeypatch.setenv("AIRFLOW_CONN_HUB", json.dumps({"conn_type": "hf_endpoints", "password": TOKEN, **given}))
    assert (TOKEN, endpoint) == (get_fs("hub").token, get_fs("hub").endpoint)


def test_an_output_on_the_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of the journal and each sign of life of the lock would be a commit."""
    with pytest.raises(BatchInputError, match="each written file is a commit"):
        require_writer(UPath("hf://datasets/org/name/out/results-00000.jsonl"))


def lines(*numbers: int) -> bytes:
    return b"".join(b'{"text": "question %d"}\n' % n for n in numbers)


def table(*numbers: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": [f"question {n}" for n in numbers], "unused": ["x" * 500] * len(numbers)}), file)
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With datasets, and connections `good` and `bad`, whose token it does not know."""
    many = {f"data/part-{n:03d}.jsonl": lines(n) for n in range(120)}
    files = {
        "org/lines": {"README.md": b"#", "data/a.jsonl": lines(*range(200)), "data/b.jsonl": lines(200)},
        "org/many": many,
        "org/tables": {"data/train/a.parquet": table(*range(50)), "data/train/b.parquet": table(*range(50, 60))},
        "org/gated": {"a.jsonl": lines(1)},
    }
    for name in os.environ:
        if name.startswith(("HF_", "HUGGING")):
            monkeypatch.delenv(name)
    with hub_server(files, TOKEN) as server:
        server.gated.add("org/gated")
        for name, token in (("GOOD", TOKEN), ("BAD", "hf_hub_wrong_token")):
            connection = {**CONNECTION, "password": token, "extra": {"hub_url": f"{server.url}/"}}
            # Airflow keeps a file system for each connection's name: every test has names of its own.
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}_{server.port}", json.dumps(connection))
        yield server


def path_in(hub: Hub, path: str) -> ObjectStoragePath:
    conn_id, _, place = path.partition("@")
    return ObjectStoragePath(f"hf://{conn_id}_{hub.port}@datasets/org/{place}")


def batch(folder: Path, path: ObjectStoragePath, url: str = "http://127.0.0.1:9", **options: Any) -> BatchJob:
    settings: dict[str, Any] = {"task": "chat-completion", "engine": "tgi", "prompt": "{text}", "max_concurrency": 8}
    return BatchJob(url=url, input_path=path, output_path=folder / "out.jsonl", **{**settings, **options})


def answers(folder: Path) -> list[str]:
    return [json.loads(line)["output"][::-1] for line in (folder / "out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("lines/data/a.jsonl", 200),
        ("lines@main/data/*.jsonl", 201),
        ("lines/data", 201),
        ("many/**/*.jsonl", 120),
        ("tables/data/train/*.parquet", 60),
    ],
)
def test_a_dataset_is_read_over_http(
    tmp_path: Path, hub: Hub, caplog: pytest.LogCaptureFixture, path: str, rows: int
) -> None:
    """A file, a pattern, a folder, a listing of several pages, large files stored elsewhere. The connection's token
    is sent to the Hub only, and the log has no line per request.
    """
    caplog.set_level(logging.INFO)
    with serving(echo) as server:
        assert rows == run_batch(batch(tmp_path, path_in(hub, f"good@{path}"), server.url)).succeeded
    assert [f"question {n}" for n in range(rows)] == answers(tmp_path)
    elsewhere = [token for _, where, token in hub.requests if where.startswith("/cdn/")]
    assert (path.startswith("tables"), {None} if elsewhere else set()) == (bool(elsewhere), set(elsewhere))
    assert {TOKEN} == {token for _, where, token in hub.requests if not where.startswith("/cdn/")}
    assert [] == [record.getMessage() for record in caplog.records if "HTTP Request" in record.getMessage()]
    assert TOKEN not in caplog.text + "".join(each.read_text() for each in tmp_path.iterdir())


def test_shards_of_a_dataset_read_their_ranges(tmp_path: Path, hub: Hub) -> None:
    """A line that was cut belongs to one of them; a dataset that changed meanwhile is refused."""
    with serving(echo) as server:
        job = batch(tmp_path, path_in(hub, "good@lines/data/*.jsonl"), server.url)
        shards = plan_batch(job.input_path, job.output_path, shards=3)
        for shard in shards:
            run_batch(replace(job, shard=shard))
        assert 201 == merge_shards(job.output_path).rows == len(server.posts)
        assert [f"question {n}" for n in range(201)] == answers(tmp_path)
        other = replace(job, output_path=tmp_path / "other.jsonl")
        shards = plan_batch(other.input_path, other.output_path, shards=3)
        hub.files["org/lines"]["data/a.jsonl"] = lines(*range(1, 201))
        with pytest.raises(BatchInputError, match=r"data/a.jsonl changed since the batch was planned"):
            run_batch(replace(other, shard=shards[0]))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("good@lines/data/none.jsonl", r"data/none.jsonl does not exist. Check input_path$"),
        ("good@lines/none/*.jsonl", "matches no file$"),
        ("good@none/a.jsonl", "does not exist: the repository does not exist, or the token may not see it"),
        ("good@none/*.jsonl", "matches no file: the repository does not exist, or the token may not see it"),
        ("good@lines@v9/data/a.jsonl", "the revision does not exist"),
        ("good@gated/a.jsonl", r"terms of the gated repository \(403\)"),
        ("bad@lines/data/a.jsonl", r"does not accept the token \(401\); the token comes from the conn"),
        ("bad@lines/data/*.jsonl", r"does not accept the token \(401\)"),
    ],
)
def test_what_the_hub_refuses_is_said_before_anything_is_sent(tmp_path: Path, hub: Hub, path: str, words: str) -> None:
    """Which of them it is, and where the token came from."""
    job = batch(tmp_path, path_in(hub, path))
    for given in (job.input_path, [job.input_path, path_in(hub, "good@lines/data/b.jsonl")]):
        with pytest.raises(BatchInputError, match=words) as caught:
            run_batch(replace(job, input_path=given))
        assert "_token" not in str(caught.value)


def test_a_file_that_is_new_in_a_dataset_is_found(tmp_path: Path, hub: Hub) -> None:
    """Though its folder was listed before."""
    job = batch(tmp_path, path_in(hub, "good@lines/data/c.jsonl"))
    with pytest.raises(BatchInputError, match="does not exist"):
        run_batch(job)
    hub.files["org/lines"]["data/c.jsonl"] = lines(7)
    with serving(echo) as server:
        assert 1 == run_batch(replace(job, url=server.url)).succeeded
