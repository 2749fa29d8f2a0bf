"""An endpoint to which no connection comes about: each phase of one has its bound, and what is hopeless is known."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted
from airflow_provider_hf_endpoints.inference.errors import (
    ConnectionFailedError,
    DiscoveryError,
    InferenceError,
    InferenceTimeoutError,
    TlsError,
)
from airflow_provider_hf_endpoints.inference.http.tls_failures import TRIES, Handshakes
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.wire import TransportName, WireResponse
from tests.contract.batch_play import job_of, results, write_rows
from tests.contract.inference_server import chat_reply

HANG = 60.0  # seconds
NAMED = {"engine": "vLLM", "model": "m"}  # nothing is asked before the first row is sent
#: A handshake that the peer refuses, in TLS's own bytes.
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"

transports = pytest.mark.parametrize("transport", ["auto", "httpx"])


class Peer:
    """Takes connections and says the same on each, be that nothing."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.taken: list[socket.socket] = []

    def run(self) -> None:
        """Until `close`."""
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            self.taken.append(one)
            if self._says:
                one.recv(1 << 16)
                one.sendall(self._says)
                one.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        for each in (self._socket, *self.taken):
            each.close()


@contextmanager
def peer(says: bytes = b"") -> Iterator[Peer]:
    one = Peer(says)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        one.close()
        thread.join(HANG)


def job(url: str, folder: Path, transport: TransportName = "auto", **settings: Any) -> BatchJob:
    (folder / "in.jsonl").write_text('{"q": "a"}\n')
    return BatchJob(
        url=url,
        task="chat-completion",
        input_path=folder / "in.jsonl",
        output_path=folder / "out.jsonl",
        prompt="{q}",
        transport=transport,
        **settings,
    )


def cause_of(one: BatchJob, transport: Transport | None = None) -> InferenceError:
    with pytest.raises(BatchAborted) as caught:
        run_batch(one, transport=transport)
    assert isinstance(caught.value.cause, InferenceError)
    return caught.value.cause


@transports
@pytest.mark.parametrize("settings", [{}, NAMED], ids=["asked", "named"])
def test_a_port_that_is_silent_under_tls_takes_no_longer_than_the_start(
    transport: TransportName, settings: dict[str, Any], tmp_path: Path
) -> None:
    """The handshake is a part of the connection, and no connection is waited for longer than an endpoint is."""
    with peer() as silent:
        url = f"https://127.0.0.1:{silent.port}"
        error = cause_of(job(url, tmp_path, transport, startup_timeout=1.0, **settings))
    assert isinstance(error, ConnectionFailedError)
    assert "no connection within 1 s" in str(error)


