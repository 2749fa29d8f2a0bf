"""A batch from and to an object store, over a real server: parts instead of appends, epochs instead of a lock."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_hf_endpoints.inference import batch
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped, OutputConflictError
from airflow_provider_hf_endpoints.inference.inputs.files import find_input
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch
from tests.contract.inference_server import Reply, Request, chat_reply, serving
from tests.contract.object_stores import STORES, ObjectStore, object_store

ROWS = 300
HANG = 60.0  # seconds after which something that does not come is a failure


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store(request.param, monkeypatch) as server:
        (server.folder / "in.jsonl").write_text("\n".join(json.dumps({"text": f"question {n}"}) for n in range(ROWS)))
        yield server


@pytest.fixture
def bucket(store: ObjectStore) -> UPath:
    return store.folder


def slow(request: Request) -> Reply:
    return chat_reply(request.body["messages"][0]["content"][::-1], delay=0.03)


def job(url: str, bucket: UPath, **options: Any) -> BatchJob:
    return BatchJob(
        url=url,
        task="chat-completion",
        engine="tgi",
        input_path=bucket / "in.jsonl",
        output_path=bucket / "out",
        prompt="{text}",
        max_concurrency=8,
        checkpoint_interval=0.2,
        **options,
    )


def names(folder: UPath) -> set[str]:
    folder.fs.invalidate_cache()
    return {path.name for path in folder.iterdir()}


def test_a_batch_on_a_store_is_taken_up_finished_and_done_again(bucket: UPath) -> None:
    """A stopped batch continues, a finished one sends nothing, and an overwritten one sends everything."""
    with serving(slow) as server:
        one = job(server.url, bucket)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 100)
        sent = len(server.posts)
        assert len(names(bucket / "out" / "_journal")) >= 2
        report = run_batch(one)
        assert (ROWS, sent, ROWS) == (report.rows, report.resumed, len(server.posts))
        assert run_batch(one).requests == 0
        assert {"results-00000.jsonl", "errors.jsonl", "manifest.json"} == names(bucket / "out")
        lines = (bucket / "out" / "results-00000.jsonl").read_text().splitlines()
        assert [f"question {n}"[::-1] for n in range(ROWS)] == [json.loads(line)["output"] for line in lines]
        assert run_batch(replace(one, on_existing="overwrite")).requests == ROWS


def test_shards_on_a_store_are_planned_run_and_merged(bucket: UPath) -> None:
    """The input is read in ranges, each row sent once; an object that changed since the plan is named by its etag."""
    with serving() as server:
        one = job(server.url, bucket)
        for shard in plan_batch(one.input_path, one.output_path, shards=2):
            run_batch(replace(one, shard=shard))
        assert (ROWS, ROWS) == (merge_shards(one.output_path).rows, len(server.posts))
        lines = (bucket / "out" / "results-00000.jsonl").read_text().splitlines()
        assert list(range(ROWS)) == [json.loads(line)["index"] for line in lines]
        (bucket / "in.jsonl").write_bytes((bucket / "in.jsonl").read_bytes().replace(b"question 7", b"question x"))
        with pytest.raises(OutputConflictError, match=r"in.jsonl changed .version"):
            plan_batch(one.input_path, one.output_path, shards=2)


def test_two_runs_at_once_on_a_store_do_not_mix(bucket: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them says that there is another, however long that one takes."""
    monkeypatch.setattr(batch, "WAIT", 0.5)
    monkeypatch.setattr(batch, "OutputLock", partial(OutputLock, beat=0.2, patience=3.0))
    outcomes: list[Any] = []
    ends = time.monotonic() + HANG

    async def until_one_has_ended(_: float) -> None:
        while not outcomes and time.monotonic() < ends:  # noqa: ASYNC110 (it ends in another thread)
            await asyncio.sleep(0.01)

    def run(one: BatchJob) -> None:
        try:
            outcomes.append(run_batch(one).rows)
        except OutputConflictError as error:
            outcomes.append(error)

    with serving(slow, sleep=until_one_has_ended) as server:
        threads = [threading.Thread(target=run, args=(job(server.url, bucket),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [ROWS] == [outcome for outcome in outcomes if isinstance(outcome, int)]


def test_who_waited_for_another_run_finds_its_work_done(bucket: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that had the lock finishes the job in the meantime: not a row is sent a second time."""
    begun, waits = threading.Event(), threading.Event()

    class Lock(OutputLock):
        def attempt(self, wait: float = 0.0) -> bool:
            taken = super().attempt(wait)
            if not taken:
                waits.set()
                first.join()
            return taken

    async def until_the_other_waits(_: float) -> None:
        begun.set()
        await asyncio.to_thread(waits.wait, HANG)

    monkeypatch.setattr(batch, "OutputLock", partial(Lock, beat=0.2, patience=30.0))
    (bucket / "in.jsonl").write_text("\n".join(json.dumps({"text": f"question {n}"}) for n in range(8)))
    with serving(slow, sleep=until_the_other_waits) as server:
        one = job(server.url, bucket)
        first = threading.Thread(target=run_batch, args=(one,))
        first.start()
        assert begun.wait(HANG)
        report = run_batch(one)
        first.join()
        assert (8, 0, 8) == (report.rows, report.requests, len(server.posts))


def test_killed_on_one_machine_a_batch_on_a_store_goes_on_on_another(store: ObjectStore, tmp_path: Path) -> None:
    """kill -9, then a run in an empty folder with no temporary files of the one before: row by row all is there, and
    what was sent twice was in flight or of one group."""
    code = (
        "import functools, sys\n"
        "from airflow_provider_hf_endpoints.inference import batch\n"
        "batch.OutputLock = functools.partial(batch.OutputLock, beat=0.2, patience=0.8)\n"
        "batch.run_batch(batch.BatchJob(url=sys.argv[1], task='chat-completion', engine='tgi', prompt='{text}',\n"
        "    max_concurrency=16, checkpoint_interval=0.1, input_path=sys.argv[2], output_path=sys.argv[3]))\n"
    )
    rows, kills = 600, 0
    folder = store.folder
    (folder / "many.jsonl").write_text("\n".join(json.dumps({"text": f"question {n}"}) for n in range(rows)))
    chance = random.Random(3)
    with serving(slow) as server:
        for machine in range(3):
            home = tmp_path / str(machine)
            home.mkdir()
            environment = {**os.environ, **store.environment, "TMPDIR": str(home), "PYTHONPATH": os.getcwd()}
            arguments = [server.url, f"{folder}/many.jsonl", f"{folder}/out"]
            before = len(server.posts)
            process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=home, env=environment)
            while machine < 2 and process.poll() is None and len(server.posts) < before + 50:
                time.sleep(0.01)
            try:
                ended = process.wait(60 if machine == 2 else chance.uniform(0.0, 0.3))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
        assert (2, 0) == (kills, ended)
        sent = Counter(request.body["messages"][0]["content"] for request in server.posts)
    folder.fs.invalidate_cache()
    lines = [json.loads(line) for line in (folder / "out" / "results-00000.jsonl").read_text().splitlines()]
    assert [(n, f"question {n}"[::-1]) for n in range(rows)] == [(line["index"], line["output"]) for line in lines]
    assert rows == len(sent)
    # Sixteen in flight at 33 answers a second each, for as long as a group is collected and written.
    assert sum(sent.values()) - rows <= kills * (16 + 16 * 33 * 0.5)


def test_evicted_from_one_pod_a_batch_on_a_store_goes_on_in_another(store: ObjectStore, tmp_path: Path) -> None:
    """SIGTERM, as a task gets it from Airflow's supervisor: what is in flight comes in, and the next pod, with nothing
    of the first one's home, temporary files or working folder, sends no row twice.
    """
    code = (
        "import signal, sys, threading\n"
        "from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch\n"
        "from airflow_provider_hf_endpoints.inference.batch_errors import BatchStopped\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        "job = BatchJob(url=sys.argv[1], task='chat-completion', engine='tgi', prompt='{text}', max_concurrency=16,\n"
        "    checkpoint_interval=0.1, input_path=sys.argv[2], output_path=sys.argv[3])\n"
        "try:\n"
        "    run_batch(job, stop=stop)\n"
        "except BatchStopped:\n"
        "    sys.exit(3)\n"
    )
    rows = 400
    folder = store.folder
    (folder / "evicted.jsonl").write_text("\n".join(json.dumps({"text": f"question {n}"}) for n in range(rows)))
    with serving(slow) as server:
        ends = []
        for pod in range(2):
            own = {name: tmp_path / f"{pod}-{name}" for name in ("HOME", "TMPDIR", "work")}
            for place in own.values():
                place.mkdir()
            environment = {**os.environ, **store.environment, "PYTHONPATH": os.getcwd()}
            environment |= {name: str(own[name]) for name in ("HOME", "TMPDIR")}
            arguments = [server.url, f"{folder}/evicted.jsonl", f"{folder}/pods"]
            process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=own["work"], env=environment)
            while pod == 0 and process.poll() is None and len(server.posts) < 50:
                time.sleep(0.01)
            if pod == 0:
                process.send_signal(signal.SIGTERM)
            ends.append(process.wait(HANG))
            for place in own.values():
                shutil.rmtree(place)
        assert [3, 0] == ends
        sent = Counter(request.body["messages"][0]["content"] for request in server.posts)
    folder.fs.invalidate_cache()
    lines = [json.loads(line) for line in (folder / "pods" / "results-00000.jsonl").read_text().splitlines()]
    assert list(range(rows)) == [line["index"] for line in lines]
    assert {1} == set(sent.values())
    assert rows == len(sent)


def test_a_journal_that_is_gone_from_a_store_is_written_again(bucket: UPath) -> None:
    """At the next checkpoint, with the rows of all runs, so that the next run sends none of them again."""
    journal = bucket / "out" / "_journal"
    lost: set[str] = set()

    def answer(request: Request) -> Reply:
        if request.number == 150:
            until = time.monotonic() + HANG
            while not lost and time.monotonic() < until:
                lost.update(name for name in names(journal) if name.endswith(".log"))
            for name in (*lost, "job.json"):
                (journal / name).unlink(missing_ok=True)
        waits = request.number >= (200 if lost else 40)  # until the batch has seen that it has to stop
        return replace(slow(request), delay=0.3 if waits else 0.0)

    with serving(answer) as server:
        one = job(server.url, bucket)
        for requests in (50, 210):
            with pytest.raises(BatchStopped):
                run_batch(one, stop=lambda most=requests: len(server.posts) >= most)  # type: ignore[misc]
        assert lost
        assert {"job.json", *lost} <= names(journal)
        assert ROWS == run_batch(one).succeeded
        assert ROWS == len(server.posts)


def test_a_pattern_and_a_folder_on_a_store(bucket: UPath) -> None:
    """As on a disk; a file that another machine writes is seen."""
    (bucket / "in" / "b.jsonl").write_text('{"text": "two"}')
    (bucket / "in" / "a.csv").write_text("text\none\n")
    (bucket / "in" / "_SUCCESS").write_text("")
    (bucket / "in" / "deep" / "c.jsonl").write_text('{"text": "three"}')
    assert ["a.csv", "b.jsonl"] == [file.name for file in find_input(bucket / "in").files]
    assert ["b.jsonl", "deep/c.jsonl"] == [file.name for file in find_input(bucket / "in/**/*.jsonl").files]
    (bucket / "in" / "d.jsonl").write_text('{"text": "four"}')
    with serving(slow) as server:
        report = run_batch(replace(job(server.url, bucket), input_path=bucket / "in" / "*"))
    lines = (bucket / "out" / "results-00000.jsonl").read_text().splitlines()
    assert 3 == report.rows
    assert ["one"[::-1], "two"[::-1], "four"[::-1]] == [json.loads(line)["output"] for line in lines]
