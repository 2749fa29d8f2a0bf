"""Rows per second of whole batches, side by side: `python benchmarks/throughput.py --all --peers PYTHON`, PYTHON being
that of an environment with `benchmarks/requirements.txt`; without both, against huggingface_hub alone.

The server has one core and the contestant another (`taskset`); contestants take turns and every figure is the median
of the repetitions. CPU is the contestant's own, per row. `--before CHECKOUT` adds this project as it was in another
checkout (`before`, `before-stub`), which takes its turns beside the present one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bars import Bar, line

EVERYONE = ("ours", "ours-stub", "ours-httpx", "hub", "datatrove", "aiohttp", "pyreqwest", "httpx")
HERE = Path(__file__).parent
HANG = 600.0  # seconds


@contextmanager
def server(delay: float, tls: tuple[str, str] | None) -> Iterator[str]:
    """The server on the first core; gives its URL."""
    command = ["taskset", "-c", "0", sys.executable, str(HERE / "server.py"), "--delay", str(delay)]
    if tls:
        command += ["--tls", *tls]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that is its own authority."""
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        key,
        "-out",
        cert,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def write_input(path: Path, rows: int) -> None:
    """Rows as long as a question of a school book."""
    with path.open("w") as file:
        for number in range(rows):
            question = (
                f"A baker sells {number} loaves for {number % 7 + 2} coins each and gives away {number % 5}. " * 3
            )
            file.write(json.dumps({"question": question + "How much does she earn?", "answer": str(number)}) + "\n")


def stats(url: str, tls: tuple[str, str] | None) -> dict[str, int]:
    """What the server saw since the last time."""
    context = ssl.create_default_context(cafile=tls[0]) if tls else None
    with urllib.request.urlopen(f"{url}/stats", context=context) as answer:
        found: dict[str, int] = json.load(answer)
    urllib.request.urlopen(f"{url}/reset", data=b"{}", context=context).close()
    return found


def measure(
    name: str,
    url: str,
    source: Path,
    folder: Path,
    concurrency: int,
    tls: tuple[str, str] | None,
    python: str = sys.executable,
    before: Path | None = None,
) -> dict[str, float]:
    """One contestant, once, on the second core; `before-…` is `ours-…` of the checkout `before`."""
    target = folder / "out.jsonl"
    for path in folder.glob("out*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    environment = dict(os.environ) | ({"SSL_CERT_FILE": tls[0]} if tls else {})
    tree = HERE.parent
    if before is not None and name.startswith("before"):
        name, tree = name.replace("before", "ours"), before
    if name.startswith("ours"):
        environment["PYTHONPATH"] = str(tree)  # in front of what is installed
    command = ["taskset", "-c", "1", python, str(tree / "benchmarks" / "contestants.py"), name, url]
    command += [str(source), str(target), str(concurrency)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANG)
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"{name}: no end in {HANG:g} s") from error
    if ended.returncode:
        raise SystemExit(f"{name}: {ended.stderr[-2000:]}")
    found: dict[str, float] = json.loads(ended.stdout)
    seen = stats(url, tls)
    return found | {"most": seen["most"], "usual": seen["usual"]}


@dataclass(frozen=True, slots=True)
class Figures:
    """A contestant at one concurrency: medians, but for memory, of which the most counts."""

    rate: float  # rows/s
    cpu: float  # ms per row
    memory: float  # MB
    usual: int
    most: int

    @classmethod
    def of(cls, runs: list[dict[str, float]], rows: int) -> Figures:
        """From the runs that were made."""
        return cls(
            rows / statistics.median(run["seconds"] for run in runs),
            1000 * statistics.median(run["cpu"] for run in runs) / rows,
            max(run["rss_mb"] for run in runs),
            int(statistics.median(run["usual"] for run in runs)),
            int(max(run["most"] for run in runs)),
        )

    def row(self, name: str, concurrency: int) -> str:
        """A line of the table."""
        return (
            f"{name:12} {concurrency:9d} {self.rate:8.0f} {self.cpu:10.3f} {self.memory:7.0f}"
            f" {self.usual:9d} {self.most:5d}"
        )


HEAD = f"{'contestant':12} {'in flight':>9} {'rows/s':>8} {'CPU ms/row':>10} {'RSS MB':>7} {'seen':>9} {'most':>5}"
#: datatrove commits to sqlite for every row, httpx walks its pool; their rates show in fewer.
ROWS_AT_MOST = {"datatrove": 1000, "httpx": 4000, "ours-httpx": 4000}
TIMES_HUB = {64: 4.0, 256: 5.0, 1000: 5.0}


