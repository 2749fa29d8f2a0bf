"""How long a batch waits: for its endpoint, for an unknown host, for all of `job_timeout`; and what the log says."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, arun_batch, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted, BatchStopped
from airflow_provider_hf_endpoints.inference.errors import HttpsNeededError, StartingError, UnknownHostError
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock
from airflow_provider_hf_endpoints.inference.limit.gate import Gate
from airflow_provider_hf_endpoints.inference.output.layout import layout_of
from airflow_provider_hf_endpoints.inference.sending import progress
from airflow_provider_hf_endpoints.inference.wire import WireResponse
from tests.contract.batch_play import job_of, questions, write_rows
from tests.contract.inference_server import Reply, serving
from tests.hostile import clock


class Starting(Transport):
    """An endpoint that starts for so many seconds, and then never answers a row."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    async def send(self, request: HttpRequest) -> WireResponse:
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        if now - self._began < self._seconds:
            return WireResponse(503, {}, b"")
        if request.method == "GET":
            return WireResponse(200, {}, json.dumps({"data": [{"id": "m", "owned_by": "vllm"}]}).encode())
        await asyncio.sleep(request.timeout)
        return WireResponse(503, {}, b"")


def test_the_time_of_a_job_is_counted_once(tmp_path: Path) -> None:
    """What the endpoint took to start is not left for the rows once more."""
    write_rows(tmp_path, questions(3))
    job = job_of("http://127.0.0.1:9", tmp_path, engine=None, job_timeout=600.0, drain_timeout=10.0)

    async def main(loop: clock.SimulatedLoop) -> float:
        began = loop.time()
        with pytest.raises(BatchStopped, match="job_timeout of 600 s has passed"):
            await arun_batch(job, transport=Starting(500.0))
        return loop.time() - began

    taken, _ = clock.run(main, real_bound=120.0)
    assert 600.0 <= taken <= 612.0


def test_the_wait_for_another_run_is_part_of_the_time(tmp_path: Path) -> None:
    """The error names what was waited for; nothing was sent."""
    write_rows(tmp_path, questions(3))
    job = job_of("http://127.0.0.1:9", tmp_path, job_timeout=0.2)
    lock = OutputLock(layout_of(job).journal)
    lock.acquire()
    try:
        with pytest.raises(BatchStopped, match=r"job_timeout of 0\.2 s has passed while another run had the output: "):
            run_batch(job)
    finally:
        lock.release()


def test_a_job_without_time_left_sends_nothing(tmp_path: Path) -> None:
    """Also where it has no question to ask before its first row."""
    write_rows(tmp_path, questions(3))
    with serving(lambda request: Reply(500)) as server:
        with pytest.raises(BatchStopped, match="job_timeout of 1e-09 s has passed before anything was sent"):
            run_batch(job_of(server.url, tmp_path, job_timeout=1e-9))
        assert [] == server.requests


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No host is known; the number of the error is in the list."""
    number = [socket.EAI_NONAME]

    def look_up(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(number[0], "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return number


def waiting_job(folder: Path, **options: Any) -> BatchJob:
    write_rows(folder, questions(3))
    settings: dict[str, Any] = {"startup_timeout": 600.0, "probe_interval": 0.05}
    return job_of("https://x7q.endpoints.example", folder, **{**settings, **options})


@pytest.mark.parametrize("transport", ["auto", "httpx"])
@pytest.mark.parametrize("engine", [None, "tgi"], ids=["asked", "told"])
def test_a_host_that_nobody_knows_is_not_waited_for(
    tmp_path: Path, engine: str | None, transport: str, unknown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the name is reported after two minutes at most, and not after all of `startup_timeout`."""
    assert 120.0 == UnknownHostError.patience
    monkeypatch.setattr(UnknownHostError, "patience", 0.2)
    with pytest.raises(
        BatchAborted, match=r"host of the endpoint is unknown: x7q\.endpoints\.example: .*Check the URL"
    ):
        run_batch(waiting_job(tmp_path, engine=engine, transport=transport))


