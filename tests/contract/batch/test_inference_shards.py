"""One batch as several jobs on several workers: the same output as by one, whatever is killed, missing or foreign."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import (
    BatchAborted,
    BatchFailed,
    BatchInputError,
    BatchStopped,
    OutputConflictError,
    ShardsMissingError,
)
from airflow_provider_hf_endpoints.inference.job.shard import Shard
from airflow_provider_hf_endpoints.inference.shards import ids as shard_ids
from airflow_provider_hf_endpoints.inference.shards import merge
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.batch_play import job_of, planned, prompt_of, questions, run_shards, write_rows
from tests.contract.inference_server import Reply, Request, Server, chat_reply, echo, serving


def content(folder: Path) -> dict[str, bytes]:
    """The files of an output, but for the plan of its shards."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def without_times(manifest: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(manifest)
    for name in ("started_at", "finished_at", "shards", "plan", "limits", "rows_digest"):
        told.pop(name, None)
    told["report"] = of_the_rows(told["report"])
    return told


def of_the_rows(report: dict[str, Any]) -> dict[str, Any]:
    """Of a report what two ways of doing the same have in common."""
    return {
        name: value for name, value in report.items() if not name.endswith(("_path", "seconds", "cost", "_per_second"))
    }


@pytest.mark.parametrize("options", [{}, {"id_column": "id", "keep_columns": ("n",)}], ids=["places", "ids"])
def test_shards_write_what_one_worker_writes(tmp_path: Path, options: dict[str, Any]) -> None:
    """Byte for byte, errors in their places, and the server asked once for each row."""
    write_rows(tmp_path, questions(200))

    def answer(request: Request) -> Reply:
        return Reply(400, {"error": "no"}) if "question 7" in prompt_of(request) else echo(request)

    with serving(answer) as server:
        one = run_batch(job_of(server.url, tmp_path, output_path=tmp_path / "one", **options))
        before = len(server.posts)
        shards = planned(tmp_path)
        run_shards(job_of(server.url, tmp_path, **options), shards)
        assert len(server.posts) - before == 200
        report = merge_shards(tmp_path / "out")
    assert (one.rows, one.failed) == (200, 11)
    expected, merged = content(tmp_path / "one"), content(tmp_path / "out")
    assert expected["results-00000.jsonl"] == merged["results-00000.jsonl"]
    assert expected["errors.jsonl"] == merged["errors.jsonl"]
    assert without_times(expected["manifest.json"]) == without_times(merged["manifest.json"])
    assert of_the_rows(one.as_dict()) == of_the_rows(report.as_dict())
    assert [path.name for path in (tmp_path / "out/_shards").iterdir()] == ["plan.json"]


def test_the_whole_costs_no_more_than_its_shards(tmp_path: Path) -> None:
    """And as much as the longest of them: each counts the whole endpoint, at the same time as others."""
    write_rows(tmp_path, questions(40))
    with serving(echo) as server:
        job = job_of(server.url, tmp_path, price_per_hour=3600.0)
        run_shards(job, planned(tmp_path))
        report = merge_shards(tmp_path / "out", keep_shards=True)
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "out/_shards").glob("*/manifest.json")]
    costs = [manifest["report"]["cost"]["replica_minutes"] for manifest in manifests]
    assert report.cost is not None
    assert (4, True) == (len(costs), max(costs) - 0.001 <= report.cost["replica_minutes"] <= sum(costs) + 0.001)
    assert report.cost["usd"] == pytest.approx(report.cost["replica_minutes"] * 60, abs=0.1)  # which is rounded


