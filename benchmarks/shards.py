"""One batch by one process, and divided among several: `python benchmarks/shards.py`.

Both write to one server that counts requests, and their outputs are compared byte for byte. With `--kill`, one of the
shards' processes is killed on its way (SIGKILL) and started again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from throughput import server, stats, write_input

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.merge import merge_shards
from airflow_provider_hf_endpoints.inference.shard_plan import plan_batch


def work(options: str) -> None:
    """One worker: a whole batch, or a shard."""
    run_batch(BatchJob(task="chat-completion", prompt="{question}", keep_columns=("answer",), **json.loads(options)))


def start(job: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A worker as a process of its own."""
    return subprocess.Popen([sys.executable, __file__, "--worker", json.dumps(job)], stderr=subprocess.DEVNULL)


def kill_and_start(process: subprocess.Popen[bytes], job: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    """Kill a worker when its first rows are durable; another one takes up its shard."""
    while not any(path.stat().st_size for path in folder.glob("_journal/*.log")):
        if process.poll() is not None:
            raise SystemExit("the worker was through before it could be killed: give more --rows, or --delay")
        time.sleep(0.01)
    process.kill()
    process.wait()
    return start(job)


def divided(job: dict[str, Any], shards: int, kill: bool) -> list[int]:
    """All shards at once, then the merge; returns what the workers ended with."""
    parts = [
        {**job, "shard": asdict(part)} for part in plan_batch(job["input_path"], job["output_path"], shards=shards)
    ]
    workers = [start(part) for part in parts]
    if kill:
        folder = Path(job["output_path"]) / "_shards" / f"{1:05d}-of-{shards:05d}"
        workers[1] = kill_and_start(workers[1], parts[1], folder)
    ended = [worker.wait() for worker in workers]
    merge_shards(job["output_path"])
    return ended


def main() -> None:
    """Print both, and whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=256)
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
        print("| workers | rows | requests | most in flight | seconds | ended with |\n|---|---|---|---|---|---|")
        for workers, output in ((1, folder / "one"), (options.shards, folder / "many")):
            began = time.monotonic()
            own = {**job, "output_path": str(output)}
            ended = [start(own).wait()] if workers == 1 else divided(own, workers, options.kill)
            seen, seconds = stats(url, None), time.monotonic() - began
            rows = (output / "results-00000.jsonl").read_bytes().count(b"\n")
            print(f"| {workers} | {rows} | {seen['requests']} | {seen['most']} | {seconds:.1f} | {ended} |")
        one, many = ((folder / each / "results-00000.jsonl").read_bytes() for each in ("one", "many"))
        print(f"\nthe same bytes: {one == many} ({len(one)})")


if __name__ == "__main__":
    main()
