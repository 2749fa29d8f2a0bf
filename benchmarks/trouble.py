"""A batch against a real server in trouble: an outage in the middle of it, or a tail of requests that never end.

`python benchmarks/trouble.py outage [--seconds 30] [--flight 128]`: 429 with `Retry-After: 5`, 503, refused
connections. `python benchmarks/trouble.py tail [--rows 20000] [--latency 0.5] [--flight 256]`: 1 % never answered and
3 % that fail at first, beside a clean run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from airflow_provider_hf_endpoints.inference.batch import BatchJob, BatchReport, run_batch
from airflow_provider_hf_endpoints.inference.sending.timeouts import SHORTEST
from benchmarks.bars import Bar, line
from benchmarks.server import ANSWER, whole

RETRY_AFTER = 5  # seconds
BUSY = whole(b'{"error": {"message": "busy"}}', b"429 Too Many Requests\r\nretry-after: %d" % RETRY_AFTER)
AWAY = whole(b'{"error": "503 Service Unavailable"}', b"503 Service Unavailable")
FAILED = whole(b'{"error": {"message": "CUDA error"}}', b"500 Internal Server Error")


@dataclass
class Trouble:
    """What goes wrong, and what was seen of it.

    :param outage: "429", "503" or "refused", from `begins` to `ends` after the first request
    :param tail: every hundredth row is never answered, three of a hundred fail, the first time
    """

    latency: float
    outage: str | None = None
    begins: float = 0.0
    ends: float = 0.0
    tail: bool = False
    first: float | None = None
    during: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    tries: set[int] = field(default_factory=set)
    hung: int = 0

    def now(self) -> float:
        """Seconds since the first request."""
        if self.first is None:
            self.first = time.monotonic()
        return time.monotonic() - self.first

    def judge(self, body: bytes) -> bytes | None:
        """What to answer; None for never."""
        now = self.now()
        if self.outage and self.begins <= now < self.ends:
            self.during.append(now)
            self.refused.append(now)
            return BUSY if self.outage == "429" else AWAY
        if self.tail:
            row = int(json.loads(body)["messages"][-1]["content"].split()[-1])
            if row not in self.tries and (kind := {50: 1, 1: 2, 30: 2, 70: 2}.get(row % 100)):
                self.tries.add(row)
                self.hung += kind == 1
                return None if kind == 1 else FAILED
        return ANSWERED


ANSWERED = whole(ANSWER)


async def serve(trouble: Trouble, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.find(b"\r\ncontent-length:")
            body = await reader.readexactly(int(head[at + 17 :].split(b"\r\n", 1)[0])) if at >= 0 else b""
            answer = trouble.judge(body)
            if answer is None:
                await reader.read(1)  # until the client goes away
                return
            if answer is ANSWERED:
                await asyncio.sleep(trouble.latency)
                trouble.answers.append(trouble.now())
            writer.write(answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@contextmanager
def serving(trouble: Trouble) -> Iterator[str]:
    """A server in a separate thread; its listener is closed while connections are to be refused."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    ended = asyncio.Event()
    address: list[str] = []

    async def main() -> None:
        writers: set[asyncio.StreamWriter] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            await serve(trouble, reader, writer)
            writers.discard(writer)

        listener = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=4096)
        port = listener.sockets[0].getsockname()[1]
        address.append(f"http://127.0.0.1:{port}")
        ready.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)
            away = trouble.outage == "refused" and trouble.first is not None
            away = away and trouble.begins <= trouble.now() < trouble.ends
            if away and listener.is_serving():
                listener.close()
                for writer in writers:
                    writer.transport.abort()
            elif not away and not listener.is_serving():
                listener = await asyncio.start_server(handle, "127.0.0.1", port, backlog=4096)
        listener.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    ready.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


def run(trouble: Trouble, rows: int, flight: int) -> BatchReport:
    """A batch through it."""
    with tempfile.TemporaryDirectory() as folder, serving(trouble) as url:
        source = Path(folder, "in.jsonl")
        source.write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(rows)))
        return run_batch(
            BatchJob(
                url=url,
                task="chat-completion",
                engine="vLLM",
                model="org/model",
                input_path=source,
                output_path=Path(folder, "out"),
                prompt="{text}",
                max_concurrency=flight,
            )
        )


def outage(seconds: float, flight: int, latency: float) -> None:
    """Print what each kind of outage costs."""
    before, after = 10.0, 10.0
    for kind in ("429", "503", "refused"):
        rows = int((before + after) * flight / latency)
        trouble = Trouble(latency, kind, before, before + seconds)
        report = run(trouble, rows, flight)
        wait = RETRY_AFTER if kind == "429" else 0.0
        # What was on its way when the refusal went out counts as no fault: 50 ms.
        early = sum(any(said + 0.05 < at < said + wait for said in trouble.refused) for at in trouble.during)
        usual = sum(3.0 <= at < before for at in trouble.answers) / (before - 3.0)
        back = next(
            t / 10
            for t in range(200)
            if sum(trouble.ends + t / 10 <= at < trouble.ends + t / 10 + 1 for at in trouble.answers) >= 0.9 * usual
        )
        about = f"{seconds:g} s of {kind}, {flight} in flight:"
        if kind != "refused":  # there none come
            line(f"{about} requests", len(trouble.during), Bar(1.1 * flight), form=".0f")
        if kind == "429":
            line(f"{about} requests before their time", early, Bar(0), form=".0f")
        line(f"{about} seconds until 90 % of the throughput is back", back, Bar(5.0), "s", ".1f")
        line(f"{about} rows that failed", report.failed, Bar(0), form=".0f")


def tail(rows: int, flight: int, latency: float) -> None:
    """Print a clean run and one with a tail."""
    print("run      seconds  hung  retries  failed")
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for bad in (False, True, False, True):
        trouble = Trouble(latency, tail=bad)
        report = run(trouble, rows, flight)
        seconds[bad].append(report.seconds)
        name = "tail" if bad else "clean"
        print(f"{name:8}{report.seconds:8.1f}{trouble.hung:6d}{report.retries:9d}{report.failed:8d}", flush=True)
    clean, with_tail = statistics.mean(seconds[False]), statistics.mean(seconds[True])
    line(
        "tail: seconds over 1.15 times the clean run, one timeout", with_tail - 1.15 * clean, Bar(SHORTEST), "s", ".1f"
    )


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["outage", "tail"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--flight", type=int)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0.5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.what == "outage":
        outage(options.seconds, options.flight or 128, options.latency)
    else:
        tail(options.rows, options.flight or 256, options.latency)


if __name__ == "__main__":
    main()
