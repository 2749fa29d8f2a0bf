"""What taking up a killed batch costs: `python benchmarks/resume.py` (`--rows 100000` for a quick look).

A run over 1,000,000 rows kills itself (SIGKILL) when 99 % are answered and durable; the next one says when it sent its
first request and how many it sent; the third finds the job finished. Answers come from memory, so what is measured is
the engine: journal read, input read, rows compared. The files are in the disk's cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bars import Bar, line
from server import ANSWER
from throughput import write_input

KILL_AFTER = 2.5  # seconds without an answer: a group is durable after one


def child(source: Path, target: Path, most: int) -> None:
    """One run in a separate process; after `most` answers there are no more, and it kills itself."""
    from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
    from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
    from airflow_provider_hf_endpoints.inference.wire import WireResponse

    started, cpu = time.perf_counter(), time.process_time()
    first = [0.0, 0.0]

    class Stub(Transport):
        sent = 0

        async def send(self, request: HttpRequest) -> WireResponse:
            if self.sent == 0:
                first[:] = time.perf_counter() - started, time.process_time() - cpu
            self.sent += 1
            if self.sent > most:
                if self.sent == most + 1:
                    asyncio.get_running_loop().call_later(KILL_AFTER, os.kill, os.getpid(), signal.SIGKILL)
                await asyncio.sleep(3600)
            await asyncio.sleep(0)
            return WireResponse(200, {}, ANSWER)

    job = BatchJob(
        url="http://memory",
        task="chat-completion",
        engine="vLLM",
        model="org/model",
        input_path=source,
        output_path=target,
        prompt="{question}",
        parameters={"max_tokens": 128},
        max_concurrency=64,
    )
    report = run_batch(job, transport=Stub())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"first": first[0], "cpu": first[1], "requests": report.requests, "resumed": report.resumed}
    print(json.dumps(found | {"rows": report.succeeded, "rss_mb": memory, "seconds": report.seconds}))


def run(source: Path, target: Path, most: int) -> dict[str, float]:
    """A child's figures; empty when it killed itself."""
    command = [sys.executable, __file__, "--child", str(source), str(target), str(most)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode == -signal.SIGKILL:
        return {}
    if ended.returncode:
        raise SystemExit(ended.stderr)
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def main() -> None:
    """Kill, resume, finish; print the figures beside their bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), Path(options.child[1]), int(options.child[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "in.jsonl", Path(name) / "out"
        write_input(source, options.rows)
        done = options.rows * 99 // 100
        assert run(source, target, done) == {}
        resumed = run(source, target, options.rows)
        finished = run(source, target, options.rows)
    print(f"{options.rows} rows, killed when {done} were answered")
    line("seconds to the first request", resumed["first"], Bar(10.0))
    print(f"{'  CPU seconds of it':66} {resumed['cpu']:.3g}")
    line("rows sent again", resumed["requests"] + done - options.rows, Bar(0), form=".0f")
    line("rows missing at the end", options.rows - resumed["rows"], Bar(0), form=".0f")
    line("requests of a finished job run again", finished["requests"], Bar(0), form=".0f")
    print(f"{'resident memory of the resumed run, MB':66} {resumed['rss_mb']:.0f}")


if __name__ == "__main__":
    main()