@pytest.mark.parametrize("settings", [{}, NAMED], ids=["asked", "named"])
def test_a_proxy_that_is_silent_takes_no_longer_either(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and does not answer the CONNECT."""
    with peer() as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.port}")
        error = cause_of(job("https://endpoint.invalid", tmp_path, startup_timeout=1.0, **settings))
        assert silent.taken
    assert isinstance(error, ConnectionFailedError)
    assert "no connection within 1 s" in str(error)


@transports
def test_a_resolver_that_hangs_takes_no_longer_either(
    transport: TransportName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is its thread waited for at the end of the batch."""
    answered = threading.Event()
    resolve = socket.getaddrinfo

    def hang(host: Any, *others: Any, **options: Any) -> Any:
        if host != "endpoint.invalid":
            return resolve(host, *others, **options)
        answered.wait(HANG)
        answered.set()
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        error = cause_of(job("http://endpoint.invalid", tmp_path, transport, startup_timeout=1.0))
        assert not answered.is_set()
    finally:
        answered.set()
    assert isinstance(error, ConnectionFailedError)


@transports
@pytest.mark.parametrize("settings", [{}, NAMED], ids=["asked", "named"])
def test_a_port_that_speaks_plain_http_is_known_at_the_first_try(
    transport: TransportName, settings: dict[str, Any], tmp_path: Path
) -> None:
    """The error names the cause, and the batch does not wait for another port."""
    with peer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as plain:
        error = cause_of(job(f"https://127.0.0.1:{plain.port}", tmp_path, transport, **settings))
        assert len(plain.taken) == 1
    assert type(error) is TlsError
    assert "port of the URL is for https" in str(error)


@transports
@pytest.mark.parametrize("settings", [{}, NAMED], ids=["asked", "named"])
def test_a_handshake_that_is_refused_is_tried_a_few_times(
    transport: TransportName, settings: dict[str, Any], tmp_path: Path
) -> None:
    """What stands before the endpoint may be about to get its settings; after that it is hopeless."""
    with peer(ALERT) as refusing:
        url = f"https://127.0.0.1:{refusing.port}"
        error = cause_of(job(url, tmp_path, transport, probe_interval=0.05, **settings))
        assert len(refusing.taken) == TRIES
    assert type(error) is TlsError


def test_a_handshake_that_fails_where_others_worked_is_the_moments() -> None:
    """A replica of the load balancer may be restarting; a certificate stays what it is, and so does plain HTTP."""
    handshakes = Handshakes()
    handshakes.worked()
    alert = ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error")
    for _ in range(2 * TRIES):
        assert type(handshakes.failed(alert, "/x")) is ConnectionFailedError
    assert isinstance(handshakes.failed(ssl.SSLCertVerificationError("expired"), "/x"), TlsError)


class Own(Transport):
    """A transport of a caller's own that goes wrong as it likes, for routes that begin as given."""

    def __init__(self, wrong: Any, route: str = "/") -> None:
        self.wrong = wrong
        self.route = route
        self.asked: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> WireResponse:
        """An answer to a chat, or what is wrong."""
        self.asked.append(request)
        await asyncio.sleep(0)
        if request.route.startswith(self.route):
            if isinstance(self.wrong, Exception):
                raise self.wrong
            return self.wrong  # type: ignore[no-any-return]
        reply = chat_reply("x").json if request.method == "POST" else {"data": [{"id": "m", "owned_by": "vllm"}]}
        return WireResponse(200, {}, json.dumps(reply).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        KeyError("x"),
        RuntimeError("session is closed"),
        RecursionError(),
        TypeError(),
        None,
        WireResponse(200, {}, None),  # type: ignore[arg-type]
        WireResponse("200", {}, b"{}"),  # type: ignore[arg-type]
        WireResponse(500, None, b"{}"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_whatever_a_transport_does_while_the_engine_is_asked_is_a_batch_error(wrong: Any, tmp_path: Path) -> None:
    """With the exception's type in it, and with the batch's report."""
    error = cause_of(job("http://x", tmp_path), Own(wrong))
    assert type(error) is DiscoveryError
    assert "transport" in str(error)


@pytest.mark.parametrize("wrong", [OSError("gone"), InferenceTimeoutError("none")])
def test_a_connection_of_a_transport_of_ones_own_may_come_back(wrong: Exception, tmp_path: Path) -> None:
    """An endpoint that is not there, or slow, is asked again as long as its start may take."""
    own = Own(wrong)
    error = cause_of(job("http://x", tmp_path, startup_timeout=0.5, probe_interval=0.01), own)
    assert isinstance(error, ConnectionFailedError | InferenceTimeoutError)
    assert len(own.asked) > 1


def test_metrics_that_a_transport_fails_on_end_nothing(tmp_path: Path) -> None:
    """They are asked for beside the rows, which tell by themselves what is wrong."""
    write_rows(tmp_path, [{"text": f"q{n}"} for n in range(50)])

    class Slow(Own):
        scraped = asyncio.Event()

        async def send(self, request: HttpRequest) -> WireResponse:
            if request.route == "/metrics":
                self.scraped.set()
            elif request.method == "POST":
                await self.scraped.wait()
            return await super().send(request)

    own = Slow(RuntimeError("no"), "/metrics")
    report = run_batch(job_of("http://x", tmp_path, max_concurrency="auto", **NAMED), transport=own)
    assert report.succeeded == 50
    assert ["x"] * 50 == [line["output"] for line in results(tmp_path)]


def test_no_question_about_the_engine_takes_longer_than_the_start(tmp_path: Path) -> None:
    """What is left of `startup_timeout` bounds each of them."""
    own = Own(OSError("gone"))
    cause_of(job("http://x", tmp_path, startup_timeout=2.0, probe_interval=0.1), own)
    assert all(request.timeout <= 2.0 for request in own.asked)
