"""One batch by one process, and divided among several: `python benchmarks/shards.py`.

Both write to one server that counts requests, and their outputs are compared byte for byte. What dividing costs is told
in seconds of CPU, part by part and without the interpreter's start, end and imports, so that it hardly depends on other
processes; `--delay 1` shows the time by the clock where the answers, and not this machine, are what it waits for. With
`--kill`, one of the shards' processes is killed on its way (SIGKILL) and started again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bars import Bar, line
from throughput import server, stats, write_input

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.shards.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shards.planner import plan_batch

#: CPU of all shards, their plan and merge, as a multiple of that of one process.
BAR = Bar(1.3)


@dataclass
class Part:
    """What a part of the work took.

    :param cpu: seconds of the work itself
    :param process: seconds of CPU before and after it: the interpreter and its imports
    :param wall: seconds by the clock, all of it
    """

    name: str
    cpu: float = 0.0
    process: float = 0.0
    wall: float = 0.0

    def __str__(self) -> str:
        return f"| {self.name} | {self.cpu:.2f} | {self.process:.2f} | {self.wall:.1f} |"


@contextmanager
def timed(part: Part) -> Iterator[None]:
    """Take the time of a part that this process does itself."""
    began, cpu = time.monotonic(), time.process_time()
    yield
    part.wall, part.cpu = time.monotonic() - began, time.process_time() - cpu


def work(options: str) -> None:
    """One worker: a whole batch, or a shard. Tells what of its CPU was work."""
    part = Part("")
    with timed(part):
        run_batch(
            BatchJob(task="chat-completion", prompt="{question}", keep_columns=("answer",), **json.loads(options))
        )
    print(part.cpu)


class Worker:
    """A worker as a separate process."""

    def __init__(self, name: str, job: dict[str, Any]) -> None:
        self.part = Part(name)
        self.job = job
        self._began = time.monotonic()
        command = [sys.executable, __file__, "--worker", json.dumps(job)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        assert self.process.stdout is not None
        with self.process.stdout as told:
            self.part.cpu = float(told.read() or 0.0)
        self.part.process = used.ru_utime + used.ru_stime - self.part.cpu
        self.part.wall = time.monotonic() - self._began
        return self.process.returncode


def kill_and_start(worker: Worker, folder: Path) -> Worker:
    """Kill a worker when its first rows are durable; another one takes up its shard."""
    while not any(path.stat().st_size for path in folder.glob("_journal/*.log")):
        if worker.process.poll() is not None:
            raise SystemExit("the worker was through before it could be killed: give more --rows, or --delay")
        time.sleep(0.01)
    worker.process.kill()
    worker.wait()
    return Worker(worker.part.name, worker.job)


def divided(job: dict[str, Any], shards: int, kill: bool) -> tuple[list[Part], list[int]]:
    """All shards at once, then the merge; returns what each part took, and what the workers ended with."""
    plan, merge = Part("plan"), Part("merge")
    with timed(plan):
        planned = plan_batch(job["input_path"], job["output_path"], shards=shards)
    workers = [Worker(f"shard {part.number}", {**job, "shard": asdict(part)}) for part in planned]
    if kill:
        workers[1] = kill_and_start(workers[1], Path(job["output_path"]) / "_shards" / planned[1].name)
    ended = [worker.wait() for worker in workers]
    with timed(merge):
        merge_shards(job["output_path"])
    return [plan, *(worker.part for worker in workers), merge], ended


def alone(job: dict[str, Any]) -> tuple[list[Part], list[int]]:
    """The whole batch by one process."""
    worker = Worker("one process", job)
    ended = worker.wait()
    return [worker.part], [ended]


def main() -> None:
    """Print what each part took, and whether the outputs agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--concurrency", type=lambda text: text if text == "auto" else int(text), default=256)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds of one answer")
    parser.add_argument("--kill", action="store_true", help="kill a shard's process on its way")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    with tempfile.TemporaryDirectory() as name, server(options.delay, None) as url:
        folder = Path(name)
        write_input(folder / "in.jsonl", options.rows)
        job = {"url": url, "input_path": str(folder / "in.jsonl"), "max_concurrency": options.concurrency}
        print(
            "| workers | rows | requests | most in flight | seconds | ended with |\n|---|---|---|---|---|---|",
            flush=True,
        )
        parts: list[list[Part]] = []
        for workers, output in ((1, folder / "one"), (options.shards, folder / "many")):
            began, own = time.monotonic(), {**job, "output_path": str(output)}
            found, ended = alone(own) if workers == 1 else divided(own, workers, options.kill)
            seconds, seen = time.monotonic() - began, stats(url, None)
            rows = (output / "results-00000.jsonl").read_bytes().count(b"\n")
            print(f"| {workers} | {rows} | {seen['requests']} | {seen['most']} | {seconds:.1f} | {ended} |", flush=True)
            parts.append(found)
        print("\n| part | CPU s | interpreter and imports, CPU s | seconds by the clock |\n|---|---|---|---|")
        for part in (*parts[0], *parts[1]):
            print(part)
        one, many = ((folder / each / "results-00000.jsonl").read_bytes() for each in ("one", "many"))
        print(f"\nthe same bytes: {one == many} ({len(one)})")
        ratio = sum(part.cpu for part in parts[1]) / parts[0][0].cpu
        line(f"CPU of plan, {options.shards} shards and merge, of that of one process", ratio, BAR)


if __name__ == "__main__":
    main()
