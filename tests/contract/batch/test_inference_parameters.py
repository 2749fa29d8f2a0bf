"""A batch on engines that do less than OpenAI: refused before anything is sent, or as it was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from tests.contract.batch_play import job_of, results, write_rows
from tests.contract.inference_server import Reply, Request, chat_reply, serving

CHAT = "/v1/chat/completions"


def serve(request: Request) -> Reply:
    """`transformers serve`: it could not list its models, and leaves a stop in the text with what follows it."""
    if request.path == "/v1/models":
        return Reply(500, raw=b"Internal Server Error")
    if request.path == "/openapi.json":
        return Reply(json={"paths": {CHAT: {}, "/load_model": {}}})
    if request.method == "GET":
        return Reply(405 if request.path in (CHAT, "/v1/completions") else 404, {"detail": "Not Found"})
    return chat_reply(f"{request.body['messages'][-1]['content']} one STOP. two", reason="length")


def pipeline(request: Request) -> Reply:
    """The toolkit, which knows no stop that is sent."""
    if request.method == "GET":
        return Reply(404, {"detail": "Not Found"})
    if {"stop", "stop_sequence", "stop_strings"} & set(request.body["parameters"]):
        return Reply(400, {"error": "not used by the model"})
    return Reply(json=[{"generated_text": f"{request.body['inputs']} one STOP two"}])


def test_transformers_serve_is_found_and_its_texts_end_at_their_stop(tmp_path: Path) -> None:
    """A `/v1/models` that answers 500 does not mean another engine, and each text ends before the stop."""
    write_rows(tmp_path, [{"text": f"q{n}"} for n in range(20)])
    with serving(serve) as server:
        report = run_batch(job_of(server.url, tmp_path, engine=None, parameters={"stop": "STOP", "max_tokens": 9}))
    assert (report.succeeded, report.failed, report.truncated) == (20, 0, 0)
    assert [f"q{n} one " for n in range(20)] == [line["output"] for line in results(tmp_path)]


@pytest.mark.parametrize("argument", ["parameters", "row_parameters"])
def test_a_misspelt_name_is_refused_when_the_engine_is_found(tmp_path: Path, argument: str) -> None:
    """Before the first row is sent: the engine would ignore the name, and limit nothing."""
    write_rows(tmp_path, [{"text": "a", "limit": 9}])
    value: Any = "{limit}" if argument == "row_parameters" else 9
    with serving(serve) as server:
        with pytest.raises(BatchInputError, match=r"`max_token` .* did you mean `max_tokens`"):
            run_batch(job_of(server.url, tmp_path, engine=None, **{argument: {"max_token": value}}))
        assert not server.posts


@pytest.mark.parametrize("own", [True, False])
def test_each_row_of_the_toolkit_has_its_own_stops(tmp_path: Path, own: bool) -> None:
    """From a column as well as for all rows; if no stop was met, the reason of the end is unknown."""
    stops = ["STOP", "one", "nowhere"]
    write_rows(tmp_path, [{"text": f"q{n}", "stop": stops[n % 3]} for n in range(30)])
    given: dict[str, Any] = {"row_parameters": {"stop": "{stop}"}} if own else {"parameters": {"stop": stops}}
    with serving(pipeline) as server:
        job = job_of(server.url, tmp_path, engine="huggingface", task="text-generation", **given)
        assert run_batch(job).succeeded == 30
    ends = [" one ", " ", " one STOP two"] if own else [" "] * 3
    cut = [False, False, None] if own else [False] * 3
    lines = results(tmp_path)
    assert [(f"q{n}{ends[n % 3]}", cut[n % 3]) for n in range(30)] == [(x["output"], x["truncated"]) for x in lines]


def test_a_chat_on_the_toolkit_is_put_to_its_pipeline(tmp_path: Path) -> None:
    """Its image has no route for chats: `POST /` with the messages is what it takes, and stops are cut as elsewhere."""
    write_rows(tmp_path, [{"text": f"q{n}"} for n in range(10)])

    def chats(request: Request) -> Reply:
        if request.method == "GET" or request.path != "/":
            return Reply(404, {"detail": "Not Found"})
        return Reply(json=[{"generated_text": f"{request.body['inputs'][-1]['content']} one STOP two"}])

    with serving(chats) as server:
        job = job_of(server.url, tmp_path, engine="huggingface", parameters={"stop": "STOP", "max_tokens": 9})
        assert run_batch(job).succeeded == 10
        asked = server.posts[0].body
    assert {"max_new_tokens": 9, "return_full_text": False} == asked["parameters"]
    assert [f"q{n} one " for n in range(10)] == [line["output"] for line in results(tmp_path)]


@pytest.mark.parametrize("form", ["parameters", "openai-batch"])
@pytest.mark.parametrize("engine", ["vLLM", "tei"])
def test_an_engine_that_ignores_n_is_asked_once(tmp_path: Path, form: str, engine: str) -> None:
    """Each row costs one request, its tokens are counted, and the error says what to do."""
    if form == "parameters" and engine == "tei":
        return  # which has no chats
    batch_form = form == "openai-batch"
    body = {"messages": [{"role": "user", "content": "x"}], "n": 3}
    lines = [{"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body} for n in range(4)]
    write_rows(tmp_path, lines if batch_form else [{"text": f"q{n}"} for n in range(4)])
    settings = {"input_format": form, "prompt": None} if batch_form else {"parameters": {"n": 3}}
    with serving(lambda request: chat_reply("whole")) as server:
        one = job_of(server.url, tmp_path, engine=engine, model="m", max_error_rate=None, **settings)
        report = run_batch(one)
        assert (4, 0, 4) == (len(server.posts), report.succeeded, report.failed)
    assert report.completion_tokens > 0
    assert all("ignore `n`" in json.dumps(line["error"]) for line in results(tmp_path))


def test_another_stop_of_a_row_is_another_request(tmp_path: Path) -> None:
    """Though the engine is sent the same: a resume does not take the old text for it."""
    write_rows(tmp_path, [{"text": f"q{n}", "stop": "STOP"} for n in range(150)])

    def dies(request: Request) -> Reply:
        return Reply(401, {"error": "no"}) if request.number > 60 else pipeline(request)

    with serving(dies) as server:
        job = job_of(
            server.url,
            tmp_path,
            engine="huggingface",
            task="text-generation",
            row_parameters={"stop": "{stop}"},
        )
        with pytest.raises(Exception, match="token"):
            run_batch(job)
        server.answer = pipeline
        write_rows(tmp_path, [{"text": f"q{n}", "stop": "one"} for n in range(150)])
        run_batch(job)
    assert {" "} == {line["output"].removeprefix(f"q{line['index']}") for line in results(tmp_path)}


@pytest.mark.parametrize(
    ("engine", "task", "options", "words"),
    [
        ("huggingface", "text-generation", {"parameters": {"logprobs": True}}, "`logprobs`.*toolkit"),
        ("huggingface", "text-generation", {"parameters": {"n": 2, "temperature": 0}}, "`n` of 2"),
        ("huggingface", "text-generation", {"response_schema": {"type": "object"}}, "response_schema"),
        ("huggingface", "text-generation", {"row_parameters": {"presence_penalty": "{seed}"}}, "`presence_penalty`"),
        ("hfServe", "chat-completion", {"parameters": {"n": 2}}, "`n`.*ignores"),
        ("hfServe", "chat-completion", {"parameters": {"logprobs": True}}, "`logprobs`.*ignores"),
        ("hfServe", "chat-completion", {"response_schema": {"type": "object"}}, "ignores schemas"),
        ("hfServe", "feature-extraction", {}, "supports"),
        ("hfServe", "chat-completion", {"prompt": None, "body": {"messages": "{text}", "n": 2}}, "`n`"),
        ("tgi", "chat-completion", {"parameters": {"n": 2}}, "`n`"),
        ("tgi", "text-generation", {"parameters": {"logprobs": True}}, "keep_response"),
        ("tei", "feature-extraction", {"parameters": {"stop": "x"}}, "returns no text"),
        ("vLLM", "feature-extraction", {"parameters": {"n": 2}}, "returns no text"),
        ("vLLM", "chat-completion", {"parameters": {"echo": True}}, "does not repeat"),
    ],
)
def test_what_an_engine_ignores_is_refused_before_anything_is_sent(
    tmp_path: Path, engine: str, task: str, options: dict[str, Any], words: str
) -> None:
    """The error names the parameter; no row is sent, nothing is paid."""
    write_rows(tmp_path, [{"text": "a", "seed": 1}, {"text": "b", "seed": 2}])
    with serving(serve) as server:
        with pytest.raises(BatchInputError, match=words):
            run_batch(job_of(server.url, tmp_path, engine=engine, model="m", task=task, **options))
        assert server.posts == []


@pytest.mark.parametrize("url", [CHAT, "/chat/completions"])
def test_lines_of_openai_batch_are_held_to_the_same(tmp_path: Path, url: str) -> None:
    """A line that asks for what is ignored is that line's error; a stop is cut off in the answer that is handed on."""
    bodies: list[dict[str, Any]] = [{"stop": ["STOP"]}, {"n": 2}, {"logprobs": True}, {}]
    messages = [{"role": "user", "content": "q"}]
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": url, "body": {"messages": messages, **body}}
        for n, body in enumerate(bodies)
    ]
    write_rows(tmp_path, lines)
    with serving(serve) as server:
        job = job_of(server.url, tmp_path, engine="hfServe", prompt=None, input_format="openai-batch")
        report = run_batch(job)
        assert len(server.posts) == 2
    assert (report.succeeded, report.errors) == (2, {"bad_row": 2})
    answers = [line["response"] and line["response"]["body"] for line in results(tmp_path)]
    texts = [body["choices"][0]["message"]["content"] if body else None for body in answers]
    assert texts == ["q one ", None, None, "q one STOP. two"]


def test_each_of_several_texts_has_to_fit_the_schema(tmp_path: Path) -> None:
    """With `n` the output is a list of values."""
    write_rows(tmp_path, [{"text": "a"}])
    choices = [{"index": n, "message": {"content": json.dumps({"a": n})}, "finish_reason": "stop"} for n in range(2)]

    def two(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(json={"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]})
        return Reply(json={"choices": choices})

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    with serving(two) as server:
        job = job_of(server.url, tmp_path, engine="vLLM", parameters={"n": 2}, response_schema=schema)
        assert run_batch(job).succeeded == 1
    assert results(tmp_path)[0]["output"] == [{"a": 0}, {"a": 1}]
