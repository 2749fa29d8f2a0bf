"""Two runs of one output: one that was stopped, one that takes over, and one whose parent is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from airflow_provider_hf_endpoints.inference import batch
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from tests.contract.inference_server import Reply, Request, Server, chat_reply, serving
from tests.contract.object_stores import STORES, object_store

ROWS = 120
HANG = 60.0  # seconds after which something that does not come is a failure
BEAT, PATIENCE = 0.2, 1.5

CODE = f"""
import functools, sys
from airflow_provider_hf_endpoints.inference import batch
batch.OutputLock = functools.partial(batch.OutputLock, beat={BEAT}, patience={PATIENCE})
batch.run_batch(batch.BatchJob(url=sys.argv[1], task='chat-completion', engine='tgi', prompt='{{text}}',
    max_concurrency=4, checkpoint_interval=0.1, input_path=sys.argv[2], output_path=sys.argv[3]))
"""
PARENT = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(600)"


def slow(request: Request) -> Reply:
    return chat_reply(request.body["messages"][0]["content"][::-1], delay=0.05)


def job(server: Server, folder: UPath) -> BatchJob:
    return BatchJob(
        url=server.url,
        task="chat-completion",
        engine="tgi",
        prompt="{text}",
        max_concurrency=4,
        checkpoint_interval=0.1,
        input_path=folder / "in.jsonl",
        output_path=folder / "out",
    )


def until(what: Callable[[], object]) -> None:
    ends = time.monotonic() + HANG
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.01)


def objects_in(folder: UPath) -> dict[str, bytes]:
    """Every file of an output and what it holds."""
    folder.fs.invalidate_cache()
    return {str(path): folder.fs.cat_file(path) for path in folder.fs.find(folder.path)}


def check_output(folder: UPath) -> None:
    """Every row once, in order."""
    folder.fs.invalidate_cache()
    lines = [json.loads(line) for line in (folder / "out" / "results-00000.jsonl").read_text().splitlines()]
    assert [(n, f"question {n}"[::-1]) for n in range(ROWS)] == [(line["index"], line["output"]) for line in lines]


@pytest.fixture(params=["disk", *STORES])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UPath]:
    if request.param == "disk":
        yield with_input(UPath(tmp_path / "batch"))
        return
    with object_store(request.param, monkeypatch) as store:
        yield with_input(store.folder)


def with_input(folder: UPath) -> UPath:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.jsonl").write_text("\n".join(json.dumps({"text": f"question {n}"}) for n in range(ROWS)))
    return folder


def command(server: Server, folder: UPath) -> list[str]:
    return [sys.executable, "-c", CODE, server.url, str(folder / "in.jsonl"), str(folder / "out")]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.getcwd(), **more}


def test_a_run_that_was_stopped_sends_and_writes_nothing_after_another_took_over(
    place: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an object store the second run finishes the batch, and the first ends with the name of the second. On a disk
    the first still has the lock, the second fails, and the first continues after SIGCONT.
    """
    local = place.protocol in ("", "file")
    monkeypatch.setattr(batch, "OutputLock", partial(OutputLock, beat=BEAT, patience=PATIENCE))
    monkeypatch.setattr(batch, "WAIT", 0.5)
    with serving(slow) as server:
        first = subprocess.Popen(
            command(server, place), env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        until(lambda: len(server.posts) >= 30)
        first.send_signal(signal.SIGSTOP)
        try:
            if local:
                with pytest.raises(OutputBusyError, match=f"another run holds .*: process {first.pid} on .*, since"):
                    run_batch(job(server, place))
            else:
                assert ROWS == run_batch(job(server, place)).rows
            sent, there = len(server.posts), {} if local else objects_in(place)
        finally:
            first.send_signal(signal.SIGCONT)
        _, words = first.communicate(timeout=HANG)
    if local:
        assert (0, ROWS) == (first.returncode, len(server.posts)), words
    else:
        assert "OutputBusyError: another run took over" in words
        now = objects_in(place)
        # One write may have been on its way when the process was stopped: a part of the journal, which counts for none.
        late = sorted(name for name in now | there if now.get(name) != there.get(name))
        assert sent == len(server.posts)
        assert [] == [name for name in late if "/out/_journal/000001-" not in name]
        assert len(late) <= 1
        # Sent again was what had not been recorded: in flight, or in the group that was filling.
        assert sent - ROWS <= 4 + 30
    check_output(place)


def test_a_store_that_takes_no_beats_for_a_while_holds_the_batch_up_and_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is sent once, and no second run is let in meanwhile."""
    failed: list[str] = []
    plain = MemoryFileSystem.pipe_file

    def pipe_file(self: Any, path: str, *rest: Any, **options: Any) -> None:
        if path.endswith(".beat") and len(server.posts) >= 20 and len(failed) < 60:
            failed.append(path)
            raise OSError("the store takes nothing now")
        plain(self, path, *rest, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    monkeypatch.setattr(batch, "OutputLock", partial(OutputLock, beat=0.05, patience=0.2))
    folder = with_input(UPath(f"memory://{tmp_path.name}/batch"))
    with serving(slow) as server:
        report = run_batch(job(server, folder))
    assert (ROWS, ROWS, 60) == (report.rows, len(server.posts), len(failed))
    check_output(folder)


def test_a_task_whose_parent_is_gone_stops_and_gives_the_lock_back(tmp_path: Path) -> None:
    """Finished rows are kept: the next try gets the lock, and sends the rest. A batch outside of a task continues."""
    folder = with_input(UPath(tmp_path / "batch"))
    for of in ({"AIRFLOW_CTX_DAG_ID": "d", "AIRFLOW_CTX_TASK_ID": "t"}, {}):
        with serving(slow) as server:
            parent = subprocess.Popen(
                [sys.executable, "-c", PARENT, *command(server, folder)],
                env=environment(**of),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            until(partial(has_sent, server, 30))
            parent.kill()
            parent.communicate()
            until(partial(has_ended, child))
            sent = Counter(request.body["messages"][0]["content"] for request in server.posts)
        assert not (tmp_path / "batch/out/_journal.lock").exists()
        if of:
            assert len(sent) < ROWS
            lines = (tmp_path / "batch/out/results-00000.jsonl").read_text().splitlines()
            assert len(sent) == len(lines)
            resumed = len(lines)
    assert ROWS - resumed == sum(sent.values())
    check_output(folder)


def has_sent(server: Server, rows: int) -> bool:
    return len(server.posts) >= rows


def has_ended(process: int) -> bool:
    """Whether a process has ended, or is a zombie that its parent has not collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