def table(options: argparse.Namespace, *, tls: bool, folder: Path) -> dict[tuple[str, int], Figures]:
    """Run everything that was asked for, contestants taking turns, and print it."""
    keys = certificate(folder) if tls else None
    for name in options.contestants:
        write_input(folder / f"in-{name}.jsonl", min(options.rows, ROWS_AT_MOST.get(name, options.rows)))
    print(f"\n{'HTTPS' if tls else 'HTTP'}, answers after {options.delay:g} s, {options.rows} rows\n{HEAD}")
    figures: dict[tuple[str, int], Figures] = {}
    with server(options.delay, keys) as url:
        for concurrency in options.concurrency:
            runs: dict[str, list[dict[str, float]]] = {}
            for _ in range(options.repeat):
                for name in options.contestants:
                    if tls and name == "datatrove":
                        continue  # over HTTPS it needs openai's client
                    python = sys.executable if name.startswith(("ours", "before")) else options.peers
                    source = folder / f"in-{name}.jsonl"
                    one = measure(name, url, source, folder, concurrency, keys, python, options.before)
                    runs.setdefault(name, []).append(one)
            for name, found in runs.items():
                rows = min(options.rows, ROWS_AT_MOST.get(name, options.rows))
                figures[name, concurrency] = Figures.of(found, rows)
                print(figures[name, concurrency].row(name, concurrency), flush=True)
    return figures


def bars_of_speed(found: dict[tuple[str, int], Figures]) -> None:
    """The bars on rows a second and CPU, for what was measured."""
    print()
    for (name, concurrency), one in found.items():
        if name == "ours" and ("hub", concurrency) in found and concurrency in TIMES_HUB:
            times = one.rate / found["hub", concurrency].rate
            line(f"times huggingface_hub's rows/s, {concurrency} in flight", times, Bar(TIMES_HUB[concurrency], False))
        if name == "ours" and ("datatrove", concurrency) in found:
            times = one.rate / found["datatrove", concurrency].rate
            line(f"times datatrove's rows/s, {concurrency} in flight", times, Bar(10.0, False))
        if name == "ours":
            line(f"CPU of a row, {concurrency} in flight, HTTP", one.cpu, Bar(0.4), "ms")
        if name == "ours-stub":
            line(f"CPU of a row without HTTP, {concurrency} in flight", one.cpu, Bar(0.12), "ms")
        if name.startswith("before"):
            now = found[name.replace("before", "ours"), concurrency]
            line(f"rows/s now by those {name}, {concurrency} in flight", now.rate / one.rate, Bar(0.97, False))
    if ("ours", 64) in found and ("ours", 1000) in found:
        line("CPU of a row at 1000 by that at 64", found["ours", 1000].cpu / found["ours", 64].cpu, Bar(1.3))


def bars_of_tls(plain: dict[tuple[str, int], Figures], tls: dict[tuple[str, int], Figures]) -> None:
    """The bars on HTTPS."""
    print()
    for (name, concurrency), one in tls.items():
        if name == "ours":
            more = one.cpu - plain[name, concurrency].cpu
            line(f"CPU of a row that HTTPS adds, {concurrency} in flight", more, Bar(0.35), "ms")
    if ("ours", 256) in tls:
        line("resident memory over HTTPS, 256 in flight", tls["ours", 256].memory, Bar(150), "MB", ".0f")


def main() -> None:
    """Measure, and print tables and bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--contestants", nargs="+", help="default: ours, ours-httpx, ours-stub and hub")
    parser.add_argument("--all", action="store_true", help="every contestant, over HTTP and HTTPS")
    parser.add_argument("--peers", default=sys.executable, help="the Python that has benchmarks/requirements.txt")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument("--tls", action="store_true", help="over HTTPS too")
    parser.add_argument("--before", type=Path, help="a checkout of this project to compare with")
    options = parser.parse_args()
    if options.before is not None:
        options.before = options.before.resolve()
        options.contestants = options.contestants or ["before", "ours", "before-stub", "ours-stub"]
    options.contestants = options.contestants or ["ours", "ours-httpx", "ours-stub", "hub"]
    if options.all:
        options.tls, options.contestants = True, [*EVERYONE]
    with tempfile.TemporaryDirectory() as name:
        plain = table(options, tls=False, folder=Path(name))
        encrypted = table(options, tls=True, folder=Path(name)) if options.tls else {}
    bars_of_speed(plain)
    if encrypted:
        bars_of_tls(plain, encrypted)


if __name__ == "__main__":
    main()
