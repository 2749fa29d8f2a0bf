"""kill -9 a batch at random moments, again and again, and compare row by row: `python benchmarks/crash.py --kills 200`.

The server counts every request, so that what was sent twice is known: no more than what was in flight or not yet synced
at each kill. With `--s3`, input, journal and output are on a real S3 server (moto's). Every run is on another machine:
in a separate empty folder, with nothing left of the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bars import Bar, line
from tests.contract.inference_server import Reply, Request, Server, chat_reply, serving

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = 16
ANSWER_TIME = 0.01  # seconds
GROUP_AGE = 0.1  # seconds
# On S3 a run waits for twenty seconds to see that the one before is dead: here for one.
CHILD = f"""
import functools, sys
from airflow_provider_hf_endpoints.inference import batch
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
batch.OutputLock = functools.partial(batch.OutputLock, beat=0.25, patience=1.0)
url, folder = sys.argv[1:]
run_batch(BatchJob(url=url, task="chat-completion", engine="tgi", prompt="{{text}}", max_concurrency={IN_FLIGHT},
                   input_path=folder + "/in.jsonl", output_path=folder + "/out", checkpoint_interval={GROUP_AGE}))
"""


def slow_echo(request: Request) -> Reply:
    """A row's own answer."""
    return chat_reply(request.body["messages"][0]["content"][::-1], delay=ANSWER_TIME)


def run_until(server: Server, store: Store, seconds: float | None) -> bool:
    """One run on a separate machine, killed so long after its start; true when it came to its end."""
    with tempfile.TemporaryDirectory() as machine:
        environment = {**os.environ, **store.environment, "TMPDIR": machine, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", CHILD, server.url, str(store.folder)]
        process = subprocess.Popen(command, cwd=machine, env=environment)
        try:
            return process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False


@dataclass(frozen=True)
class Store:
    """Where input and output are, and what a process needs to find it."""

    folder: UPath
    environment: dict[str, str]


@contextlib.contextmanager
def open_store(s3: bool) -> Iterator[Store]:
    """A place for one benchmark, on the disk or on S3."""
    if not s3:
        with tempfile.TemporaryDirectory() as name:
            yield Store(UPath(name), {})
        return
    from tests.contract.s3_server import s3_server

    with s3_server() as server:
        yield Store(server.folder, server.environment)


def main() -> None:
    """Kill, finish, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s3", action="store_true", help="on S3 instead of a local disk")
    parser.add_argument("--after", type=float, nargs=2, default=(0.2, 1.2), metavar="SECONDS", help="when to kill")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with open_store(options.s3) as store, serving(slow_echo) as server:
        (store.folder / "in.jsonl").write_text("".join(f'{{"text": "question {n}"}}\n' for n in range(options.rows)))
        started = time.monotonic()
        kills = 0
        while kills < options.kills and not run_until(server, store, chance.uniform(*options.after)):
            kills += 1
        ended = run_until(server, store, None)
        store.folder.fs.invalidate_cache()
        lines = [json.loads(line) for line in (store.folder / "out/results-00000.jsonl").read_text().splitlines()]
        expected = [(n, f"question {n}"[::-1]) for n in range(options.rows)]
        right = expected == [(line["index"], line["output"]) for line in lines]
        hits = Counter(request.body["messages"][0]["content"] for request in server.posts)
    again = sum(hits.values()) - len(hits)
    where = "on S3" if options.s3 else "on the disk"
    print(
        f"{kills} kills at random {where}, {options.rows} rows, ended well: {ended}, every row once: {right}, "
        f"sent {sum(hits.values())}, most for one row {max(hits.values())}, {time.monotonic() - started:.0f} s"
    )
    wrong = 0 if ended and right else 1
    line(f"{kills} kills at random {where}: outputs that are not every row once", wrong, Bar(0), form=".0f")
    # What was in flight, and what one group may hold.
    most = IN_FLIGHT + IN_FLIGHT / ANSWER_TIME * GROUP_AGE
    line(f"{kills} kills at random {where}: rows sent again, a kill", again / max(kills, 1), Bar(most), form=".0f")


if __name__ == "__main__":
    main()
