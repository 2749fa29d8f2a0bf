"""Whole batches over real HTTP: order and counts, files of every kind, templates, a running loop, the log."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from pathlib import Path

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import run_batch
from tests.contract.batch_play import TOKEN, counting, job_of, prompt_of, questions, results, write_rows
from tests.contract.inference_server import Reply, Request, chat_reply, echo, serving


def test_every_row_has_its_line_in_the_order_of_the_input(tmp_path: Path) -> None:
    """Whatever order the answers come in, line n of the output belongs to row n; counts and tokens add up."""
    write_rows(tmp_path, questions(200))

    def answer(request: Request) -> Reply:
        slow = request.number % 7 == 0
        return chat_reply(prompt_of(request)[::-1], delay=0.05 if slow else 0.0)

    with serving(answer) as server:
        report = run_batch(job_of(server.url, tmp_path, id_column="id", keep_columns=("n",)))
        assert len(server.posts) == 200
        assert server.most_in_flight == 8
    lines = results(tmp_path)
    assert [f"question {n}"[::-1] for n in range(200)] == [line["output"] for line in lines]
    assert [(n, f"q{n}", {"n": n}) for n in range(200)] == [(x["index"], x["id"], x["columns"]) for x in lines]
    assert (
        report.rows,
        report.succeeded,
        report.failed,
        report.prompt_tokens,
        report.completion_tokens,
        report.requests,
    ) == (200, 200, 0, 600, 400, 200)
    assert lines[0]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert report.as_dict() == manifest["report"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "errors.jsonl",
        "manifest.json",
        "results-00000.jsonl",
    ]


def test_a_jsonl_path_is_the_file_itself(tmp_path: Path) -> None:
    """With siblings for errors and manifest, and nothing else left."""
    write_rows(tmp_path, questions(3))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, output_path=str(tmp_path / "sub" / "a.jsonl")))
    names = sorted(path.name for path in (tmp_path / "sub").iterdir())
    assert names == ["a.errors.jsonl", "a.jsonl", "a.manifest.json"]
    assert str(tmp_path / "sub" / "a.manifest.json") == report.manifest_path


@pytest.mark.parametrize("transport_url", ["file", "memory"])
def test_input_and_output_on_any_file_system(tmp_path: Path, transport_url: str) -> None:
    """UPath, file:// and an object store that cannot append."""
    base = UPath(f"file://{tmp_path}") if transport_url == "file" else UPath("memory://batch")
    (base / "in.jsonl").parent.mkdir(parents=True, exist_ok=True)
    (base / "in.jsonl").write_text("\n".join(json.dumps(row) for row in questions(20)))
    with serving(echo) as server:
        job = job_of(
            server.url, tmp_path, input_path=base / "in.jsonl", output_path=base / "o", checkpoint_interval=0.01
        )
        assert run_batch(job).succeeded == 20
        assert run_batch(job).requests == 0
    lines = (base / "o" / "results-00000.jsonl").read_text().splitlines()
    assert [f"question {n}"[::-1] for n in range(20)] == [json.loads(line)["output"] for line in lines]
    assert {"results-00000.jsonl", "errors.jsonl", "manifest.json"} == {path.name for path in (base / "o").iterdir()}


def test_gzip_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    """A packed input is unpacked; blank lines are not rows."""
    content = "\ufeff" + "\n\n".join(json.dumps(row) for row in questions(5)) + "\n\n"
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, input_path=tmp_path / "in.jsonl.gz"))
    assert report.succeeded == 5


def test_system_prompt_messages_and_body_templates(tmp_path: Path) -> None:
    """Each kind of template reaches the engine as it was meant."""
    write_rows(tmp_path, [{"text": "hi", "lang": "fr", "k": 3}])
    with serving(echo) as server:
        run_batch(job_of(server.url, tmp_path, system="Answer in {lang}.", output_path=tmp_path / "1"))
        messages = [{"role": "user", "content": "{text}?"}]
        run_batch(job_of(server.url, tmp_path, prompt=None, messages=messages, output_path=tmp_path / "2"))
        body = {"messages": messages, "top_k": "{k}"}
        run_batch(job_of(server.url, tmp_path, prompt=None, body=body, output_path=tmp_path / "3"))
        bodies = [request.body for request in server.posts]
    assert bodies[0]["messages"] == [{"role": "system", "content": "Answer in fr."}, {"role": "user", "content": "hi"}]
    assert bodies[1]["messages"] == [{"role": "user", "content": "hi?"}]
    assert bodies[2] == {"messages": [{"role": "user", "content": "hi?"}], "top_k": 3}


def test_engine_and_model_are_found_out_once(tmp_path: Path) -> None:
    """An endpoint whose engine is not known is asked, once for the whole batch."""
    write_rows(tmp_path, questions(5))
    with serving(echo) as server:
        report = run_batch(job_of(server.url, tmp_path, engine=None))
        assert {"org/model"} == {request.body["model"] for request in server.posts}
        assert len(server.requests) - len(server.posts) == 2
    assert (report.engine, report.model) == ("openai", "org/model")


def test_it_runs_inside_a_running_loop(tmp_path: Path) -> None:
    """`run_batch` in a notebook or in an async task."""
    write_rows(tmp_path, questions(5))

    async def main(url: str) -> int:
        return run_batch(job_of(url, tmp_path)).succeeded

    with serving(echo) as server:
        assert asyncio.run(main(server.url)) == 5


def test_the_log_has_progress_and_no_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line every `progress_interval`, none per request, the token nowhere."""
    write_rows(tmp_path, questions(30))
    caplog.set_level(logging.INFO)
    with serving(counting(tmp_path, 0.05)) as server:
        run_batch(job_of(server.url, tmp_path, max_concurrency=2, progress_interval=0.2))
    lines = [record.getMessage() for record in caplog.records]
    assert any("in flight of 2" in line for line in lines)
    assert len(lines) < 15
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert TOKEN not in "".join(lines) + written + repr(job_of("http://x", tmp_path))
