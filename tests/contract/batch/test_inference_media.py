"""Images, sounds and videos in chats, as whole batches: what the engine gets, what a row's bad file is, what a resume
sends again."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchInputError, BatchStopped
from airflow_provider_hf_endpoints.inference.media import reading
from tests.contract.inference_server import Reply, Request, chat_reply, serving
from tests.contract.s3_server import s3_server

PNG = b"\x89PNG\r\n\x1a\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
MP4 = b"\x00\x00\x00\x18ftypisom"


def asking(kind: str, column: str) -> list[dict[str, Any]]:
    part = {"type": kind, kind: column}
    return [{"role": "user", "content": [{"type": "text", "text": "What is in {n}?"}, part]}]


def job(url: str, folder: Any, **options: Any) -> BatchJob:
    settings: dict[str, Any] = {
        "task": "chat-completion",
        "engine": "vLLM",
        "model": "m",
        "input_path": folder / "in.jsonl",
        "output_path": folder / "out",
        "messages": asking("image", "{page}"),
        "max_concurrency": 4,
        "max_error_rate": None,
    }
    return BatchJob(url=url, **{**settings, **options})


def write(folder: Any, rows: list[dict[str, Any]]) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps({"n": n, **row}) + "\n" for n, row in enumerate(rows)))


def lines_of(folder: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out/results-00000.jsonl").read_text().splitlines()]


def sent(request: Request) -> bytes:
    """The medium in a request."""
    part = request.body["messages"][-1]["content"][-1]
    inside = part[part["type"]]
    return base64.b64decode(inside["data"] if "data" in inside else inside["url"].partition(",")[2])


def tell(request: Request) -> Reply:
    return chat_reply(f"{len(sent(request))} bytes")


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "disk":
        yield tmp_path
        return
    with s3_server() as server:
        yield server.folder


def test_each_row_sends_its_file(folder: Any) -> None:
    """By a path from the input's folder, by a whole path, and by a pattern with columns in it."""
    for number in range(20):
        target = folder / f"scans/{number}.png"
        if isinstance(folder, Path):
            target.parent.mkdir(exist_ok=True)
        target.write_bytes(PNG + b"x" * number)
    write(
        folder,
        [{"page": f"scans/{number}.png"} for number in range(10)]
        + [{"page": str(folder / f"scans/{number}.png")} for number in range(10, 20)],
    )
    with serving(tell) as server:
        assert 20 == run_batch(job(server.url, folder)).succeeded
        assert (
            20
            == run_batch(
                job(server.url, folder, messages=asking("image", "scans/{n}.png"), output_path=folder / "again")
            ).succeeded
        )
        urls = {request.body["messages"][0]["content"][1]["image_url"]["url"][:22] for request in server.posts}
        assert {"data:image/png;base64,"} == urls
    assert [f"{8 + number} bytes" for number in range(20)] == [line["output"] for line in lines_of(folder)]


def test_a_folder_of_images_is_a_batch(folder: Any) -> None:
    """Each file is a row, and is sent."""
    for number in range(5):
        target = folder / f"in/{number}.png"
        if isinstance(folder, Path):
            target.parent.mkdir(exist_ok=True)
        target.write_bytes(PNG + b"x" * number)
    messages = [{"role": "user", "content": [{"type": "image", "image": "{path}"}]}]
    with serving(tell) as server:
        one = job(
            server.url, folder, input_path=folder / "in", input_format="files", messages=messages, id_column="name"
        )
        assert 5 == run_batch(one).succeeded
    assert [(f"{n}.png", f"{8 + n} bytes") for n in range(5)] == [
        (line["id"], line["output"]) for line in lines_of(folder)
    ]


