"""Tasks whose input is a file, as whole batches on the emulator: pictures and sounds as bodies, answers checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError
from airflow_provider_hf_endpoints.inference.job.report import BatchReport
from tests.contract.emulator_play import TEI, TOOLKIT, VLLM, Play
from tests.contract.inference_server import Reply, serving

PNG = b"\x89PNG\r\n\x1a\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
SOUNDS = ("automatic-speech-recognition", "audio-classification")
PICTURES = ("image-classification", "image-segmentation", "object-detection")


def files(folder: Path, contents: list[bytes]) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / "in" / f"{number}").write_bytes(content)
    return folder / "in"


def run(folder: Path, image: dict[str, Any], task: str, **options: Any) -> tuple[BatchReport, list[Any]]:
    """A batch of the files in the folder, and its lines."""
    with Emulator() as emulator:
        url = Play(emulator).running(model={"image": image, "task": task})
        report = run_batch(job(url, folder, next(iter(image)), task, token=emulator.token, **options))
    return report, [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def job(url: str, folder: Path, engine: str, task: str, **options: Any) -> BatchJob:
    given = {"input_path": folder / "in", "input_format": "files", "max_error_rate": None, **options}
    return BatchJob(url=url, task=task, engine=engine, output_path=folder / "out.jsonl", **given)


@pytest.mark.parametrize("task", [*SOUNDS, *PICTURES])
def test_the_body_is_the_file(tmp_path: Path, task: str) -> None:
    """With its content type; the toolkit refuses any other. The answer has the form of the task."""
    content = WAV if task in SOUNDS else PNG
    files(tmp_path, [content, content + b"more"])
    report, lines = run(tmp_path, TOOLKIT, task)
    assert (2, 2) == (report.succeeded, report.requests)
    output = lines[0]["output"]
    match task:
        case "automatic-speech-recognition":
            assert ["text"] == list(output)
        case _:
            assert {"label", "score"} <= output[0].keys()


def test_parameters_go_beside_the_file(tmp_path: Path) -> None:
    """As JSON, where the file is base64: a raw body has no place for them."""
    files(tmp_path, [PNG])
    with serving(lambda request: Reply(json=[{"label": "cat", "score": 0.5}])) as server:
        run_batch(job(server.url, tmp_path, "huggingface", "image-classification", parameters={"top_k": 1}))
        assert [{"inputs": "iVBORw0KGgo=", "parameters": {"top_k": 1}}] == [each.body for each in server.posts]


def test_a_column_names_the_file(tmp_path: Path) -> None:
    """In a table, the column `inputs`; a file of another kind is the error of its row, and is not sent."""
    files(tmp_path, [WAV, PNG])
    (tmp_path / "in.jsonl").write_text('{"inputs": "in/0"}\n{"inputs": "in/1"}\n{"inputs": "in/2"}\n')
    options = {"input_path": tmp_path / "in.jsonl", "input_format": "auto"}
    report, lines = run(tmp_path, TOOLKIT, "automatic-speech-recognition", **options)
    assert (1, 1, {"media_invalid": 1, "media_missing": 1}) == (report.succeeded, report.requests, report.errors)
    assert "is not of the type audio, but image/png" in lines[1]["error"]["message"]


def test_sounds_are_transcribed_by_openais_route(tmp_path: Path) -> None:
    """A form with the sound as its file, and the parameters as texts."""
    files(tmp_path, [WAV, WAV + b"\r\n--more\r\n"])
    report, lines = run(tmp_path, VLLM, "automatic-speech-recognition", parameters={"response_format": "verbose_json"})
    assert 2 == report.succeeded
    assert [f"{len(WAV)}", f"{len(WAV) + 10}"] == [line["output"]["text"].split()[-1] for line in lines]
    assert [0.0, 1.5] == lines[0]["output"]["chunks"][0]["timestamp"]


def test_other_engines_refuse_the_task(tmp_path: Path) -> None:
    """Before anything is sent."""
    files(tmp_path, [PNG])
    with pytest.raises(BatchInputError, match="image-classification"):
        run(tmp_path, TEI, "image-classification")


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("automatic-speech-recognition", {"text": None}),
        ("automatic-speech-recognition", {"text": "a", "chunks": [{"text": "a"}]}),
        ("image-classification", []),
        ("image-classification", [{"label": "cat", "score": None}]),
        ("object-detection", [{"label": "cat", "score": 0.5}]),
        ("object-detection", [{"label": "cat", "score": 0.5, "box": {"xmin": 0, "ymin": 0, "xmax": 1}}]),
        ("image-segmentation", [{"label": "cat", "score": None}]),
    ],
)
def test_an_answer_in_another_form_is_not_recorded(tmp_path: Path, task: str, answer: Any) -> None:
    """It is an error of its row, which is tried again before."""
    files(tmp_path, [WAV if task in SOUNDS else PNG])
    with serving(lambda request: Reply(json=answer)) as server:
        report = run_batch(job(server.url, tmp_path, "huggingface", task, max_attempts=2))
        assert ({"malformed_answer": 1}, 2) == (report.errors, len(server.posts))


def test_a_picture_becomes_a_text(tmp_path: Path) -> None:
    """As with any pipeline that gives a text."""
    files(tmp_path, [PNG])
    with serving(lambda request: Reply(json=[{"generated_text": "a cat"}])) as server:
        assert 1 == run_batch(job(server.url, tmp_path, "huggingface", "image-to-text")).succeeded
        assert [(PNG, "image/png")] == [(each.body, each.headers["content-type"]) for each in server.posts]
    assert "a cat" == json.loads((tmp_path / "out.jsonl").read_text())["output"]


def test_nothing_to_detect_is_an_answer(tmp_path: Path) -> None:
    """A picture may have no object."""
    files(tmp_path, [PNG])
    with serving(lambda request: Reply(json=[])) as server:
        assert 1 == run_batch(job(server.url, tmp_path, "huggingface", "object-detection")).succeeded
