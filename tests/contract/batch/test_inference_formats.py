"""Inputs in other forms than JSONL of one's own: CSV, and OpenAI Batch files as they are."""

from __future__ import annotations

import base64
import gzip
import json
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_provider_hf_endpoints.inference import errors
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted, BatchInputError, BatchStopped
from tests.contract.inference_server import Reply, Request, chat_reply, echo, serving


def job(url: str, folder: Path, name: str, **options: Any) -> BatchJob:
    return BatchJob(
        url=url,
        token="hf_batch_secret",
        task="chat-completion",
        input_path=folder / name,
        output_path=folder / "out.jsonl",
        max_concurrency=4,
        **options,
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("packed", [False, True])
def test_a_csv_with_names_in_its_first_line(tmp_path: Path, packed: bool) -> None:
    """Quotes, line breaks and a byte order mark are the csv module's business; a row of another width is an error
    row."""
    text = '\ufeffid,text\na,"one, ""two"""\nb,"line\nbreak"\nc\nd,x,y\ne,last\n'
    name = "in.csv.gz" if packed else "in.csv"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with serving(echo) as server:
        report = run_batch(job(server.url, tmp_path, name, prompt="{text}", keep_columns=("id",)))
    lines = lines_of(tmp_path / "out.jsonl")
    assert ['one, "two"'[::-1], "line\nbreak"[::-1], None, None, "tsal"] == [line["output"] for line in lines]
    assert ({"bad_row": 2}, {"id": "b"}) == (report.errors, lines[1]["columns"])


def batch_line(name: str, content: str, **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-something", "messages": [{"role": "user", "content": content}], "max_tokens": 5}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}


def test_an_openai_batch_runs_unchanged_and_is_answered_in_its_form(tmp_path: Path) -> None:
    """The model becomes the endpoint's own; errors stand where OpenAI puts them."""
    rows = [
        batch_line("a", "first"),
        batch_line("b", "refused"),
        batch_line("c", "third", url="/v1/images/generations"),
        batch_line("d", "fourth"),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def answer(request: Request) -> Reply:
        if request.method == "POST" and request.body["messages"][0]["content"] == "refused":
            return Reply(400, {"error": {"message": "no"}})
        return echo(request)

    with serving(answer) as server:
        report = run_batch(job(server.url, tmp_path, "in.jsonl", input_format="openai-batch"))
        assert {"org/model"} == {request.body["model"] for request in server.posts}
        assert 5 == server.posts[0].body["max_tokens"]
    lines = lines_of(tmp_path / "out.jsonl")
    assert ["a", "b", "c", "d"] == [line["custom_id"] for line in lines]
    first, second, third, fourth = lines
    assert (200, None) == (first["response"]["status_code"], first["error"])
    assert "tsrif" == first["response"]["body"]["choices"][0]["message"]["content"]
    assert (400, "bad_request") == (second["response"]["status_code"], second["error"]["code"])
    assert (None, "bad_row") == (third["response"], third["error"]["code"])
    assert "htruof" == fourth["response"]["body"]["choices"][0]["message"]["content"]
    assert (2, {"bad_request": 1, "bad_row": 1}) == (report.succeeded, report.errors)
    assert 4 == len({line["id"] for line in lines})


def test_doubled_custom_ids_are_refused(tmp_path: Path) -> None:
    """Before any request, as with an id column."""
    rows = [batch_line("a", "x"), batch_line("a", "y")]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with serving(echo) as server:
        with pytest.raises(
            BatchInputError, match=r"id 'a' in column 'custom_id' appears on line 1 of in\.jsonl and on line 2"
        ):
            run_batch(job(server.url, tmp_path, "in.jsonl", input_format="openai-batch"))
        assert server.requests == []


def test_an_openai_batch_takes_no_template(tmp_path: Path) -> None:
    """Its lines are complete requests."""
    with pytest.raises(ValueError, match="complete requests"):
        job("http://x", tmp_path, "in.jsonl", input_format="openai-batch", prompt="{text}")


def test_embeddings_of_an_openai_batch(tmp_path: Path) -> None:
    """Each line's url says how its answer is read."""
    row = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}}
    (tmp_path / "in.jsonl").write_text(json.dumps(row))
    data = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    with serving(lambda r: echo(r) if r.method == "GET" else Reply(json=data)) as server:
        assert run_batch(job(server.url, tmp_path, "in.jsonl", input_format="openai-batch")).prompt_tokens == 1
    assert data == lines_of(tmp_path / "out.jsonl")[0]["response"]["body"]


# --- before the first row


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply(400, {"error": "Bad Request: The endpoint is paused, ask …"}), errors.EndpointPausedError),
        (Reply(401, {"error": "Unauthorized"}), errors.AuthenticationError),
        (Reply(503, {"error": "503 Service Unavailable"}), errors.StartingError),
    ],
)
def test_an_endpoint_that_does_not_tell_its_engine_ends_the_batch_as_any_other(
    tmp_path: Path, reply: Reply, cause: type[errors.InferenceError]
) -> None:
    """The same error, whether a row or the question about the engine met it."""
    (tmp_path / "in.jsonl").write_text('{"text": "a"}')
    with serving(lambda r: reply) as server:
        settings = {"prompt": "{text}", "startup_timeout": 0.3, "probe_interval": 0.1}
        with pytest.raises(BatchAborted) as caught:
            run_batch(job(server.url, tmp_path, "in.jsonl", **settings))
    assert isinstance(caught.value.cause, cause)


