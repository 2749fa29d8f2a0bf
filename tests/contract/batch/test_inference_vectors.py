"""Vectors of a batch have one length, however their requests are made and whichever run asked for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped, OutputConflictError
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from tests.contract.batch_play import job_of, planned, results, write_rows
from tests.contract.inference_server import Reply, Request, chat_reply, serving

ROUTE = "/v1/embeddings"


def embed(request: Request) -> Reply:
    """A vector of as many numbers as asked for, else two; three for a text with a 5."""
    if "messages" in request.body:
        return chat_reply(request.body["messages"][0]["content"])
    texts = request.body.get("input", request.body.get("inputs"))
    texts = texts if isinstance(texts, list) else [texts]
    most = request.body.get("dimensions", 2)
    vectors = [[0.5] * (most + ("5" in text)) for text in texts]
    if request.path.endswith("/embed"):
        return Reply(json=vectors)
    return Reply(json={"data": [{"index": n, "embedding": each} for n, each in enumerate(vectors)]})


def line_of(number: int, **options: Any) -> dict[str, Any]:
    body = {"model": "m", "input": f"text {number}", **options}
    return {"custom_id": f"{number}", "method": "POST", "url": ROUTE, "body": body}


JOBS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "{text}"},
    "body": {"body": {"input": "{text}", "user": "{id}"}, "prompt": None},
    "body with a route": {"body": {"input": "{text}", "user": "{id}"}, "prompt": None, "route": ROUTE},
    "chat task": {"body": {"input": ["{text}"]}, "prompt": None, "route": ROUTE, "task": "chat-completion"},
    "tei": {"body": {"inputs": "{text}", "truncate": True}, "prompt": None, "engine": "tei"},
    "row parameters": {"prompt": "{text}", "row_parameters": {"truncate": "{cut}"}, "engine": "tei"},
    "lines": {"prompt": None, "input_format": "openai-batch"},
}


@pytest.mark.parametrize("name", JOBS)
def test_a_vector_of_another_length_is_an_error_however_it_is_asked_for(tmp_path: Path, name: str) -> None:
    """Its row fails, and no other."""
    rows = [{"id": f"r{n}", "text": f"text {n}", "cut": True} for n in range(9)]
    write_rows(tmp_path, [line_of(n) for n in range(9)] if name == "lines" else rows)
    options = {"task": "embedding", "engine": "vLLM", "model": "m", "max_concurrency": 1, "order_window": 0}
    with serving(embed) as server:
        report = run_batch(
            job_of(server.url, tmp_path, **{**options, "max_attempts": 2, "max_error_rate": None, **JOBS[name]})
        )
    assert (8, 1) == (report.succeeded, report.failed)
    words = "a vector of 3 numbers, but the first vector of the batch has 2"
    assert words in json.dumps(results(tmp_path)[5]["error"])


def test_a_vector_per_token_is_another_answer_than_a_vector_per_text(tmp_path: Path) -> None:
    """The numbers of each are as many, but another pipeline has answered."""

    def answer(request: Request) -> Reply:
        return Reply(json=[[[0.5, 0.5]] * 3] if "5" in request.body["inputs"] else [[0.5, 0.5]])

    write_rows(tmp_path, [{"text": f"text {n}"} for n in range(9)])
    options = {"task": "embedding", "engine": "huggingface", "max_concurrency": 1, "order_window": 0}
    with serving(answer) as server:
        job = job_of(server.url, tmp_path, rows_per_request=1, max_attempts=1, max_error_rate=None, **options)
        report = run_batch(job)
    assert (8, 1) == (report.succeeded, report.failed)
    words = "a vector of 3 levels of lists, but the first vector of the batch has 2"
    assert words in json.dumps(results(tmp_path)[5]["error"])


@pytest.mark.parametrize("form", ["parameters", "lines", "row_parameters"])
def test_an_engine_that_ignores_the_dimensions_is_pointed_out_once(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its vectors are valid and alike, so no other check would find it."""
    rows = [line_of(n, dimensions=8) if form == "lines" else {"id": n, "text": "a", "n": 8} for n in range(4)]
    write_rows(tmp_path, rows)
    options: dict[str, dict[str, Any]] = {
        "parameters": {"parameters": {"dimensions": 8}},
        "row_parameters": {"row_parameters": {"dimensions": "{n}"}},
        "lines": {"prompt": None, "input_format": "openai-batch"},
    }

    def answer(request: Request) -> Reply:
        return embed(replace(request, body={**request.body, "dimensions": 2}))

    with serving(answer) as server:
        run_batch(job_of(server.url, tmp_path, task="embedding", engine="vLLM", model="m", **options[form]))
    told = [each for each in caplog.messages if "ask for 8 dimensions, but a vector has 2" in each]
    assert 1 == len(told)


