"""Kill a batch at every operation on its files: `python benchmarks/crash_points.py` (`--objects` for object storage).

Every open for writing, write, sync, rename, delete and (on object storage) publish of an object is a point. A small
batch is killed (SIGKILL) before the first, in the middle of it where it writes, and after it; then at the second, and
so on until one comes to its end. After each kill another run goes on, and its output is compared row by row; every
request is noted in a separate file before it is answered. `--power` also takes back a random part of what was not
synced, and some of the renames whose folder was not.
"""

from __future__ import annotations

import argparse
import asyncio
import builtins
import io
import json
import os
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
from bars import Bar, line
from fsspec.implementations.local import LocalFileSystem
from upath import UPath

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.journal import compaction, lock, recorder
from airflow_provider_hf_endpoints.inference.wire import WireResponse

PHASES = ("before", "amid", "after")
CONCURRENCY = 2
GROUP = 4  # rows made durable together


class Points:
    """Counts the operations and dies at one of them."""

    def __init__(self, at: int, phase: str, power: random.Random | None) -> None:
        self._at, self._phase, self._power = at, phase, power
        self._seen = 0
        self._synced: dict[str, int] = {}  # by path: bytes that a loss of power leaves
        self._renamed: list[tuple[str, str, bytes | None]] = []  # from, to, and what stood there; folder not synced

    def around(self, name: str, operation: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do an operation, or die at it."""
        number, self._seen = self._seen, self._seen + 1
        if number != self._at:
            return operation()
        if self._phase == "amid" and half is not None:
            half()
        if self._phase == "after":
            operation()
        self._lose_power()
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    def opened(self, path: str) -> None:
        """A file is written from now on."""
        self._synced.setdefault(path, 0)

    def synced(self, path: str) -> None:
        """What is in a file by now is durable, or what names a folder has."""
        self._renamed = [each for each in self._renamed if os.path.dirname(each[1]) != path]
        if path in self._synced:
            self._synced[path] = os.path.getsize(path)

    def rename(self, source: str, target: str, replace: Callable[[str, str], None]) -> None:
        """A file is given the name of another."""
        before = Path(target).read_bytes() if os.path.exists(target) else None
        replace(source, target)
        self._synced[target] = self._synced.pop(source, 0)
        self._renamed.append((source, target, before))

    def _lose_power(self) -> None:
        self._take_back()
        for path, size in self._synced.items():
            if self._power is not None and os.path.exists(path):
                whole = os.path.getsize(path)
                os.truncate(path, self._power.randint(min(size, whole), whole))

    def _take_back(self) -> None:
        """The last renames that are not durable, or all of them, were never made."""
        last = self._power.randint(0, len(self._renamed)) if self._power is not None else 0
        for source, target, before in reversed(self._renamed[len(self._renamed) - last :]):
            os.rename(target, source)
            self._synced[source] = self._synced.pop(target, 0)
            if before is not None:
                Path(target).write_bytes(before)


class Written:
    """A file open for writing whose writes are points; they reach the system at once, as a crash would find them."""

    def __init__(self, file: Any, path: str, points: Points) -> None:
        self._file, self._path, self._points = file, path, points
        points.opened(path)

    def write(self, data: bytes) -> int:
        def some(size: int) -> None:
            self._file.write(data[:size])
            self._file.flush()

        name = f"write {Path(self._path).name}"
        self._points.around(name, lambda: some(len(data)), lambda: some(len(data) // 2))
        return len(data)

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Bucket(LocalFileSystem):
    """Object storage in a folder: no append, and an object is there whole when its file is closed."""

    protocol = "bucket"
    points: Points | None = None

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "w" not in mode or self.points is None:
            return super()._open(path, mode, **options)
        points, file = self.points, io.BytesIO()
        close = file.close

        def publish() -> None:
            data = file.getvalue()
            close()
            self.points = None
            try:
                partial = f"{path}.{os.getpid()}.upload"
                Path(partial).write_bytes(data)
                os.replace(partial, path)
            finally:
                self.points = points

        file.close = lambda: None if file.closed else points.around(f"put {path}", publish)  # type: ignore[method-assign]
        return file


def watch(points: Points, root: str) -> None:
    """Make every operation on files below `root` a point, in this process, permanently."""
    plain_open, replace, unlink = builtins.open, os.replace, os.unlink

    def open_(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(file, int) or not str(file).startswith(root) or not set(mode) & set("wa+"):
            return plain_open(file, mode, *args, **options)
        found = points.around(f"open {Path(file).name}", lambda: plain_open(file, mode, *args, **options))
        return Written(found, str(file), points)

    def sync_with(sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")

            def do() -> None:
                sync(descriptor)
                points.synced(path)

            points.around(f"sync {Path(path).name}", do)

        return synced

    builtins.open = open_
    io.open = open_
    os.fsync, os.fdatasync = sync_with(os.fsync), sync_with(os.fdatasync)
    os.replace = lambda a, b: points.around(f"rename to {Path(b).name}", lambda: points.rename(str(a), str(b), replace))
    os.unlink = lambda path, **k: points.around(f"delete {Path(path).name}", lambda: unlink(path, **k))


class Noted(Transport):
    """Answers from memory, and writes down what it was asked before it does."""

    def __init__(self, path: Path) -> None:
        self._hits = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def send(self, request: HttpRequest) -> WireResponse:
        text = json.loads(request.body)["messages"][0]["content"]
        os.write(self._hits, text.encode() + b"\n")
        await asyncio.sleep(0.003)  # so that groups are written while others fill
        choice = {"message": {"content": text.upper()}, "finish_reason": "stop"}
        return WireResponse(200, {}, json.dumps({"choices": [choice]}).encode())


def run(folder: Path, objects: bool, points: Points | None) -> None:
    """The batch, in this process."""
    where = UPath(f"bucket://{folder}") if objects else UPath(folder)
    recorder.GROUP_ROWS = recorder.GROUP_ROWS_REMOTE = GROUP
    compaction.FANOUT = 2  # so that a few groups are made larger ones, and those again
    defaults = lock.OutputLock.__init__.__kwdefaults__
    defaults.update(beat=0.02, patience=0.1)  # an object's lock is waited for; not for twenty seconds here
    job = BatchJob(
        url="http://memory",
        task="chat-completion",
        engine="tgi",
        input_path=folder / "in.jsonl",
        output_path=where / "out",
        prompt="{text}",
        max_concurrency=CONCURRENCY,
    )
    if points is not None:
        if objects:
            Bucket.points = points
        else:
            watch(points, str(folder / "out"))
    run_batch(job, transport=Noted(folder / "hits"))


def in_child(work: Callable[[], None]) -> int:
    """Do something in a separate process; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - told by the status
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    return os.waitpid(child, 0)[1]


def try_point(at: int, phase: str, options: argparse.Namespace) -> tuple[bool, list[str], int]:
    """Kill at one point and go on: whether it was reached, what is wrong afterwards, requests sent again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = [f"t{n}" for n in range(options.rows)]
        (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        power = random.Random(at) if options.power else None
        status = in_child(lambda: run(folder, options.objects, Points(at, phase, power)))
        killed = os.WIFSIGNALED(status)
        wrong = [] if killed or status == 0 else ["the first run failed"]
        if in_child(lambda: run(folder, options.objects, None)) != 0:
            wrong.append("the second run failed")
        results, manifest = folder / "out/results-00000.jsonl", folder / "out/manifest.json"
        lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        if [(n, text.upper()) for n, text in enumerate(texts)] != [(line["index"], line["output"]) for line in lines]:
            wrong.append("rows differ")
        if not manifest.exists() or json.loads(manifest.read_text())["report"]["succeeded"] != options.rows:
            wrong.append("the manifest differs")
        left = {path.name for path in (folder / "out").iterdir()} - {results.name, manifest.name, "errors.jsonl"}
        left = {name for name in left if not name.endswith(".upload")}  # storage's own
        if left:
            wrong.append(f"left behind: {sorted(left)}")
        hits = Counter((folder / "hits").read_text().split())
        again = sum(hits.values()) - len(hits)
        # A group that is being written, one that fills meanwhile, and what is in flight.
        if set(hits) != set(texts) or again > 2 * GROUP + 2 * CONCURRENCY:
            wrong.append(f"{again} requests sent again, {len(texts) - len(hits)} never")
        return killed, wrong, again


def main() -> None:
    """Every point in every phase; ends with 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--objects", action="store_true", help="on object storage instead of a local disk")
    parser.add_argument("--power", action="store_true", help="lose what was not synced, too")
    parser.add_argument("--every", type=int, default=1, help="only every so manieth point")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="UPath 'bucket'")
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    kills = again = bad = 0
    for phase in PHASES:
        at, killed = 0, True
        while killed:
            killed, wrong, more = try_point(at, phase, options)
            kills, again, bad, at = kills + killed, again + more, bad + bool(wrong), at + options.every
            if wrong:
                print(f"point {at - options.every}, {phase}: {'; '.join(wrong)}", flush=True)
    operations = kills // len(PHASES)
    kind = "objects" if options.objects else "power lost" if options.power else "local"
    print(f"{kills} kills before, amid and after {operations} operations, {again} requests sent again")
    line(f"{kills} kills at operations on files, {kind}: with anything wrong", bad, Bar(0), form=".0f")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
