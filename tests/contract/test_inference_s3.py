"""A batch from and to S3, over a real S3 server: parts instead of appends, a lock without a lock. The server is
moto's."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped, OutputConflictError
from tests.contract.inference_server import Reply, Request, chat_reply, serving

ROWS = 300


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[UPath]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"bucket-{uuid.uuid4().hex[:8]}"  # moto keeps its buckets from one server to the next
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    path = UPath(f"s3://{name}/batch", endpoint_url=f"http://{host}:{port}")
    path.fs.mkdir(name)
    (path / "in.jsonl").write_text("\n".join(json.dumps({"text": f"question {n}"}) for n in range(ROWS)))
    yield path
    server.stop()


def slow(request: Request) -> Reply:
    return chat_reply(request.body["messages"][0]["content"][::-1], delay=0.03)


def job(url: str, bucket: UPath, **options: Any) -> BatchJob:
    return BatchJob(
        url=url,
        task="chat-completion",
        engine="tgi",
        input_path=bucket / "in.jsonl",
        output_path=bucket / "out",
        prompt="{text}",
        max_concurrency=8,
        checkpoint_interval=0.2,
        **options,
    )


def names(folder: UPath) -> set[str]:
    folder.fs.invalidate_cache()
    return {path.name for path in folder.iterdir()}


def test_a_batch_on_s3_is_taken_up_finished_and_done_again(bucket: UPath) -> None:
    """Stopped in the middle it goes on; finished it sends nothing; overwritten it sends everything."""
    with serving(slow) as server:
        one = job(server.url, bucket)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 100)
        sent = len(server.posts)
        assert len(names(bucket / "out" / "_journal")) >= 2
        report = run_batch(one)
        assert (ROWS, sent, ROWS) == (report.rows, report.resumed, len(server.posts))
        assert run_batch(one).requests == 0
        assert {"results-00000.jsonl", "errors.jsonl", "manifest.json"} == names(bucket / "out")
        lines = (bucket / "out" / "results-00000.jsonl").read_text().splitlines()
        assert [f"question {n}"[::-1] for n in range(ROWS)] == [json.loads(line)["output"] for line in lines]
        assert run_batch(replace(one, on_existing="overwrite")).requests == ROWS


def test_two_runs_at_once_on_s3_do_not_mix(bucket: UPath) -> None:
    """One of them says that there is another."""
    outcomes: list[Any] = []

    def run(one: BatchJob) -> None:
        try:
            outcomes.append(run_batch(one).rows)
        except OutputConflictError as error:
            outcomes.append(error)

    with serving(slow) as server:
        threads = [threading.Thread(target=run, args=(job(server.url, bucket),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [ROWS] == [outcome for outcome in outcomes if isinstance(outcome, int)]