@pytest.mark.parametrize("form", ["body", "lines", "row_parameters"])
def test_rows_may_ask_for_different_lengths(tmp_path: Path, form: str) -> None:
    """Each is compared with those that asked alike; answers to chats among the lines are not compared."""
    sizes = [2, 4, 2, 4, 8, 2]
    rows: list[Any] = [{"text": "a", "n": size} for size in sizes]
    options: dict[str, Any] = {"prompt": None, "body": {"input": "{text}", "dimensions": "{n}"}}
    if form == "row_parameters":
        options = {"row_parameters": {"dimensions": "{n}"}}
    elif form == "lines":
        rows = [line_of(n, input="a", dimensions=size) for n, size in enumerate(sizes)]
        chat = {"messages": [{"role": "user", "content": "aGVsbG8="}], "n": 1}
        rows += [{"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": chat} for n in (0, 1)]
        options = {"prompt": None, "input_format": "openai-batch"}
    write_rows(tmp_path, rows)
    with serving(embed) as server:
        report = run_batch(job_of(server.url, tmp_path, task="embedding", engine="vLLM", model="m", **options))
    assert (len(rows), 0) == (report.rows, report.failed)


@pytest.mark.parametrize("name", ["prompt", "body", "tei"])
def test_a_resume_goes_by_the_vectors_of_the_run_before(tmp_path: Path, name: str) -> None:
    """Another model behind the endpoint by now: its vectors do not mix with those of the first."""
    write_rows(tmp_path, [{"id": n, "text": f"text {n}"} for n in range(60, 100)])
    options = {"task": "embedding", "engine": "vLLM", "model": "m", "max_concurrency": 1, "rows_per_request": 1}
    options = {**options, "max_attempts": 1, "max_error_rate": None, "order_window": 0, **JOBS[name]}
    options["rows_per_request"] = "auto" if "body" in options else 1
    changed: list[bool] = []

    def answer(request: Request) -> Reply:
        texts = request.body.get("input", request.body.get("inputs"))
        count = len(texts) if isinstance(texts, list) else 1
        vectors = [[0.5] * (3 if changed else 2)] * count
        delay = 0.3 if request.number >= 9 and not changed else 0.0  # until the batch has seen that it has to stop
        if request.path.endswith("/embed"):
            return Reply(json=vectors, delay=delay)
        data = [{"index": n, "embedding": each} for n, each in enumerate(vectors)]
        return Reply(json={"data": data}, delay=delay)

    with serving(answer) as server:
        with pytest.raises(BatchStopped):
            run_batch(job_of(server.url, tmp_path, **options), stop=lambda: len(server.posts) >= 9)
        done = len(results(tmp_path))
        changed.append(True)
        report = run_batch(job_of(server.url, tmp_path, **options))
    assert (done, 40 - done) == (report.succeeded, report.failed)
    assert "the first vector of the batch has 2" in str(results(tmp_path)[-1]["error"])


@pytest.mark.parametrize("name", ["prompt", "body", "tei", "lines"])
def test_shards_with_vectors_of_different_lengths_are_not_merged(tmp_path: Path, name: str) -> None:
    """The error names both shards and both lengths; nothing is published until the wrong shard is run again."""
    rows = [line_of(n) if name == "lines" else {"id": n, "text": f"text {n}"} for n in range(60, 100)]
    write_rows(tmp_path, rows)
    options = {"task": "embedding", "engine": "vLLM", "model": "m", "concurrent_shards": 1, **JOBS[name]}
    form = "openai-batch" if name == "lines" else "auto"
    shards, longer = planned(tmp_path, 3, input_format=form), [False]

    def answer(request: Request) -> Reply:
        texts = request.body.get("input", request.body.get("inputs"))
        count = len(texts) if isinstance(texts, list) else 1
        vectors = [[0.5] * (3 if longer[0] else 2)] * count
        if request.path.endswith("/embed"):
            return Reply(json=vectors)
        return Reply(json={"data": [{"index": n, "embedding": each} for n, each in enumerate(vectors)]})

    with serving(answer) as server:
        job = job_of(server.url, tmp_path, **options)
        for shard in shards:
            longer[0] = shard.number == 1
            run_batch(replace(job, shard=shard))
        words = "vectors of shard 00001-of-00003 have 3 numbers, but those of shard 00000-of-00003 have 2"
        with pytest.raises(OutputConflictError, match=words):
            merge_shards(tmp_path / "out")
        assert ["_shards"] == [path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith("journal")]
        for path in (tmp_path / "out/_shards/00001-of-00003").iterdir():
            path.unlink() if path.is_file() else None
        longer[0] = False
        run_batch(replace(job, shard=shards[1]))
    assert (40, 0) == ((report := merge_shards(tmp_path / "out")).rows, report.failed)