@pytest.mark.parametrize("shards", [3, 40])
@pytest.mark.parametrize("kind", ["jsonl", "openai-batch"])
def test_failed_rows_stand_on_the_lines_of_their_file(tmp_path: Path, kind: str, shards: int) -> None:
    """In the merged output's lines and dead letters, as by one worker: across blank lines and files, for rows that are
    none and for those that the engine refused; also where shards hold no line, or none that is a row."""
    body = {"messages": [{"role": "user", "content": "a question"}]}
    row = {"custom_id": "c", "url": "/v1/chat/completions", "body": body, "text": "a question"}
    (tmp_path / "in").mkdir()
    for name in "ab":
        lines = [json.dumps({**row, "custom_id": f"{name}{n}"}) if n % 3 else "" for n in range(60)]
        lines[7] = lines[40] = lines[59] = '{"line":3,"after_byte":9, "message": "line 3 after byte 9 of'
        (tmp_path / f"in/{name}.jsonl").write_text("\n".join([*lines, "", " " * 2000, f'{{"custom_id": "{name}"}}']))

    def answer(request: Request) -> Reply:
        return Reply(400, {"error": "line 1 after byte 5 of it"}) if request.number % 2 else echo(request)

    options: dict[str, Any] = {"input_format": kind, "max_error_rate": None, "max_concurrency": 1}
    options |= {"input_path": tmp_path / "in", "order_window": 0, "concurrent_shards": 1}
    options |= {"prompt": None} if kind == "openai-batch" else {}
    with serving(answer) as server:
        run_batch(job_of(server.url, tmp_path, output_path=tmp_path / "one", **options))
        server.requests.clear()
        for shard in plan_batch(tmp_path / "in", tmp_path / "out", shards=shards, input_format=kind):  # type: ignore[arg-type]
            run_batch(job_of(server.url, tmp_path, shard=shard, **options))
        merge_shards(tmp_path / "out")
    expected, merged = content(tmp_path / "one"), content(tmp_path / "out")
    assert expected["results-00000.jsonl"] == merged["results-00000.jsonl"]
    assert expected["errors.jsonl"] == merged["errors.jsonl"]
    assert expected["errors.jsonl"].count(b'"row":') > 40


def test_files_of_every_kind_and_openai_batches(tmp_path: Path) -> None:
    """A folder with a CSV and JSONL; an OpenAI Batch, whose lines tell no place. Shards of no row do no harm."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("text\n" + "".join(f"row {n}\n" for n in range(30)))
    (tmp_path / "in/b.jsonl").write_text('\n\n{"text": "x"}\n' + " " * 3000 + '\n{"text": "y"}')
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    lines = [{"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(20)]
    write_rows(tmp_path, lines, "openai.jsonl")
    with serving(echo) as server:
        for given, options in (("in", {}), ("openai.jsonl", {"input_format": "openai-batch", "prompt": None})):
            job = job_of(server.url, tmp_path, input_path=tmp_path / given, max_concurrency=9, **options)
            run_batch(replace(job, output_path=tmp_path / f"one-{given}.jsonl"))
            job = replace(job, output_path=tmp_path / f"many-{given}.jsonl")
            shards = plan_batch(tmp_path / given, job.output_path, shards=9, input_format=job.input_format)
            run_shards(job, shards)
            merge_shards(job.output_path)
            one = (tmp_path / f"one-{given}.jsonl").read_bytes()
            assert one == (tmp_path / f"many-{given}.jsonl").read_bytes()
            assert one.count(b"\n") == (32 if given == "in" else 20)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet"])
def test_the_output_in_every_form(tmp_path: Path, suffix: str) -> None:
    """Shards write lines; the merge writes what the output's name tells, as one worker does."""
    write_rows(tmp_path, questions(40))
    with serving(echo) as server:
        job = job_of(server.url, tmp_path, output_path=tmp_path / f"one{suffix}")
        run_batch(job)
        job = replace(job, output_path=tmp_path / f"many{suffix}")
        run_shards(job, plan_batch(job.input_path, job.output_path, shards=3))
        merge_shards(job.output_path)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"many{suffix}").read_bytes()


def test_a_killed_shard_goes_on_where_it_was_and_the_rest_stays_done(tmp_path: Path) -> None:
    """Its retry sends only its missing rows; the others send nothing if they run again, even after the merge."""
    write_rows(tmp_path, questions(120))
    stop = threading.Event()

    def answer(request: Request) -> Reply:
        if request.number == 80:
            stop.set()
        return chat_reply("x", delay=0.01)

    with serving(answer) as server:
        shards = planned(tmp_path)
        job = job_of(server.url, tmp_path, max_concurrency=8)
        for shard in shards:
            if shard.number == 2:
                with pytest.raises(BatchStopped):
                    run_batch(replace(job, shard=shard), stop=stop)
            else:
                run_batch(replace(job, shard=shard))
        with pytest.raises(ShardsMissingError, match="1 of 4 shards are not finished: 00002-of-00004"):
            merge_shards(tmp_path / "out")
        assert not (tmp_path / "out/manifest.json").exists()
        again = run_batch(replace(job, shard=shards[2]))
        assert again.resumed > 0
        assert (again.rows, len(server.posts)) == (again.resumed + again.requests, 120)
        first = run_batch(replace(job, shard=shards[0]))
        merged = merge_shards(tmp_path / "out")
        assert merged.rows == 120
        late = run_batch(replace(job, shard=shards[0]))
        assert (first.rows, 0) == (late.rows, late.requests)
        assert merge_shards(tmp_path / "out") == merged
        assert len(server.posts) == 120
    assert max(Counter(prompt_of(request) for request in server.posts).values()) == 1


