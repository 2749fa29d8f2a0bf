"""A batch whose process dies: nothing is lost, nothing is doubled, hardly anything is sent twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.inference_server import Reply, Request, Server, chat_reply, serving

POINTS = Path(__file__).parents[3] / "benchmarks" / "crash_points.py"
ROWS = 3000
CONCURRENCY = 16
GROUP_SECONDS = 1.0


def slow_echo(request: Request) -> Reply:
    return chat_reply(request.body["messages"][0]["content"][::-1], delay=0.01)


def start(server: Server, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "airflow_provider_hf_endpoints.batch", "--quiet"]
    command += ["--url", server.url, "--task", "chat-completion", "--engine", "tgi", "--prompt", "{text}"]
    command += ["--input", str(folder / "in.jsonl"), "--output", str(folder / "out")]
    command += ["--max-concurrency", str(CONCURRENCY)]
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def write_input(folder: Path, count: int) -> None:
    with (folder / "in.jsonl").open("w") as file:
        for number in range(count):
            file.write(json.dumps({"text": f"question {number}"}) + "\n")


def check_output(folder: Path, count: int) -> None:
    """Every row once, in order, with its own answer."""
    lines = [json.loads(line) for line in (folder / "out/results-00000.jsonl").read_text().splitlines()]
    assert [(n, f"question {n}"[::-1], None) for n in range(count)] == [
        (line["index"], line["output"], line["error"]) for line in lines
    ]


def hits(server: Server) -> Counter[str]:
    return Counter(request.body["messages"][0]["content"] for request in server.posts)


def test_killed_at_any_moment_a_batch_goes_on_from_there(tmp_path: Path) -> None:
    """kill -9 again and again: in the end every row is there once, and what was sent twice was in flight or
    unsynced."""
    write_input(tmp_path, ROWS)
    chance = random.Random(5)
    kills = 0
    with serving(slow_echo) as server:
        while True:
            before = len(server.posts)
            process = start(server, tmp_path)
            while process.poll() is None and len(server.posts) == before:
                time.sleep(0.01)
            try:
                output, _ = process.communicate(timeout=60 if kills >= 6 else chance.uniform(0.0, 0.7))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                continue
            break
        assert process.returncode == 0
        counts = hits(server)
        rate = ROWS / 1.0
    check_output(tmp_path, ROWS)
    report = json.loads(output)
    assert (report["rows"], report["succeeded"]) == (ROWS, ROWS)
    assert kills >= 3
    assert len(counts) == ROWS
    again = sum(counts.values()) - ROWS
    assert again <= kills * (CONCURRENCY + rate * GROUP_SECONDS)
    assert not (tmp_path / "out" / "_journal").exists()


@pytest.mark.parametrize("storage", ["local", "objects"])
def test_killed_at_any_operation_on_its_files_a_batch_goes_on_from_there(storage: str) -> None:
    """Before, amid and after opens, writes, syncs, renames, deletes and publishing: `benchmarks/crash_points.py`, of
    which this takes a part."""
    options = ["--rows", "8", "--every", "5"] + (["--objects"] if storage == "objects" else ["--power"])
    ended = subprocess.run([sys.executable, str(POINTS), *options], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (line,) = [each for each in ended.stdout.splitlines() if "with anything wrong" in each]
    assert line.split("with anything wrong")[1].split() == ["0", "(at", "most", "0:", "met)"]


def test_after_sigterm_nothing_new_is_sent(tmp_path: Path) -> None:
    """What is in flight is waited for, kept and not sent again; no other request follows it."""
    write_input(tmp_path, 60)
    told = threading.Event()

    def held(request: Request) -> Reply:
        # Sixteen are in flight when the batch is told to end, and are answered after it has noticed.
        return chat_reply(request.body["messages"][0]["content"][::-1], delay=0.0 if told.is_set() else 1.5)

    with serving(held) as server:
        process = start(server, tmp_path)
        while process.poll() is None and len(server.posts) < CONCURRENCY:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told.set()
        output, words = process.communicate(timeout=60)
        assert process.returncode == 4, words
        assert (CONCURRENCY, CONCURRENCY) == (len(server.posts), json.loads(output)["rows"])
        process = start(server, tmp_path)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert {1} == set(hits(server).values())
    check_output(tmp_path, 60)


def test_sigterm_drains_and_nothing_is_sent_again(tmp_path: Path) -> None:
    """A task that is ended in good order keeps everything that was in flight."""
    write_input(tmp_path, ROWS)
    with serving(slow_echo) as server:
        process = start(server, tmp_path)
        while process.poll() is None and len(server.posts) < 200:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        output, words = process.communicate(timeout=60)
        assert process.returncode == 4, words
        stopped = json.loads(output)
        assert (len(server.posts), False) == (stopped["rows"], stopped["complete"])
        process = start(server, tmp_path)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert set(hits(server).values()) == {1}
    check_output(tmp_path, ROWS)
