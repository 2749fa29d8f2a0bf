"""What a batch says of itself against what the server counted, with faults on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import JournalCorruptError
from airflow_provider_hf_endpoints.inference.journal import recorder
from airflow_provider_hf_endpoints.inference.journal.records import Record
from tests.contract.emulator_play import VLLM, Play
from tests.contract.inference_server import echo, serving

REFUSED = (429, 502, 503, 504)


def job_of(url: str, folder: Path, rows: int, **options: Any) -> BatchJob:
    texts = [f"word {'more ' * (n % 9)}{n}" for n in range(rows)]
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings: dict[str, Any] = {"task": "chat-completion", "engine": "vLLM", "prompt": "{text}", "max_concurrency": 16}
    settings |= {"input_path": folder / "in.jsonl", "output_path": folder / "out.jsonl", "max_error_rate": None}
    return BatchJob(url=url, **{**settings, **options})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", ["chat-completion", "feature-extraction"])
def test_tokens_requests_and_attempts_are_those_of_the_server(tmp_path: Path, task: str) -> None:
    """500s, 429s and pages of HTML in between: report and lines add up to what the server counted."""
    with Emulator() as emulator:
        model = {} if task == "chat-completion" else {"task": task}
        url = Play(emulator).running(model={"image": VLLM, **model})
        path = "/v1/(chat|embeddings)"
        refused = {"object": "error", "message": "no", "type": "BadRequestError", "code": 400}  # as vLLM words it
        emulator.add_fault(path=path, method="POST", status=400, body=refused, count=1, skip=3)
        emulator.add_fault(path=path, method="POST", status=500, rate=0.05)
        emulator.add_fault(path=path, method="POST", status=429, rate=0.05)
        emulator.add_fault(path=path, method="POST", kind="not_json", rate=0.05)
        rows = {} if task == "chat-completion" else {"rows_per_request": 8}
        report = run_batch(job_of(url, tmp_path, 150, task=task, token=emulator.token, **rows))
        meter = emulator.meter("demo")
        posts = [request for request in emulator.requests if request.method == "POST" and "/v1/" in request.path]
    assert report.requests == len(posts)
    assert (meter["prompt_tokens"], meter["completion_tokens"]) == (report.prompt_tokens, report.completion_tokens)
    assert report.prompt_tokens == sum(line["usage"]["prompt_tokens"] for line in lines(tmp_path) if line["usage"])
    assert report.rows == report.succeeded + report.failed == 150
    if task == "chat-completion":
        assert (149, {"bad_request": 1}) == (report.succeeded, report.errors)
        taken = [request for request in posts if request.status not in REFUSED]
        assert len(taken) == sum(line["attempts"] for line in lines(tmp_path))
    else:
        assert 150 == report.succeeded  # the array that was refused was taken apart


def test_a_row_that_got_lost_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a finished row ever be dropped on its way to the journal, there is an error and no manifest."""
    add = recorder.Recorder.add

    def lose(self: recorder.Recorder, record: Record, *rest: Any) -> None:
        if record.place != 5:
            add(self, record, *rest)

    monkeypatch.setattr(recorder.Recorder, "add", lose)
    lost = "row 5 is missing, although every row is done"
    with serving(echo) as server, pytest.raises(JournalCorruptError, match=lost):
        run_batch(job_of(server.url, tmp_path, 20))
    assert not (tmp_path / "out.manifest.json").exists()