def test_a_merge_that_was_killed_writes_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each file appears, before the manifest, and while it cleans up."""
    write_rows(tmp_path, questions(40))

    class Killed(BaseException):
        """As SIGKILL: nothing after it runs but what has no way around it."""

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with serving(echo) as server:
        shards = planned(tmp_path)
        run_shards(job_of(server.url, tmp_path), shards)
    expected: dict[str, bytes] = {}
    for kept in (True, False):
        merge_shards(tmp_path / "out", keep_shards=True)
        expected = expected or content(tmp_path / "out")
        assert expected == content(tmp_path / "out")
        if kept:
            for name in ("_copy", "write_manifest"):
                for file in expected:
                    (tmp_path / "out" / file).unlink(missing_ok=True)
                monkeypatch.setattr(merge, name, killed)
                with pytest.raises(Killed):
                    merge_shards(tmp_path / "out")
                monkeypatch.undo()
                assert not (tmp_path / "out/manifest.json").exists()
    monkeypatch.setattr(merge, "_remove", killed)
    with pytest.raises(Killed):
        merge_shards(tmp_path / "out")
    monkeypatch.undo()
    assert merge_shards(tmp_path / "out").rows == 40
    assert expected == content(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/_shards").iterdir()] == ["plan.json"]


def test_shards_of_two_jobs_are_not_merged(tmp_path: Path) -> None:
    """A shard that was run with another prompt is named, with what differs."""
    write_rows(tmp_path, questions(40))
    with serving(echo) as server:
        shards = planned(tmp_path)
        job = job_of(server.url, tmp_path)
        run_shards(job, shards[:3])
        run_batch(replace(job, prompt="Please: {text}", shard=shards[3]))
        with pytest.raises(OutputConflictError, match=r"shard 00003-of-00004 .* another job .* prompt was '{text}'"):
            merge_shards(tmp_path / "out")
        with pytest.raises(OutputConflictError, match="another job"):
            run_batch(replace(job, shard=shards[3]))
    assert not (tmp_path / "out/manifest.json").exists()


def doubled(folder: Path) -> None:
    rows = questions(40)
    rows[35]["id"] = rows[2]["id"]
    write_rows(folder, rows)


def test_an_id_in_two_shards_is_seen_before_the_second_is_sent(tmp_path: Path) -> None:
    """The later shard reports the line, and sends nothing."""
    doubled(tmp_path)
    with serving(echo) as server:
        shards = planned(tmp_path)
        job = job_of(server.url, tmp_path, id_column="id")
        run_shards(job, shards[:3])
        sent = len(server.posts)
        with pytest.raises(BatchInputError, match=r"id 'q2' .* on line \d after byte .* another shard"):
            run_batch(replace(job, shard=shards[3]))
        assert len(server.posts) == sent


def test_the_merge_sees_doubled_ids_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many for each shard to look at; by choice both rows are in the output."""
    monkeypatch.setattr(shard_ids, "COMPARED_AT_MOST", 0)
    doubled(tmp_path)
    with serving(echo) as server:
        run_shards(job_of(server.url, tmp_path, id_column="id"), planned(tmp_path))
    with pytest.raises(BatchInputError, match="id 'q2' appears in row 2 and in row 35"):
        merge_shards(tmp_path / "out")
    assert not (tmp_path / "out/results-00000.jsonl").exists()
    assert merge_shards(tmp_path / "out", unique_ids=False).rows == 40


def test_a_shard_corrected_to_have_no_ids_forgets_those_it_stored(tmp_path: Path) -> None:
    """Rows are numbered in each shard, so a stored id that is a number would be found again in other shards."""
    write_rows(tmp_path, [{**row, "id": number % 25} for number, row in enumerate(questions(40))])
    shards = planned(tmp_path, 2)
    with serving(lambda _: Reply(401, {"error": "Invalid token"})) as server:
        job = job_of(server.url, tmp_path, id_column="id")
        with pytest.raises(BatchAborted):
            run_batch(replace(job, shard=shards[0]))
        with pytest.raises(BatchInputError, match="another shard"):
            run_batch(replace(job, shard=shards[1]))
    with serving(echo) as server:
        run_shards(job_of(server.url, tmp_path), shards)
    assert 40 == merge_shards(tmp_path / "out").succeeded