@pytest.mark.parametrize("engine", [None, "tgi"], ids=["asked", "told"])
def test_a_name_server_that_does_not_answer_is_waited_for(
    tmp_path: Path, engine: str | None, unknown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the name."""
    monkeypatch.setattr(UnknownHostError, "patience", 0.0)
    unknown[0] = socket.EAI_AGAIN
    with pytest.raises(BatchAborted, match="The endpoint could not be reached"):
        run_batch(waiting_job(tmp_path, engine=engine, startup_timeout=0.3))


def test_a_host_that_was_known_once_is_waited_for() -> None:
    """A name server that fails later is an outage like any other. Before the first answer, only the time counts for
    which the host has been unknown."""
    gate = Gate(5.0, 1200.0)
    gate.refused(StartingError(), 0.0, 0)
    gate.refused(UnknownHostError(), 900.0, 0)
    assert [False, True] == [gate.gave_up(now) for now in (1019.0, 1021.0)]
    gate.answered()
    for now in (2000.0, 2001.0, 2002.0):
        gate.refused(UnknownHostError(), now, 0)
    assert [False, True] == [gate.gave_up(now) for now in (3200.0, 3203.0)]


@pytest.mark.parametrize("engine", [None, "tgi"], ids=["asked", "told"])
@pytest.mark.parametrize(
    "words",
    [
        "<html><h1>400 Bad Request</h1><center>The plain HTTP request was sent to HTTPS port</center></html>",
        "Client sent an HTTP request to an HTTPS server.",
        "Reason: You're speaking plain HTTP to an SSL-enabled server port.",
    ],
)
def test_http_where_https_is_needed_is_known_at_the_first_answer(
    tmp_path: Path, words: str, engine: str | None
) -> None:
    """No row fails for it."""
    write_rows(tmp_path, questions(20))
    with serving(lambda request: Reply(400, raw=words.encode())) as server:
        with pytest.raises(BatchAborted, match=r"https only.*Write https:// in place of http://") as caught:
            run_batch(job_of(server.url, tmp_path, engine=engine))
        assert 8 >= len(server.requests)
    assert isinstance(caught.value.cause, HttpsNeededError)
    assert 0 == caught.value.report.rows


@pytest.mark.parametrize("engine", [None, "tgi"], ids=["asked", "told"])
def test_the_log_says_who_is_waited_for_why_and_until_when(
    tmp_path: Path, engine: str | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, again after a while, and when the reason is another one."""
    monkeypatch.setattr(progress, "WAIT_INTERVAL", 0.0)
    write_rows(tmp_path, questions(3))
    with (
        serving(lambda request: Reply(503 if request.number < 4 else 429, {"error": "no"})) as server,
        caplog.at_level(logging.INFO),
        pytest.raises(BatchAborted),
    ):
        run_batch(job_of(server.url, tmp_path, engine=engine, startup_timeout=2.0, probe_interval=0.1))
    lines = [line for line in caplog.messages if line.startswith("waiting for ")]
    host = server.url.removeprefix("http://")
    assert any(line.startswith(f"waiting for {host}, for ") and "no ready replica" in line for line in lines)
    assert len(lines) >= 3


def test_a_login_in_a_url_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the host alone."""
    write_rows(tmp_path, questions(3))
    with serving(lambda request: Reply(503)) as server, caplog.at_level(logging.INFO):
        url = server.url.replace("http://", "http://me:secret1@")
        with pytest.raises(BatchAborted):
            run_batch(job_of(url, tmp_path, engine=None, startup_timeout=0.2, probe_interval=0.1))
    assert "waiting for 127.0.0.1:" in caplog.text
    assert "secret1" not in caplog.text


def test_a_login_in_a_url_is_in_no_log_and_no_manifest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The batch that works names its endpoint without the login, too."""
    write_rows(tmp_path, questions(3))
    with serving() as server, caplog.at_level(logging.DEBUG):
        report = run_batch(job_of(server.url.replace("http://", "http://me:secret1@"), tmp_path))
    assert "secret1" not in caplog.text
    assert server.url == json.loads((tmp_path / "out/manifest.json").read_bytes())["endpoint"]
    assert not any(b"secret1" in path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert 3 == report.succeeded