def test_waiting_for_a_cold_endpoint_can_be_stopped(tmp_path: Path) -> None:
    """Within a moment, before anything was sent."""
    (tmp_path / "in.jsonl").write_text('{"text": "a"}')
    with serving(lambda r: Reply(503, {})) as server:
        asked = iter([False] * 5 + [True] * 100)
        with pytest.raises(BatchStopped):
            run_batch(job(server.url, tmp_path, "in.jsonl", prompt="{text}"), stop=lambda: next(asked))
        assert server.posts == []


def test_a_task_that_the_engine_does_not_serve_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    """The error names what it serves."""
    (tmp_path / "in.jsonl").write_text('{"text": "a"}')
    with serving(echo) as server:
        with pytest.raises(BatchInputError, match="TEI serves feature-extraction"):
            run_batch(job(server.url, tmp_path, "in.jsonl", prompt="{text}", engine="tei"))
        assert server.requests == []


@pytest.mark.parametrize("engine", ["tei", "toolkit", "tgi", "vLLM"])
def test_an_openai_batch_of_every_route_runs_on_every_engine(tmp_path: Path, engine: str) -> None:
    """Each line is answered at the first try, read as its route gives it, also as vLLM and Azure write them."""
    bodies: dict[str, tuple[dict[str, Any], Any]] = {
        "/v1/embeddings": ({"input": "x"}, {"data": [{"index": 0, "embedding": [0.5]}]}),
        "/v1/completions": ({"prompt": "x"}, {"choices": [{"text": "y", "finish_reason": "stop"}]}),
        "/chat/completions": ({"messages": [{"role": "user", "content": "x"}]}, None),
        "/v1/score": ({"text_1": "a", "text_2": "b"}, {"data": [{"index": 0, "score": 0.5}]}),
        "/v1/rerank": ({"query": "a", "documents": ["b"]}, {"results": [{"index": 0, "relevance_score": 0.5}]}),
    }
    rows = [batch_line(url, "", url=url, body=body) for url, (body, _) in bodies.items()]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def answer(request: Request) -> Reply:
        return Reply(json=bodies[request.path][1]) if request.path in bodies else echo(request)

    with serving(answer) as server:
        report = run_batch(job(server.url, tmp_path, "in.jsonl", input_format="openai-batch", engine=engine, model="m"))
        assert (5, 5) == (report.succeeded, len(server.posts))
        assert "/v1/chat/completions" in {request.path for request in server.posts}
    for line, (_, expected) in zip(lines_of(tmp_path / "out.jsonl"), bodies.values(), strict=True):
        assert expected is None or expected == line["response"]["body"]


@pytest.mark.parametrize("engine", ["tei", "toolkit", "tgi", "vLLM"])
@pytest.mark.parametrize(
    ("route", "reply", "output"),
    [
        ("/tokenize", [{"id": 1, "text": "x"}], [{"id": 1, "text": "x"}]),
        ("tokenize", {"tokens": [1, 2], "count": 2}, {"tokens": [1, 2], "count": 2}),
        ("/generate", {"generated_text": "y"}, {"generated_text": "y"}),
        ("/v1/completions", {"choices": [{"text": "y", "finish_reason": "stop"}]}, "y"),
    ],
)
def test_a_route_of_ones_own_gives_the_answers_json(
    tmp_path: Path, engine: str, route: str, reply: Any, output: Any
) -> None:
    """Whatever the task and the engine; of OpenAI's routes it gives what their task gives."""
    (tmp_path / "in.jsonl").write_text('{"text": "x"}')
    with serving(lambda request: Reply(json=reply)) as server:
        settings = {"engine": engine, "model": "m", "body": {"inputs": "{text}"}, "route": route}
        run_batch(job(server.url, tmp_path, "in.jsonl", **settings))
        assert [f"/{route.lstrip('/')}"] == [request.path for request in server.posts]
    assert output == lines_of(tmp_path / "out.jsonl")[0]["output"]


