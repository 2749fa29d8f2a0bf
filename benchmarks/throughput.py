"""Rows per second of whole batches, side by side: `python benchmarks/throughput.py`.

The server has one core and the contestant another (`taskset`); contestants take turns and every figure is the median
of the repetitions. CPU is the contestant's own, per row.
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
from pathlib import Path

HERE = Path(__file__).parent


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
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
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
    name: str, url: str, source: Path, folder: Path, concurrency: int, tls: tuple[str, str] | None
) -> dict[str, float]:
    """One contestant, once, on the second core."""
    target = folder / "out.jsonl"
    for path in folder.glob("out*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command = ["taskset", "-c", "1", sys.executable, str(HERE / "contestants.py"), name, url]
    command += [str(source), str(target), str(concurrency)]
    environment = dict(os.environ) | ({"SSL_CERT_FILE": tls[0]} if tls else {})
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(ended.stdout)
    return found | {"most": stats(url, tls)["most"]}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--contestants", nargs="+", default=["ours", "ours-httpx", "hub"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tls = certificate(folder) if options.tls else None
        write_input(folder / "in.jsonl", options.rows)
        print(f"{'contestant':12} {'in flight':>9} {'rows/s':>8} {'CPU ms/row':>10} {'RSS MB':>7} {'server saw':>10}")
        with server(options.delay, tls) as url:
            for concurrency in options.concurrency:
                runs: dict[str, list[dict[str, float]]] = {}
                for _ in range(options.repeat):
                    for contestant in options.contestants:
                        one = measure(contestant, url, folder / "in.jsonl", folder, concurrency, tls)
                        runs.setdefault(contestant, []).append(one)
                for contestant, found in runs.items():
                    print(
                        f"{contestant:12} {concurrency:9d}"
                        f" {options.rows / statistics.median(run['seconds'] for run in found):8.0f}"
                        f" {1000 * statistics.median(run['cpu'] for run in found) / options.rows:10.3f}"
                        f" {max(run['rss_mb'] for run in found):7.0f} {max(run['most'] for run in found):10.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
