"""What holds while a batch runs: `python benchmarks/steady.py` (`--quick` with a tenth of the rows for memory).

Requests in flight as the server counts them, for several limits; the rate with answers of a second and 512 in flight;
and resident memory: of a million rows beside ten thousand, and of an ordered output that has to wait for one row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bars import Bar, line
from server import ANSWER
from throughput import measure, server, write_input

IN_FLIGHT = (1, 64, 101, 512, 1000)
STRAGGLER = 60.0  # seconds


def in_flight(folder: Path) -> None:
    """The server's own count, at most and for most of the time, with answers of 0.5 s."""
    with server(0.5, None) as url:
        for limit in IN_FLIGHT:
            write_input(folder / "in.jsonl", 8 * limit)
            seen = measure("ours", url, folder / "in.jsonl", folder, limit, None)
            line(f"in flight at most, {limit} asked for: off by", abs(seen["most"] - limit), Bar(1), form=".0f")
            line(f"  most of the time ({seen['usual']}): off by", abs(seen["usual"] - limit), Bar(1), form=".0f")


def one_second(folder: Path) -> None:
    """Rows a second with 512 in flight and answers of a second, from the first row to the last."""
    write_input(folder / "in.jsonl", 512 * 40)
    with server(1.0, None) as url:
        seen = measure("ours", url, folder / "in.jsonl", folder, 512, None)
    rate = 512 * 40 / seen["seconds"]
    line("rows/s by the ideal 512, answers of 1 s", rate / 512, Bar(0.95, at_most=False), form=".3f")


def child(source: Path, target: Path, straggler: float) -> None:
    """A batch in a separate process whose answers come from memory, the first after `straggler` seconds."""
    from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
    from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
    from airflow_provider_hf_endpoints.inference.wire import WireResponse

    class Stub(Transport):
        first = True

        async def send(self, request: HttpRequest) -> WireResponse:
            late, self.first = self.first, False
            await asyncio.sleep(straggler if late else 0)
            return WireResponse(200, {}, ANSWER)

    job = BatchJob(
        url="http://memory",
        task="chat-completion",
        engine="vLLM",
        model="org/model",
        input_path=source,
        output_path=target,
        prompt="{question}",
        max_concurrency=256,
    )
    report = run_batch(job, transport=Stub())
    assert report.failed == 0, report
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def memory_of(folder: Path, rows: int, straggler: float = 0.0) -> float:
    """MB at most."""
    source, target = folder / "in.jsonl", folder / f"out-{rows}-{straggler:g}"
    write_input(source, rows)
    command = [sys.executable, __file__, "--child", str(source), str(target), str(straggler)]
    ended = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    if ended.returncode:
        raise SystemExit(ended.stderr[-2000:])
    return float(ended.stdout)


def memory(folder: Path, scale: int) -> None:
    """Resident memory by rows, and with a row that is late."""
    few, many = memory_of(folder, 10_000), memory_of(folder, 1_000_000 // scale)
    line(f"MB that {1_000_000 // scale} rows take more than 10000 ({few:.0f})", many - few, Bar(40), "MB", ".0f")
    even = memory_of(folder, 200_000 // scale)
    late = memory_of(folder, 200_000 // scale, STRAGGLER / scale)
    words = f"MB that a first row late by {STRAGGLER / scale:g} s adds to {200_000 // scale} rows ({even:.0f})"
    line(words, late - even, Bar(10), "MB", ".0f")


def main() -> None:
    """Print every figure beside its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), Path(options.child[1]), float(options.child[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_flight(folder)
        one_second(folder)
        memory(folder, 10 if options.quick else 1)


if __name__ == "__main__":
    main()