@pytest.mark.parametrize(
    "options",
    [
        {"parameters": {"stream": True}, "prompt": "{text}"},
        {"row_parameters": {"stream": "{text}"}, "prompt": "{text}"},
        {"body": {"stream": True, "prompt": "{text}"}},
    ],
)
def test_a_stream_is_refused_when_the_job_is_made(tmp_path: Path, options: dict[str, Any]) -> None:
    """A batch reads whole answers."""
    with pytest.raises(ValueError, match=r"only complete responses are read here\. Leave `stream` out"):
        job("http://x", tmp_path, "in.jsonl", **options)


def test_an_answer_is_kept_as_it_came(tmp_path: Path) -> None:
    """Where that is asked for, under `response`, in both forms of output; such rows share no request."""
    (tmp_path / "in.jsonl").write_text('{"text": "x"}\n{"text": "y"}')
    reply = {"data": [{"index": 0, "embedding": [0.5]}], "model": "m", "odd": {"a": None}}
    settings = {"engine": "vLLM", "model": "m", "prompt": "{text}", "keep_response": True}
    with serving(lambda request: Reply(json=reply)) as server:
        one = replace(job(server.url, tmp_path, "in.jsonl", **settings), task="feature-extraction")
        run_batch(one)
        run_batch(replace(one, output_path=tmp_path / "other.parquet"))
    assert [reply, reply] == [line["response"] for line in lines_of(tmp_path / "out.jsonl")]
    assert [reply, reply] == [
        json.loads(row["response"]) for row in pq.read_table(tmp_path / "other.parquet").to_pylist()
    ]


def packed(numbers: list[float]) -> str:
    """A vector as an engine packs it for `encoding_format` base64."""
    return base64.b64encode(array("f", numbers)).decode()


@pytest.mark.parametrize("form", [None, "float", "base64"])
def test_a_vector_of_another_length_is_its_rows_error(tmp_path: Path, form: str | None) -> None:
    """Also among rows that share a request, and packed: only the row that is to blame fails."""
    (tmp_path / "in.jsonl").write_text("\n".join(f'{{"text": "{n}"}}' for n in range(8)))
    write, unit, other, first = (packed, "bytes", 12, 8) if form == "base64" else (list, "numbers", 3, 2)

    def answer(request: Request) -> Reply:
        texts = request.body["input"]
        texts = texts if isinstance(texts, list) else [texts]
        data = [{"index": n, "embedding": write([0.5] * (3 if text == "5" else 2))} for n, text in enumerate(texts)]
        return Reply(json={"data": data})

    with serving(answer) as server:
        settings = {"engine": "vLLM", "model": "m", "prompt": "{text}", "max_attempts": 2, "order_window": 0}
        asked = {"parameters": {"encoding_format": form}} if form else {}
        run_batch(replace(job(server.url, tmp_path, "in.jsonl", **settings, **asked), task="feature-extraction"))
    lines = lines_of(tmp_path / "out.jsonl")
    good = [write([0.5, 0.5])]
    assert [n for n in range(8) if n != 5] == [line["index"] for line in lines if line["output"] == good]
    words = f"a vector of {other} {unit}, but the first vector of the batch has {first}"
    assert words in lines[5]["error"]["message"]


@pytest.mark.parametrize(
    ("engine", "sampling", "asked"),
    [
        ("vLLM", {"parameters": {"temperature": 0}}, 1),
        ("vLLM", {"parameters": {"temperature": 1e-9}}, 1),
        ("vLLM", {"parameters": {"temperature": 0.7}}, 3),
        ("vLLM", {"parameters": {"top_k": 1}}, 1),
        ("vLLM", {"parameters": {"top_k": 2}}, 3),
        ("vLLM", {"parameters": {"do_sample": False}}, 1),
        ("vLLM", {"row_parameters": {"temperature": "{cold}"}}, 1),
        ("vLLM", {"row_parameters": {"temperature": "{warm}"}}, 3),
        ("tgi", {"row_parameters": {"temperature": "{cold}"}, "task": "text-generation"}, 1),
    ],
)
def test_an_answer_that_would_come_again_is_not_asked_for_again(
    tmp_path: Path, engine: str, sampling: dict[str, Any], asked: int
) -> None:
    """An engine that does not sample gives the same text to the same request, whichever argument turns sampling off."""
    (tmp_path / "in.jsonl").write_text('{"text": "x", "cold": 0, "warm": 0.5}')
    cut = {"generated_text": '{"a": ', "details": {"finish_reason": "length", "generated_tokens": 2}}
    reply = chat_reply('{"a": ', reason="length") if engine == "vLLM" else Reply(json=cut)
    with serving(lambda request: reply) as server:
        settings = {"engine": engine, "model": "m", "prompt": "{text}", "max_attempts": 3, "max_error_rate": None}
        asking = job(server.url, tmp_path, "in.jsonl", response_schema={"type": "object"}, **settings)
        run_batch(replace(asking, **sampling))
        assert asked == len(server.posts)
    assert "invalid_output" == lines_of(tmp_path / "out.jsonl")[0]["error"]["type"]
