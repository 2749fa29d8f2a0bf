"""Answers that have to fit a schema: asked for in each dialect, checked, asked for again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from tests.contract.inference_server import Reply, Request, chat_reply, serving


class Ticket(BaseModel):
    label: str
    urgent: bool


SCHEMA = Ticket.model_json_schema()
GOOD = '{"label": "billing", "urgent": true}'


def job(url: str, folder: Path, **options: Any) -> BatchJob:
    (folder / "in.jsonl").write_text("".join(f'{{"text": "t{n}"}}\n' for n in range(5)))
    settings: dict[str, Any] = {"engine": "vLLM", "model": "m", "response_schema": Ticket, "max_attempts": 3}
    return BatchJob(
        url=url,
        task=options.pop("task", "chat-completion"),
        input_path=folder / "in.jsonl",
        output_path=folder / "out.jsonl",
        prompt="{text}",
        max_concurrency=2,
        **{**settings, **options},
    )


def test_an_answer_that_fits_is_given_parsed(tmp_path: Path) -> None:
    """From a pydantic model, in OpenAI's form."""
    with serving(lambda r: chat_reply(GOOD)) as server:
        assert run_batch(job(server.url, tmp_path)).succeeded == 5
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
        assert server.posts[0].body["response_format"] == wanted
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{"label": "billing", "urgent": True}] * 5 == [line["output"] for line in lines]


def test_an_answer_that_does_not_fit_is_asked_for_again_and_then_marked(tmp_path: Path) -> None:
    """If the first answer is wrong, the next counts. If all are wrong, the error says what is wrong after the last
    attempt.
    """
    tries: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        prompt = request.body["messages"][0]["content"]
        tries[prompt] += 1
        match prompt:
            case "t1" if tries[prompt] == 1:
                return chat_reply("I think that it is billing.")
            case "t2":
                return chat_reply('{"label": "billing"}')
            case "t3":
                return chat_reply('{"label": "bil', reason="length")
            case _:
                return chat_reply(GOOD)

    with serving(answer) as server:
        report = run_batch(job(server.url, tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (3, {"invalid_output": 2}) == (report.succeeded, report.errors)
    assert (1, 2, 3, 3) == (tries["t0"], tries["t1"], tries["t2"], tries["t3"])
    assert "'urgent' is a required property" in lines[2]["error"]["message"]
    assert "truncated at its token limit" in lines[3]["error"]["message"]


@pytest.mark.parametrize(
    ("task", "reply", "name", "value"),
    [
        ("chat-completion", chat_reply(GOOD), "response_format", {"type": "json_object", "value": SCHEMA}),
        (
            "text-generation",
            Reply(json={"generated_text": GOOD, "details": {"finish_reason": "eos_token"}}),
            "grammar",
            {"type": "json", "value": SCHEMA},
        ),
    ],
)
def test_tgi_is_asked_in_its_own_words(tmp_path: Path, task: str, reply: Reply, name: str, value: Any) -> None:
    """Its chat route and its own."""
    with serving(lambda r: reply) as server:
        assert run_batch(job(server.url, tmp_path, engine="tgi", task=task)).succeeded == 5
        body = server.posts[0].body
    assert value == {**body, **body.get("parameters", {})}[name]


WANTED = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
COMPLETION = Reply(json={"choices": [{"index": 0, "text": GOOD, "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    ("engine", "owner", "name", "value"),
    [
        ("vLLM", "vllm", "response_format", WANTED),
        ("llamacpp", "llamacpp", "json_schema", SCHEMA),
        (None, "llamacpp", "json_schema", SCHEMA),
        ("sGLang", "sglang", "json_schema", json.dumps(SCHEMA)),
        (None, "sglang", "json_schema", json.dumps(SCHEMA)),
    ],
)
def test_completions_are_asked_as_each_engine_takes_it(
    tmp_path: Path, engine: str | None, owner: str, name: str, value: Any
) -> None:
    """`/v1/completions` has no setting that all of them know; who it is, the engine itself says."""
    models = Reply(json={"object": "list", "data": [{"id": "m", "owned_by": owner}]})

    def answer(request: Request) -> Reply:
        return models if request.path == "/v1/models" else COMPLETION if request.method == "POST" else Reply(404, {})

    with serving(answer) as server:
        assert run_batch(job(server.url, tmp_path, engine=engine, model=None, task="text-generation")).succeeded == 5
        assert value == server.posts[0].body[name]


def test_what_gives_no_text_takes_no_schema(tmp_path: Path) -> None:
    """An error when the job is made; on an engine that does not serve the task, before anything is sent."""
    with serving(lambda r: chat_reply(GOOD)) as server:
        with pytest.raises(BatchInputError, match="response_schema applies only to texts"):
            run_batch(job(server.url, tmp_path, engine="tei", task="text-generation"))
        assert server.posts == []
    with pytest.raises(ValueError, match="response_schema is given, but task='feature-extraction'"):
        job("http://x", tmp_path, engine="tei", task="feature-extraction")
    with pytest.raises(ValueError, match="not a valid JSON schema"):
        job("http://x", tmp_path, response_schema={"type": "nonsense"})
