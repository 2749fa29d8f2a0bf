"""kill -9 a batch at random moments, again and again, and compare row by row: `python benchmarks/crash.py --kills 200`.

The server counts every request, so that what was sent twice is known: no more than what was in flight or not yet synced
at each kill.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.contract.inference_server import Reply, Request, Server, chat_reply, serving

CHILD = """
import sys
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
url, folder = sys.argv[1:]
run_batch(BatchJob(url=url, task="chat-completion", engine="tgi", prompt="{text}", max_concurrency=16,
                   input_path=folder + "/in.jsonl", output_path=folder + "/out", checkpoint_interval=0.1))
"""


def slow_echo(request: Request) -> Reply:
    """An answer after ten milliseconds."""
    return chat_reply(request.body["messages"][0]["content"][::-1], delay=0.01)


def run_until(server: Server, folder: Path, seconds: float | None) -> bool:
    """One run, killed so long after its start; true when it came to its end."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(folder)])
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def main() -> None:
    """Kill, finish, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, serving(slow_echo) as server:
        folder = Path(name)
        (folder / "in.jsonl").write_text("".join(f'{{"text": "question {n}"}}\n' for n in range(options.rows)))
        started = time.monotonic()
        kills = 0
        while kills < options.kills and not run_until(server, folder, chance.uniform(0.2, 1.2)):
            kills += 1
        ended = run_until(server, folder, None)
        lines = [json.loads(line) for line in (folder / "out/results-00000.jsonl").read_text().splitlines()]
        expected = [(n, f"question {n}"[::-1]) for n in range(options.rows)]
        right = expected == [(line["index"], line["output"]) for line in lines]
        hits = Counter(request.body["messages"][0]["content"] for request in server.posts)
    again = sum(hits.values()) - len(hits)
    print(
        f"{kills} kills, {options.rows} rows, ended well: {ended}, every row once and right: {right}, "
        f"sent {sum(hits.values())}, of those again {again} ({again / max(kills, 1):.0f} a kill), "
        f"most for one row {max(hits.values())}, {time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
