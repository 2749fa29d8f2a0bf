"""Every pair of what a caller may ask for, on one engine: right, or refused before anything is sent.

A right answer is judged by the engine's own greedy text to the same prompt without any of it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchError, BatchInputError
from airflow_provider_hf_endpoints.inference.http.open_transport import open_transport
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.wire import WireResponse

CHAT, GENERATE = "chat-completion", "text-generation"
OPTIONS = ("n", "response_schema", "stop", "logprobs")
FORMS = ("prompt", "the row itself", "body", "OpenAI Batch")
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
PROMPTS = ("hello there", "what is it")
TOKENS = 200
ROUTES = {CHAT: "/v1/chat/completions", GENERATE: "/v1/completions"}


class Counting(Transport):
    """Counts what is sent as work."""

    def __init__(self, url: str) -> None:
        self._inner = open_transport(url, None, 8)
        self.posts = 0

    async def send(self, request: HttpRequest) -> WireResponse:
        """The same."""
        self.posts += request.method == "POST"
        return await self._inner.send(request)

    async def aclose(self) -> None:
        """The same."""
        await self._inner.aclose()


@dataclass
class Tally:
    """What came of the pairs of one engine."""

    right: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """One pair.

    :param stop: what a text is to end at
    """

    task: str
    form: str
    asked: tuple[str, ...]
    stop: str

    def __str__(self) -> str:
        return f"{self.task}, {self.form}, {' and '.join(self.asked) or 'nothing'}"

    @property
    def parameters(self) -> dict[str, Any]:
        """All of it under OpenAI's names."""
        found: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 1.0 if "n" in self.asked else 0}
        found |= {"n": 2} if "n" in self.asked else {}
        found |= {"stop": [self.stop, "never this"]} if "stop" in self.asked else {}
        return found | ({"logprobs": True if self.task == CHAT else 1} if "logprobs" in self.asked else {})

    def job(self, url: str, folder: Path) -> BatchJob:
        """The job, its input written."""
        rows = [self._row(place, prompt) for place, prompt in enumerate(PROMPTS)]
        (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given: dict[str, Any] = {"parameters": self.parameters}
        if "response_schema" in self.asked:
            given["response_schema"] = SCHEMA
        match self.form:
            case "prompt":
                given["prompt"] = "{text}"
            case "body":
                given = {"body": self._body("{text}"), "route": ROUTES[self.task]}
            case "OpenAI Batch":
                given = {"input_format": "openai-batch"}
        return BatchJob(
            url=url,
            task=self.task,
            input_path=folder / "in.jsonl",
            output_path=folder / "out",
            on_existing="overwrite",
            max_concurrency=2,
            max_error_rate=None,
            **given,
        )

    def _body(self, text: str) -> dict[str, Any]:
        chat = self.task == CHAT
        return (
            {"messages": [{"role": "user", "content": text}], **self.parameters}
            if chat
            else {
                "prompt": text,
                **self.parameters,
            }
        )

    def _row(self, place: int, prompt: str) -> dict[str, Any]:
        if self.form == "OpenAI Batch":
            return {"custom_id": str(place), "method": "POST", "url": ROUTES[self.task], "body": self._body(prompt)}
        return {"text": prompt, "inputs": prompt, "messages": [{"role": "user", "content": prompt}]}

    def problem(self, line: dict[str, Any], plain: str) -> str:
        """What is wrong with a line of the output; nothing for what is right."""
        if line["error"]:
            return str(line["error"])[:200]
        if self.form == "OpenAI Batch":
            choices = line["response"]["body"]["choices"]
            texts = [c["message"]["content"] if self.task == CHAT else c["text"] for c in choices]
            told = all(choice.get("logprobs") for choice in choices)
        else:
            texts = line["output"] if isinstance(line["output"], list) else [line["output"]]
            told = "logprobs" in json.dumps(line.get("extra") or {})
        if len(texts) != (2 if "n" in self.asked else 1):
            return f"{len(texts)} texts"
        if "logprobs" in self.asked and not told:
            return "no logprobs"
        if "response_schema" in self.asked:
            return "" if all(text in ({"a": 1}, {"a": 2}) for text in texts) else f"does not fit: {texts}"
        if "stop" in self.asked and any(self.stop in text for text in texts):
            return f"the stop {self.stop!r} is in {texts}"
        expected = plain.partition(self.stop)[0] if "stop" in self.asked else plain
        return "" if "n" in self.asked or texts == [expected] else f"{texts} in place of {expected!r}"


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The output."""
    return [json.loads(text) for text in (folder / "out" / "results-00000.jsonl").read_text().splitlines()]


def cases(task: str, forms: tuple[str, ...], stop: str) -> Iterator[Case]:
    """Nothing, each by itself, and each pair, in every form."""
    for form in forms:
        for size in (0, 1, 2):
            for asked in itertools.combinations(OPTIONS, size):
                if "response_schema" not in asked or form in FORMS[:2]:  # else a schema is part of the body
                    yield Case(task, form, asked, stop)


def try_pairs(url: str, tasks: tuple[str, ...], forms: tuple[str, ...], folder: Path) -> Tally:
    """All of them on one engine."""
    tally = Tally()
    for task in tasks:
        if not run(Case(task, "prompt", (), ""), url, folder, Tally(), [""] * len(PROMPTS), known=False):
            raise SystemExit(f"{task} does not work at {url}: {lines_of(folder)}")
        plain = [line["output"] for line in lines_of(folder)]
        stop = plain[0][8:11]
        for case in cases(task, forms, stop):
            run(case, url, folder, tally, plain)
    return tally


def run(case: Case, url: str, folder: Path, tally: Tally, plain: list[str], *, known: bool = True) -> bool:
    """One of them; whether it was answered."""
    transport = Counting(url)
    try:
        run_batch(case.job(url, folder), transport=transport)
    except BatchInputError as error:
        tally.refused += transport.posts == 0
        if transport.posts:
            tally.wrong.append(f"{case}: refused after {transport.posts} requests: {error}")
        return False
    except BatchError as error:
        tally.wrong.append(f"{case}: {error}"[:300])
        return False
    lines = lines_of(folder)
    if transport.posts == 0:  # lines of a batch are refused one by one
        tally.refused += 1
        return False
    problems = [words for line, text in zip(lines, plain, strict=True) if (words := case.problem(line, text))]
    if problems and known:
        tally.wrong.append(f"{case}: {problems[0]}")
    else:
        tally.right += 1
    return True
