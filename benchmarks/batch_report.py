"""Every bar of the batch engine in one run: `python benchmarks/batch_report.py --peers PYTHON`, as README.md tells.

Runs the other benchmarks one after the other, a process each, keeps what each prints in a folder, and ends with one
table of all figures beside their bars. About an hour, and worth little while anything else runs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BAR = re.compile(
    r"^(?P<what>.*\S) +(?P<figure>\S+) \((?P<bar>at (?:most|least) \S+): (?P<verdict>met|MISSED)\)(?P<unit>.*)$"
)


def commands(peers: str) -> dict[str, list[str]]:
    """What is run, by a name for a person."""
    return {
        "throughput": ["throughput.py", "--all", "--peers", peers],
        "steady state and memory": ["steady.py"],
        "resume": ["resume.py"],
        "tail": ["trouble.py", "tail"],
        "outage": ["trouble.py", "outage", "--flight", "64"],
        "concurrency": ["concurrency.py", "--jobs", "2", "--seeds", "9"],
        "kills at operations, local": ["crash_points.py"],
        "kills at operations, objects": ["crash_points.py", "--objects"],
        "kills at operations, power lost": ["crash_points.py", "--power"],
        "kills at random, local": ["crash.py", "--kills", "200"],
        "kills at random, S3": ["crash.py", "--kills", "30", "--s3", "--after", "1.5", "4"],
        "shards": ["shards.py"],
    }


def run(name: str, command: list[str], folder: Path) -> tuple[list[re.Match[str]], int]:
    """One benchmark, its output shown and kept; the bars in it, and its exit status."""
    print(f"\n##### {name}: python benchmarks/{' '.join(command)}", flush=True)
    began, found = time.monotonic(), []
    process = subprocess.Popen(
        [sys.executable, str(HERE / command[0]), *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with (folder / f"{name.replace(' ', '-').replace(',', '')}.txt").open("w") as kept:
        for line in process.stdout:
            kept.write(line)
            print(line, end="", flush=True)
            if match := BAR.match(line):
                found.append(match)
    status = process.wait()
    print(f"##### {name}: status {status}, {time.monotonic() - began:.0f} s", flush=True)
    return found, status


def main() -> int:
    """Run them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=sys.executable, help="the Python that has benchmarks/requirements.txt")
    parser.add_argument("--only", nargs="+", help="benchmarks by name")
    parser.add_argument("--keep", type=Path, help="folder for what each prints; default a new one")
    options = parser.parse_args()
    chosen = {name: command for name, command in commands(options.peers).items() if name in (options.only or [name])}
    folder = options.keep or Path(tempfile.mkdtemp(prefix="batch-report-"))
    folder.mkdir(parents=True, exist_ok=True)
    rows, broken = [], []
    for name, command in chosen.items():
        bars, status = run(name, command, folder)
        rows += [
            f"| {name} | {bar['what']} | {bar['figure']}{bar['unit']} | {bar['bar']} | {bar['verdict']} |"
            for bar in bars
        ]
        broken += [f"{name}: status {status}"] if status else []
    print("\n| benchmark | what | seen | bar | |\n|---|---|---|---|---|", *rows, *broken, sep="\n")
    print(f"\nwhat each printed: {folder}; load of this machine now: {os.getloadavg()[0]:.1f}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