@pytest.mark.parametrize(
    ("engine", "kind", "content", "part"),
    [
        ("vLLM", "audio", WAV, {"type": "input_audio", "input_audio": {"data": None, "format": "wav"}}),
        ("sGLang", "audio", WAV, {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,"}}),
        ("vLLM", "video", MP4, {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,"}}),
        ("llamacpp", "audio", WAV, {"type": "input_audio", "input_audio": {"data": None, "format": "wav"}}),
        ("tgi", "image", PNG, {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}),
    ],
)
def test_each_engine_gets_its_form(
    tmp_path: Path, engine: str, kind: str, content: bytes, part: dict[str, Any]
) -> None:
    """With the type by the file's first bytes, whatever its name is."""
    (tmp_path / "file").write_bytes(content)
    write(tmp_path, [{"page": "file"}])
    with serving(tell) as server:
        run_batch(job(server.url, tmp_path, engine=engine, messages=asking(kind, "{page}")))
        found = server.posts[-1].body["messages"][0]["content"][1]
    encoded = base64.b64encode(content).decode()
    inside = part[part["type"]]
    filled = {**inside, "data": encoded} if "data" in inside else {"url": inside["url"] + encoded}
    assert {**part, part["type"]: filled} == found


@pytest.mark.parametrize(("engine", "kind"), [("llamacpp", "video"), ("tgi", "audio"), ("huggingface", "image")])
def test_what_an_engine_does_not_take_is_refused(tmp_path: Path, engine: str, kind: str) -> None:
    """Before anything is sent, with what it takes."""
    (tmp_path / "file").write_bytes(WAV)
    write(tmp_path, [{"page": "file"}])
    with serving(tell) as server:
        with pytest.raises(BatchInputError, match=f"a part of the type '{kind}', but a chat on .* takes"):
            run_batch(job(server.url, tmp_path, engine=engine, messages=asking(kind, "{page}")))
        assert [] == server.posts


def test_bytes_in_the_row_are_sent(tmp_path: Path) -> None:
    """A data URL, a struct as in datasets of the Hub, and long base64. An http URL is the engine's to fetch."""
    content = PNG + bytes(3000)
    text = base64.b64encode(content).decode()
    rows = [f"data:image/png;base64,{text}", {"bytes": text, "path": "a.png"}, text, {"path": "a.png"}]
    (tmp_path / "a.png").write_bytes(content)
    write(tmp_path, [{"page": page} for page in [*rows, "https://example.org/cat.png"]])
    with serving(lambda request: chat_reply(request.body["messages"][0]["content"][1]["image_url"]["url"])) as server:
        assert 5 == run_batch(job(server.url, tmp_path)).succeeded
    assert [f"data:image/png;base64,{text}"] * 4 + ["https://example.org/cat.png"] == [
        line["output"] for line in lines_of(tmp_path)
    ]


def test_bytes_in_parquet_are_sent(tmp_path: Path) -> None:
    """A column of bytes, and structs of bytes and a path, as datasets write images."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    content = [PNG + b"x" * n for n in range(3)]
    structs = [{"bytes": each, "path": f"{n}.png"} for n, each in enumerate(content)]
    parquet.write_table(pa.table({"n": [0, 1, 2], "page": content, "image": structs}), tmp_path / "in.parquet")
    with serving(tell) as server:
        for column in ("page", "image"):
            run_batch(
                job(
                    server.url,
                    tmp_path,
                    input_path=tmp_path / "in.parquet",
                    messages=asking("image", f"{{{column}}}"),
                    output_path=tmp_path / column,
                )
            )
            found = (tmp_path / column / "results-00000.jsonl").read_text().splitlines()
            assert ["8 bytes", "9 bytes", "10 bytes"] == [json.loads(line)["output"] for line in found]


def test_a_bad_file_is_an_error_of_its_row(folder: Any) -> None:
    """Missing, empty, too large, of another kind, of a place that rows may not name. The others are sent."""
    for name, content in {"ok": PNG, "empty": b"", "large": PNG + bytes(2000), "text": b"<html>", "wav": WAV}.items():
        (folder / name).write_bytes(content)
    pages = ["ok", "gone", "empty", "large", "text", "wav", "data:image/png;base64,%%%", "ftp://h/a.png", "ok"]
    write(folder, [{"page": page} for page in pages])
    with serving(tell) as server:
        report = run_batch(job(server.url, folder, max_media_bytes=1000))
        assert (2, 2) == (report.succeeded, len(server.posts))
    kinds = [line["error"] and line["error"]["type"] for line in lines_of(folder)]
    invalid = ["media_invalid"] * 4
    assert [None, "media_missing", "media_empty", "media_too_large", *invalid, None] == kinds
    assert "max_media_bytes=1,000" in lines_of(folder)[3]["error"]["message"]
    assert {"caller"} == {line["error"]["fault"] for line in lines_of(folder) if line["error"]}


def test_rows_on_a_store_name_no_files_of_the_worker(tmp_path: Path) -> None:
    """Neither by a path nor by a scheme: the author of the rows would read the worker's disk."""
    (tmp_path / "secret.png").write_bytes(PNG)
    with s3_server() as server:
        write(server.folder, [{"page": f"{tmp_path}/secret.png"}, {"page": f"file://{tmp_path}/secret.png"}])
        with serving(tell) as engine:
            assert {"media_invalid": 2} == run_batch(job(engine.url, server.folder)).errors
            assert [] == engine.posts


def test_a_replaced_file_is_sent_again(folder: Any) -> None:
    """A resumed batch sends the rows that are missing, and those whose file is another by now; no others."""
    for number in range(20):
        (folder / f"{number}.png").write_bytes(PNG + b"x" * number)
    write(folder, [{"page": f"{number}.png"} for number in range(20)])
    with serving(lambda request: replace(tell(request), delay=0.02)) as server:
        one = job(server.url, folder, max_concurrency=1, checkpoint_interval=0.1)
        with pytest.raises(BatchStopped):
            run_batch(one, stop=lambda: len(server.posts) >= 10)
        before = len(server.posts)
        (folder / "3.png").write_bytes(PNG + b"other")
        report = run_batch(one)
        assert (20, 20 + 1) == (report.succeeded, len(server.posts))
        assert before - 1 == report.resumed
    assert "13 bytes" == lines_of(folder)[3]["output"]


def test_files_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait for room. One file that is larger than all the room is sent alone."""
    monkeypatch.setattr(reading, "MOST_BYTES", 10_000)
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(PNG + bytes(30_000 if number == 5 else 4_000))
    write(tmp_path, [{"page": f"{number}.png"} for number in range(12)])
    with serving(lambda request: replace(tell(request), delay=0.05)) as server:
        assert 12 == run_batch(job(server.url, tmp_path, max_concurrency=8)).succeeded
        assert 2 == server.most_in_flight


def test_a_retry_reads_the_file_again(tmp_path: Path) -> None:
    """Each try has the whole body."""
    (tmp_path / "a.png").write_bytes(PNG)
    write(tmp_path, [{"page": "a.png"}])
    with serving(lambda request: Reply(500) if request.number == 0 else tell(request)) as server:
        assert 1 == run_batch(job(server.url, tmp_path)).succeeded
        assert [PNG, PNG] == [sent(request) for request in server.posts]


def test_a_slow_row_is_sent_twice_and_done_once(tmp_path: Path) -> None:
    """Hedging reads the file a second time; the first answer counts."""
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes(PNG)
    write(tmp_path, [{"page": f"{number}.png"} for number in range(30)])
    with serving(lambda request: replace(tell(request), delay=1.0 if request.number == 3 else 0.01)) as server:
        report = run_batch(job(server.url, tmp_path, hedge_after=0.2))
        assert (30, 1) == (report.succeeded, report.hedges)
    assert list(range(30)) == [line["index"] for line in lines_of(tmp_path)]


def test_a_file_that_is_closed_to_this_user_is_its_rows_error(tmp_path: Path) -> None:
    """It can succeed once it is opened, so the same job sends the row again."""
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.png").chmod(0)
    write(tmp_path, [{"page": "a.png"}])
    with serving(tell) as server:
        assert {"media_unreadable": 1} == run_batch(job(server.url, tmp_path)).errors


def test_a_listed_file_costs_one_request_of_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read. Its size and version are known from the listing, so nothing else is asked."""
    s3fs = pytest.importorskip("s3fs")
    asked: Counter[str] = Counter()
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *given: Any, **options: Any) -> Any:
        asked[f"{method} {options.get('Key', '')}".rpartition("/")[2]] += 1
        return await call(self, method, *given, **options)

    with s3_server() as store:
        for number in range(10):
            (store.folder / f"in/{number}.png").write_bytes(PNG)
        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
        messages = [{"role": "user", "content": [{"type": "image", "image": "{path}"}]}]
        with serving(tell) as server:
            run_batch(
                job(server.url, store.folder, input_path=store.folder / "in", input_format="files", messages=messages)
            )
    assert {f"{number}.png": 1 for number in range(10)} == {name: n for name, n in asked.items() if "png" in name}


CHILD = """
import sys
from tests.contract.batch.test_inference_media import job
from airflow_provider_hf_endpoints.inference.batch import run_batch
from pathlib import Path
run_batch(job(sys.argv[1], Path(sys.argv[2]), max_concurrency=8))
"""


def test_a_killed_batch_sends_no_finished_file_again(tmp_path: Path) -> None:
    """kill -9 at random moments: each row has the answer to its own file, and little is sent twice."""
    rows, kills, chance = 400, 0, random.Random(3)
    for number in range(rows):
        (tmp_path / f"{number}.png").write_bytes(PNG + b"x" * number)
    write(tmp_path, [{"page": f"{number}.png"} for number in range(rows)])
    with serving(lambda request: replace(tell(request), delay=0.02)) as server:
        while True:
            before = len(server.posts)
            process = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(tmp_path)])
            while process.poll() is None and len(server.posts) == before:
                time.sleep(0.01)
            try:
                process.wait(timeout=60 if kills >= 4 else chance.uniform(0.0, 0.4))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
            break
        assert 0 == process.returncode
        again = len(server.posts) - rows
    assert [f"{8 + number} bytes" for number in range(rows)] == [line["output"] for line in lines_of(tmp_path)]
    assert 0 <= again <= kills * (8 + 400 * 1.0)  # in flight, and of the second that was not yet durable
    assert kills >= 2
