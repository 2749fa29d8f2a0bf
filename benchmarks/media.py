"""A batch of images on S3: `python benchmarks/media.py` (`--files 1000` for fewer of them).

Memory and rate of a batch of 10,000 images of 200 KB at 64 in flight, from moto's S3, beside a bare loop that reads
with the same S3 client and sends with the same HTTP client, without a journal, retries or an output. The two take
turns. The S3 server is the slowest part, and is the same for both.
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
import time
from binascii import b2a_base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bars import Bar, line
from throughput import server

IN_FLIGHT = 64
SIZE = 200_000
MOST_MEMORY = 400  # MB
LEAST_SHARE = 0.8
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}
FOLDER = "s3://images/scans"
QUESTION = "What is on this page?"
#: moto's server, in a process of its own: it prints its port.
MOTO = """
import logging, threading
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


def upload(files: int) -> None:
    """So many images, each with a number in it."""
    import s3fs

    fs = s3fs.S3FileSystem()
    fs.mkdir("images")
    noise = os.urandom(SIZE - 16)

    def put(number: int) -> None:
        fs.pipe_file(f"images/scans/{number:05}.png", b"\x89PNG\r\n\x1a\n%08d" % number + noise)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(files)))


def ours(url: str, target: Path) -> None:
    """The batch."""
    from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch

    content = [{"type": "text", "text": QUESTION}, {"type": "image", "image": "{path}"}]
    report = run_batch(
        BatchJob(
            url=url,
            task="chat-completion",
            engine="vLLM",
            model="org/model",
            input_path=FOLDER,
            input_format="files",
            output_path=target,
            id_column="name",
            messages=[{"role": "user", "content": content}],
            max_concurrency=IN_FLIGHT,
        )
    )
    if report.failed:
        raise SystemExit(f"{report.failed} rows failed: {report.errors}")


def bare(url: str, target: Path) -> None:
    """A loop over the same clients, with nothing around it."""
    import msgspec
    import s3fs

    from airflow_provider_hf_endpoints.inference.http.streams import StreamsTransport
    from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest

    fs = s3fs.S3FileSystem()
    names = iter(fs.ls(FOLDER))
    pool = ThreadPoolExecutor(IN_FLIGHT)

    def body_of(name: str) -> bytes:
        image = f"data:image/png;base64,{b2a_base64(fs.cat_file(name), newline=False).decode()}"
        content = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": image}}]
        return msgspec.json.encode({"model": "org/model", "messages": [{"role": "user", "content": content}]})

    async def work(transport: StreamsTransport, file: object) -> None:
        for name in names:
            body = await asyncio.get_running_loop().run_in_executor(pool, body_of, name)
            answer = await transport.send(HttpRequest("POST", "/v1/chat/completions", body, 60.0))
            text = msgspec.json.decode(answer.body)["choices"][0]["message"]["content"]
            file.write(json.dumps({"id": name, "output": text}) + "\n")  # type: ignore[attr-defined]

    async def main() -> None:
        transport = StreamsTransport(url, {})
        with target.open("w") as file:
            await asyncio.gather(*(work(transport, file) for _ in range(IN_FLIGHT)))
        await transport.aclose()

    asyncio.run(main())


def measured(contestant: str, url: str, files: int) -> tuple[float, float]:
    """Images a second, and the most resident memory in MB, of a run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.jsonl"
        command = [sys.executable, __file__, "--child", contestant, url, str(target)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(ended.stderr[-2000:])
        written = sum(1 for _ in target.open())
    if written != files:
        raise SystemExit(f"{contestant}: {written} lines for {files} images")
    seconds, memory = json.loads(ended.stdout.splitlines()[-1])
    return files / seconds, memory


def child(contestant: str, url: str, target: Path) -> None:
    """One run; prints its seconds and its memory."""
    began = time.monotonic()
    {"ours": ours, "bare": bare}[contestant](url, target)
    seconds = time.monotonic() - began
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main() -> None:
    """The bars."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], given.child[1], Path(given.child[2]))
        return
    os.environ.update(CREDENTIALS)
    moto = subprocess.Popen([sys.executable, "-c", MOTO], stdout=subprocess.PIPE, text=True)
    try:
        assert moto.stdout is not None
        port = next(each for each in moto.stdout if each.strip().isdigit()).strip()
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        upload(given.files)
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        memory = 0.0
        with server(0.0, None) as url:
            for _ in range(given.turns):
                for contestant, seen in rates.items():
                    rate, used = measured(contestant, url, given.files)
                    print(f"{contestant}: {rate:.0f} images/s, {used:.0f} MB", flush=True)
                    seen.append(rate)
                    memory = max(memory, used if contestant == "ours" else 0.0)
    finally:
        moto.terminate()
        moto.wait()
    line(f"resident memory, {given.files} images, MB", memory, Bar(MOST_MEMORY), form=".0f")
    share = max(rates["ours"]) / max(rates["bare"])
    line("images/s by those of a bare loop", share, Bar(LEAST_SHARE, at_most=False), form=".2f")


if __name__ == "__main__":
    main()
