"""Tasks beside generating text, as whole batches on the emulator's engines: what a row holds and what `output` is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from tests.contract.emulator_play import TEI, TOOLKIT, VLLM, Play

QUERY = {"query": "red cat", "texts": ["blue dog", "red cat", "green"]}
PAIR = {"source_sentence": "red cat", "sentences": ["blue dog", "red cat"]}


def run(
    folder: Path, image: dict[str, Any], task: str, rows: list[Any], **options: Any
) -> tuple[BatchReport, list[Any]]:
    """A batch of such rows, in the column `inputs`, and its lines."""
    (folder / "in.jsonl").write_text("".join(json.dumps({"inputs": row}) + "\n" for row in rows))
    with Emulator() as emulator:
        url = Play(emulator).running(model={"image": image, "task": options.pop("deployed", task)})
        job = BatchJob(
            url=url,
            token=emulator.token,
            task=task,
            engine=next(iter(image)),
            input_path=folder / "in.jsonl",
            output_path=folder / "out.jsonl",
            **options,
        )
        report = run_batch(job)
    return report, [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_reranking_on_tei(tmp_path: Path) -> None:
    """Every row its query and texts; the best text first, named by its place."""
    report, lines = run(tmp_path, TEI, "text-ranking", [QUERY] * 5)
    assert (5, 5) == (report.succeeded, report.requests)
    assert [1] * 5 == [line["output"][0]["index"] for line in lines]
    assert {"index", "score"} == set(lines[0]["output"][0])


def test_a_row_with_more_texts_than_the_engine_takes_is_an_error_line(tmp_path: Path) -> None:
    """It says how many there are and how many may be; the other rows are answered."""
    long = {"query": "q", "texts": ["t"] * 40}
    report, lines = run(tmp_path, TEI, "text-ranking", [QUERY, long, QUERY])
    assert (2, {"payload_too_large": 1}) == (report.succeeded, report.errors)
    assert "batch size 40 > maximum allowed batch size 32" in lines[1]["error"]["message"]
    assert ("caller", False) == (lines[1]["error"]["fault"], lines[1]["error"]["retryable"])


def test_similarity_on_tei(tmp_path: Path) -> None:
    """A score for every sentence."""
    report, lines = run(tmp_path, TEI, "sentence-similarity", [PAIR] * 3)
    assert 3 == report.succeeded
    assert [2] * 3 == [len(line["output"]) for line in lines]
    assert lines[0]["output"][1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("task", "row", "output"),
    [
        ("text-classification", "good", list),
        ("token-classification", "Ada lives here", list),
        ("summarization", "a long text", str),
        ("translation", "good day", str),
        ("question-answering", {"question": "who?", "context": "Ada was"}, dict),
        ("sentence-similarity", PAIR, dict),
    ],
)
def test_pipelines_of_the_toolkit(tmp_path: Path, task: str, row: Any, output: type) -> None:
    """A text where the pipeline gives one, else the pipeline's own JSON."""
    report, lines = run(tmp_path, TOOLKIT, task, [row] * 3)
    assert (3, 3) == (report.succeeded, report.requests)
    assert [output] * 3 == [type(line["output"]) for line in lines]


@pytest.mark.parametrize(
    ("image", "task", "route", "body"),
    [
        (TEI, "text-classification", "/predict", {"inputs": "{inputs}", "truncate": True}),
        (TEI, "feature-extraction", "/embed", {"inputs": ["{inputs}", "{inputs}"]}),
        (VLLM, "feature-extraction", "/v1/embeddings", {"input": "{inputs}", "model": "org/model"}),
        (
            TOOLKIT,
            "zero-shot-classification",
            "/",
            {"inputs": "{inputs}", "parameters": {"candidate_labels": ["a", "b"]}},
        ),
    ],
    ids=["tei predict", "tei embed", "vllm embeddings", "toolkit zero-shot"],
)
def test_any_route_with_a_body_template(tmp_path: Path, image: Any, task: str, route: str, body: Any) -> None:
    """A request per row, the body as it is written, the answer read as the task's."""
    report, lines = run(tmp_path, image, task, ["one", "two"], route=route, body=body)
    assert (2, 2) == (report.succeeded, report.requests)
    assert all(line["output"] for line in lines)