def test_ids_of_one_text_are_one_id_in_two_shards_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number in one and the text of its digits in the other: the later shard reports it, and so does the merge."""
    rows = questions(40)
    rows[35]["id"], rows[2]["id"] = 7, "7"
    write_rows(tmp_path, rows)
    with serving(echo) as server:
        shards = planned(tmp_path)
        job = job_of(server.url, tmp_path, id_column="id")
        run_shards(job, shards[:3])
        with pytest.raises(BatchInputError, match=r"id 7 .* another shard"):
            run_batch(replace(job, shard=shards[3]))
        monkeypatch.setattr(shard_ids, "COMPARED_AT_MOST", 0)
        run_batch(replace(job, shard=shards[3]))
    with pytest.raises(BatchInputError, match=r"id 7 appears in row 2 and in row 35 .*'7' there; an output in Parquet"):
        merge_shards(tmp_path / "out")


def test_failed_rows_are_judged_over_the_whole(tmp_path: Path) -> None:
    """A shard of nothing but errors is a finished one; the merge fails as one worker would, after publishing."""
    write_rows(tmp_path, questions(40))

    def answer(request: Request) -> Reply:
        return Reply(400, {"error": "no"}) if "question 3" in prompt_of(request) else echo(request)

    with serving(answer) as server:
        run_shards(job_of(server.url, tmp_path, fail_on_errors=True), planned(tmp_path))
    for _ in range(2):
        with pytest.raises(BatchFailed, match="11 of 40 rows failed"):
            merge_shards(tmp_path / "out")
        assert (tmp_path / "out/manifest.json").exists()


def most_in_flight(server: Server, job: BatchJob, shards: list[Shard]) -> int:
    server.most_in_flight = 0
    run_shards(job, shards)
    return server.most_in_flight


def test_shards_share_the_limit(tmp_path: Path) -> None:
    """All of them together have as many in flight as the job may have, none left over and none more."""
    write_rows(tmp_path, questions(160))
    with serving(lambda request: chat_reply("x", delay=0.05)) as server:
        job = job_of(server.url, tmp_path, max_concurrency=10)
        assert most_in_flight(server, job, planned(tmp_path)) == 10
        job = replace(job, output_path=tmp_path / "two", concurrent_shards=2)
        shards = plan_batch(tmp_path / "in.jsonl", tmp_path / "two", shards=4)
        assert most_in_flight(server, job, shards[1:3]) == 10
        with pytest.raises(ValueError, match="max_concurrency: 1 requests in flight are too few for 2 shards"):
            replace(job, shard=shards[0], max_concurrency=1)
        with pytest.raises(ValueError, match="on_existing"):
            replace(job, shard=shards[0], on_existing="overwrite")


def test_on_an_object_store(tmp_path: Path) -> None:
    """Plan, shards and merge where nothing can be appended or renamed; the input is read in ranges."""
    base = UPath("memory://sharded")
    (base / "in.jsonl").parent.mkdir(parents=True, exist_ok=True)
    (base / "in.jsonl").write_text("\n".join(json.dumps(row) for row in questions(40)))
    with serving(echo) as server:
        job = job_of(server.url, tmp_path, input_path=base / "in.jsonl", output_path=base / "o")
        for shard in plan_batch(base / "in.jsonl", base / "o", bytes_per_shard=1000):
            run_batch(replace(job, shard=shard, id_column="id"))
        assert merge_shards(base / "o").rows == len(server.posts) == 40
    lines = [json.loads(line) for line in (base / "o/results-00000.jsonl").read_text().splitlines()]
    assert [(n, f"q{n}") for n in range(40)] == [(line["index"], line["id"]) for line in lines]
    assert [f"question {n}"[::-1] for n in range(40)] == [line["output"] for line in lines]


def test_what_cannot_be_deleted_of_the_shards_fails_no_merge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the lock of a shard that could not be released, or a folder of somebody else: the output is finished."""
    write_rows(tmp_path, questions(20))
    with serving(echo) as server:
        shards = planned(tmp_path, 2)
        run_shards(job_of(server.url, tmp_path), shards)
        for shard in shards:
            (tmp_path / "out/_shards" / shard.name / "_journal.lock/left").mkdir(parents=True)
        assert [20, 20] == [merge_shards(tmp_path / "out").rows for _ in range(2)]
    assert "Deleting the outputs of the shards below" in caplog.text
    assert "Delete them by hand" in caplog.text
