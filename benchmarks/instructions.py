"""Instructions per row of whole batches, for two or more checkouts: `python benchmarks/instructions.py OLD NEW`.

Rows per second waver with whatever else the machine does. Instructions do not: valgrind counts those that the batch's
own process executes (not the kernel's), so that a change of a few percent shows on a busy machine too. The figure is
the difference between a long and a short batch, so that what a process needs to start is not in it. What a batch does
by the clock (a look every few milliseconds, a request that is sent again) is in it, and is more on a machine that is
busier: `--times` runs each batch several times and takes its lowest count.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bars import Bar, line
from throughput import server, write_input

SHORT, LONG = 1000, 4000  # rows
HANG = 1200.0  # seconds; valgrind makes a process some 40 times as slow


def instructions(tree: Path, contestant: str, url: str, rows: int, concurrency: int) -> int:
    """What one batch took, from the start of its process to its end."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed (Debian: apt-get install valgrind).")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        write_input(source, rows)
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        command += [sys.executable, str(tree / "benchmarks" / "contestants.py"), contestant, url]
        command += [str(source), str(target), str(concurrency)]
        environment = dict(os.environ) | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANG)
        counted = re.search(r"I\s+refs:\s+([\d,]+)", ended.stderr)
        if ended.returncode or counted is None:
            raise SystemExit(f"{contestant} of {tree}: {ended.stderr[-2000:]}")
        with target.open() as file:
            written = sum(1 for _ in file)
        if written != rows:
            raise SystemExit(f"{contestant} of {tree}: {written} lines for {rows} rows")
        return int(counted[1].replace(",", ""))


def per_row(tree: Path, contestant: str, url: str, concurrency: int, times: int) -> float:
    """Of one checkout."""
    short, long = (
        min(instructions(tree, contestant, url, rows, concurrency) for _ in range(times)) for rows in (SHORT, LONG)
    )
    return (long - short) / (LONG - SHORT)


def main() -> None:
    """Print a line for each checkout, and the last one's figure beside the first one's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trees", nargs="+", type=Path, help="checkouts, the one to compare with first")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--times", type=int, default=1, help="runs of each batch, of which the lowest count is taken")
    parser.add_argument("--contestants", nargs="+", default=["ours", "ours-stub"])
    arguments = parser.parse_args()
    with server(0.0, None) as url:
        for contestant in arguments.contestants:
            for concurrency in arguments.concurrency:
                figures = [
                    per_row(tree.resolve(), contestant, url, concurrency, arguments.times) for tree in arguments.trees
                ]
                for tree, figure in zip(arguments.trees, figures, strict=True):
                    print(
                        f"{contestant}, {concurrency} in flight, {tree}: {figure:,.0f} instructions a row", flush=True
                    )
                name = f"{contestant}, {concurrency} in flight, last to first"
                line(name, figures[-1] / figures[0], Bar(1.03), form=".3f")


if __name__ == "__main__":
    main()
