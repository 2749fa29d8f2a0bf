"""Both transports over real sockets: the faults of a connection, and the errors that the batch gets."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from airflow_provider_hf_endpoints.batch import main
from airflow_provider_hf_endpoints.command import exits
from airflow_provider_hf_endpoints.inference.batch import BatchJob, run_batch
from airflow_provider_hf_endpoints.inference.batch_errors import BatchAborted
from airflow_provider_hf_endpoints.inference.errors import (
    AnswerTooLargeError,
    BadRequestError,
    CertificateError,
    ConnectionFailedError,
    CutAnswerError,
    InferenceError,
    InferenceTimeoutError,
    MalformedAnswerError,
)
from airflow_provider_hf_endpoints.inference.http.certificates import default_ssl_context
from airflow_provider_hf_endpoints.inference.http.httpx_errors import RAISED, typed_error
from airflow_provider_hf_endpoints.inference.http.httpx_transport import HttpxTransport
from airflow_provider_hf_endpoints.inference.http.open_transport import open_transport
from airflow_provider_hf_endpoints.inference.http.streams import TLS_BUFFER, StreamsTransport
from airflow_provider_hf_endpoints.inference.http.transport import HttpRequest, Transport
from airflow_provider_hf_endpoints.inference.wire import MAX_RESPONSE_BYTES, TransportName, WireResponse
from tests.contract.inference_server import Answer, Reply, Request, Server, chat_reply, echo, serving

Open = Callable[[str], Transport]
HEADERS = {"authorization": "Bearer T"}
POST = HttpRequest("POST", "/x", b'{"n": 1}', 5.0)


@pytest.fixture(params=["streams", "httpx"])
def open_one(request: pytest.FixtureRequest) -> Open:
    """A transport that takes answers of a thousand bytes in the test of that, and any in the others."""
    most = 1000 if "bound" in request.node.name else MAX_RESPONSE_BYTES
    if request.param == "streams":
        return lambda url: StreamsTransport(url, HEADERS, max_response_bytes=most)
    return lambda url: HttpxTransport(url, HEADERS, 100, most)


def always(reply: Reply) -> Answer:
    return lambda request: reply


def send(open_one: Open, url: str, *requests: HttpRequest, pause: float = 0.0) -> list[WireResponse]:
    """Send one after another over one transport."""

    async def main() -> list[WireResponse]:
        transport = open_one(url)
        answers = []
        try:
            for request in requests:
                answers.append(await transport.send(request))
                await asyncio.sleep(pause)
        finally:
            await transport.aclose()
        return answers

    return asyncio.run(main())


def test_a_query_of_the_endpoint_is_sent_with_every_request(open_one: Open) -> None:
    """Behind the route, whether the endpoint was given with `/v1` or without."""
    with serving(always(Reply(200, {}))) as server:
        send(open_one, server.url + "/deployments/d/v1?api-version=2024-10-21", POST)
        send(open_one, server.url + "/deployments/d?api-version=2024-10-21", POST)
    assert ["/deployments/d/x?api-version=2024-10-21"] * 2 == [request.path for request in server.requests]


def test_a_request_arrives_as_it_was_meant(open_one: Open) -> None:
    """Path below the endpoint's own, the token, the body and its type; the answer's headers in lower case."""
    with serving(lambda r: Reply(201, {"ok": 1}, headers={"X-Some": "Thing"})) as server:
        (answer,) = send(open_one, server.url + "/endpoints/e1/", POST)
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/endpoints/e1/x", {"n": 1})
    assert (request.headers["authorization"], request.headers["content-type"]) == ("Bearer T", "application/json")
    assert (answer.status, answer.body, answer.headers["x-some"]) == (201, b'{"ok": 1}', "Thing")


def test_one_connection_serves_request_after_request(open_one: Open) -> None:
    """A connection is kept."""
    with serving(lambda r: Reply(json=r.number)) as server:
        answers = send(open_one, server.url, POST, POST, HttpRequest("GET", "/y", b"", 5.0))
        assert server.connections == 1
    assert [answer.body for answer in answers] == [b"0", b"1", b"2"]


def test_chunks_are_put_together(open_one: Open) -> None:
    """A body in chunks is one body."""
    with serving(lambda r: Reply(json={"text": "x" * 5000}, chunked=True)) as server:
        for answer in send(open_one, server.url, POST, POST):
            assert json.loads(answer.body) == {"text": "x" * 5000}


def test_a_kept_connection_that_was_given_up_is_replaced(open_one: Open) -> None:
    """The server closes after each answer without an announcement: no request fails."""
    with serving(lambda r: Reply(json=r.number, close=True)) as server:
        answers = send(open_one, server.url, POST, POST, POST)
        assert len(server.requests) == 3
    assert [answer.body for answer in answers] == [b"0", b"1", b"2"]


def test_an_answer_that_ends_too_early_is_cut(open_one: Open) -> None:
    """Whatever part of the head and body came, it is not an answer."""
    size = len(Reply(json={"text": "y" * 50}).to_bytes())
    for cut in (1, 20, size - 60, size - 1):
        with serving(always(Reply(json={"text": "y" * 50}, cut=cut))) as server, pytest.raises(CutAnswerError):
            send(open_one, server.url, POST)


def test_chunks_that_end_too_early_are_cut(open_one: Open) -> None:
    """Without the last chunk the answer is incomplete."""
    whole = Reply(json={"text": "y" * 50}, chunked=True).to_bytes()
    for cut in (len(whole) - 1, len(whole) - 5, len(whole) - 20):
        reply = Reply(json={"text": "y" * 50}, chunked=True, cut=cut)
        with serving(always(reply)) as server, pytest.raises(CutAnswerError):
            send(open_one, server.url, POST)


def test_a_connection_closed_without_an_answer_is_tried_at_most_twice(open_one: Open) -> None:
    """If an engine dies on a request, this request is not repeated forever."""
    with serving(lambda r: Reply(cut=0)) as server:
        with pytest.raises(CutAnswerError):
            send(open_one, server.url, POST)
        assert len(server.requests) <= 2


def test_no_answer_in_time_closes_the_connection(open_one: Open) -> None:
    """On a timeout the engine sees the client go, so that it stops working."""
    with serving(lambda r: Reply(hang=True)) as server:
        with pytest.raises(InferenceTimeoutError, match=r"none within 0\.2 s"):
            send(open_one, server.url, HttpRequest("POST", "/x", b"{}", 0.2))
        wait_for(lambda: server.gone == 1)


def test_a_cancelled_request_closes_the_connection(open_one: Open) -> None:
    """The same when the batch is stopped."""

    async def main(server: Server) -> None:
        transport = open_one(server.url)
        task = asyncio.create_task(transport.send(POST))
        await asyncio.to_thread(wait_for, lambda: len(server.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transport.aclose()

    with serving(lambda r: Reply(hang=True)) as server:
        asyncio.run(main(server))
        wait_for(lambda: server.gone == 1)


def test_nobody_there_is_a_failed_connection(open_one: Open) -> None:
    """A refused connection and an unknown host are the same error."""
    with serving() as server:
        url = server.url
    for address in (url, "http://does-not-exist.invalid"):
        with pytest.raises(ConnectionFailedError):
            send(open_one, address, POST)


@pytest.mark.parametrize("count", [1, 64, 101, 300])
def test_as_many_are_in_flight_as_are_sent(open_one: Open, count: int) -> None:
    """No cap of the library's own."""
    if count > 101 and not isinstance(open_one("http://localhost"), StreamsTransport):
        pytest.skip("httpx takes longer than an answer to have so many on their way")

    async def main(url: str) -> None:
        transport = HttpxTransport(url, {}, count) if open_one(url).__class__ is HttpxTransport else open_one(url)
        patient = HttpRequest("POST", "/x", b'{"n": 1}', 60.0)
        await asyncio.gather(*(transport.send(patient) for _ in range(count)))
        await transport.aclose()

    # As long as a busy machine takes to have all of them on their way.
    with serving(lambda r: Reply(json=1, delay=0.02 * count)) as server:
        asyncio.run(main(server.url))
        assert server.most_in_flight == count


def test_what_is_no_http_is_malformed(open_one: Open) -> None:
    """Another protocol on the port; the request is not sent again, and does not wait for its timeout."""
    met = []

    async def main() -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            met.append(1)
            writer.write(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")
            await reader.read()  # until the client has gone
            writer.close()

        listener = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        transport = open_one(f"http://127.0.0.1:{port}")
        with pytest.raises(MalformedAnswerError, match="SSH"):
            await transport.send(POST)
        await transport.aclose()
        listener.close()

    asyncio.run(main())
    assert len(met) == 1


def test_a_body_above_the_bound_is_an_error_and_ends_the_connection(open_one: Open) -> None:
    """With or without a known length; the next request gets a new connection."""
    for reply in (Reply(raw=b"x" * 1001), Reply(raw=b"x" * 1001, chunked=True), packed("gzip", b"x" * 1001)):
        with serving(lambda r, reply=reply: reply if r.number == 0 else Reply(raw=b"x" * 1000)) as server:  # type: ignore[misc]

            async def main(url: str) -> None:
                transport = open_one(url)
                with pytest.raises(AnswerTooLargeError, match="1000 bytes"):
                    await transport.send(POST)
                assert (await transport.send(POST)).body == b"x" * 1000
                await transport.aclose()

            asyncio.run(main(server.url))
            assert len(server.requests) == 2


def packed(encoding: str, body: bytes) -> Reply:
    return Reply(raw=gzip.compress(body), headers={"Content-Encoding": encoding})


def test_a_packed_body_is_unpacked_or_a_typed_error(open_one: Open) -> None:
    """None is asked for, and some proxies pack all the same."""
    with serving(always(packed("gzip", b"hello"))) as server:
        (answer,) = send(open_one, server.url, POST)
        assert answer.body == b"hello"
        assert server.requests[0].headers["accept-encoding"] == "identity"
    with serving(always(Reply(raw=b"hello", headers={"Content-Encoding": "gzip"}))) as server:
        with pytest.raises(CutAnswerError, match="could not be decompressed"):
            send(open_one, server.url, POST)
        assert len(server.requests) == 1
    with serving(always(packed("br", b"hello"))) as server, pytest.raises(MalformedAnswerError, match="'br'"):
        send(open_one, server.url, POST)


REFUSALS = [
    pytest.param(Reply(429, raw=b"?", headers={"Content-Encoding": "br", "Retry-After": "7"}), id="unknown packing"),
    pytest.param(Reply(429, raw=b"?", headers={"Content-Encoding": "gzip", "Retry-After": "7"}), id="broken packing"),
    pytest.param(Reply(429, raw=b"x" * 5000, headers={"Retry-After": "7"}), id="too large"),
    pytest.param(Reply(429, raw=b"x" * 5000, headers={"Retry-After": "7"}, chunked=True), id="too large in chunks"),
    pytest.param(Reply(429, raw=b"x" * 500, headers={"Retry-After": "7"}, cut=400), id="breaks off"),
    pytest.param(Reply(429, raw=b"x" * 500, headers={"Retry-After": "7"}, cut=400, chunked=True), id="cut in chunks"),
]


@pytest.mark.parametrize("reply", REFUSALS)
def test_a_refusal_within_any_bound_keeps_its_status_whatever_its_body_is(open_one: Open, reply: Reply) -> None:
    """A body that can't be read hides neither that the server is busy nor for how long; the next answer comes."""
    with serving(lambda r: reply if r.number == 0 else Reply(raw=b"hello")) as server:
        refused, answer = send(open_one, server.url, POST, POST)
    assert (429, "7", True) == (refused.status, refused.headers.get("retry-after"), len(refused.body) <= 1000)
    assert (200, b"hello") == (answer.status, answer.body)


def test_a_route_that_is_no_text_is_the_rows_own_error(open_one: Open) -> None:
    """Half a surrogate pair, as a row's own `url` may hold it: nothing is sent."""
    with serving() as server:
        with pytest.raises(BadRequestError, match="the request was not sent"):
            send(open_one, server.url, HttpRequest("POST", "/v1/\ud800", b"{}", 5.0))
        assert server.requests == []


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_url_as_openais_client_wants_it_is_understood(open_one: Open, end: str) -> None:
    """The URL that the service's page shows for that client ends in /v1."""
    with serving(always(Reply(json=1))) as server:
        send(open_one, server.url + "/e1" + end, HttpRequest("POST", "/v1/models", b"", 5.0))
    assert ["/e1/v1/models"] == [request.path for request in server.requests]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:80",
        "ftp://h",
        "http://",
        "http://a..b",
        "http://h:99999",
        "http://[::1",
        "http://a b",
        "http://<h>",
    ],
)
def test_a_url_that_cannot_be_is_refused_before_anything_is_sent(open_one: Open, url: str) -> None:
    """As a mistake in the configuration, not as an error of a request."""
    with pytest.raises(ValueError, match=r"URL|host|[Pp]ort"):
        open_one(url)


def test_no_class_of_errors_of_httpx_is_forgotten() -> None:
    """Whatever class of errors a version of httpx has, the transport converts it to its own."""
    found = [each for each in vars(httpx).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(found) > 20
    # The first is of a cookie jar that is asked for a name, the second of raise_for_status.
    never = {httpx.CookieConflict, httpx.HTTPStatusError}
    assert [] == [each for each in found if each not in never and not issubclass(each, RAISED)]
    for each in found:
        if each not in never and each is not httpx.StreamConsumed and issubclass(each, httpx.TransportError):
            assert isinstance(typed_error(each("words"), "/x"), InferenceError)


def test_a_header_cannot_smuggle_another() -> None:
    """A token with a line break in it is refused."""
    with pytest.raises(ValueError, match="control character"):
        StreamsTransport("http://localhost", {"authorization": "Bearer a\r\nx: y"})


def test_a_proxy_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HTTP_PROXY set for the endpoint, the request goes there; NO_PROXY takes it back."""

    def proxied(request: Request) -> Reply:
        return Reply(json=request.path)

    with serving(proxied) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        (answer,) = send(lambda url: open_transport(url, "T", 4), "http://endpoint.invalid/e", POST)
        assert answer.body == b'"http://endpoint.invalid/e/x"'
        monkeypatch.setenv("no_proxy", "endpoint.invalid")
        assert isinstance(open_transport("http://endpoint.invalid", "T", 4), StreamsTransport)
        assert isinstance(open_transport("http://endpoint.invalid", "T", 4, name="httpx"), HttpxTransport)


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that is its own authority, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, *form) + signed.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize("transport", ["auto", "httpx"])
def test_an_answer_above_the_bound_is_its_rows_error(
    transport: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line: it is asked for once, and the other rows have their answers."""

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return echo(request)
        asked = request.body["messages"][-1]["content"]
        return chat_reply("x" * 5000 if asked == "long" else asked)

    (tmp_path / "in.jsonl").write_text('{"q": "a"}\n{"q": "long"}\n{"q": "b"}\n')
    with serving(answer) as server:
        arguments = ["--url", server.url + "/v1", "--task", "chat-completion", "--engine", "vLLM", "--prompt", "{q}"]
        arguments += ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"), "--quiet"]
        assert main([*arguments, "--transport", transport, "--max-response-bytes", "4000"]) == exits.ROWS_FAILED
        assert len(server.posts) == 3
        assert {"python-httpx" in request.headers.get("user-agent", "") for request in server.posts} == {
            transport == "httpx"
        }
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert ["a", None, "b"] == [line["output"] for line in lines]
    assert lines[1]["error"]["type"] == "answer_too_large"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == 1, "Airflow may log there"


def untrusted(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder))
    return context


def test_a_certificate_that_is_not_trusted_is_named(open_one: Open, tmp_path: Path) -> None:
    """Nothing is sent, and the error is not one of those that pass."""
    with serving(tls=untrusted(tmp_path)) as server:
        with pytest.raises(CertificateError, match="SSL_CERT_FILE") as caught:
            send(open_one, server.url, POST)
        assert server.requests == []
    assert not caught.value.retryable


@pytest.mark.parametrize("transport", ["auto", "httpx"])
def test_a_batch_does_not_wait_for_a_certificate(transport: TransportName, tmp_path: Path) -> None:
    """It ends at once, and not after `startup_timeout`."""
    (tmp_path / "in.jsonl").write_text('{"q": "a"}\n')
    with serving(tls=untrusted(tmp_path)) as server:
        job = BatchJob(
            url=server.url,
            task="chat-completion",
            input_path=tmp_path / "in.jsonl",
            output_path=tmp_path / "out.jsonl",
            prompt="{q}",
            transport=transport,
        )
        with pytest.raises(BatchAborted, match="certificate of the endpoint could not be verified"):
            run_batch(job)
        assert server.connections <= 1


@pytest.mark.parametrize("variable", [None, "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_is_trusted_is_what_httpx_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """By default, and where the environment names a file or a folder of authorities; `SSL_CERT_FILE` comes first."""
    path = certificate(tmp_path)
    if variable is not None:
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        monkeypatch.setenv(variable, str(path if variable == "SSL_CERT_FILE" else tmp_path))
    ours, theirs = default_ssl_context(), httpx.create_ssl_context()
    assert theirs.get_ca_certs() == ours.get_ca_certs()
    assert (theirs.verify_mode, theirs.check_hostname) == (ours.verify_mode, ours.check_hostname)
    assert (theirs.options, theirs.verify_flags) == (ours.options, ours.verify_flags)
    assert (theirs.minimum_version, theirs.maximum_version) == (ours.minimum_version, ours.maximum_version)


def test_large_answers_over_tls_come_whole_through_small_buffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's 256 KB for each TLS connection are cut to an eighth, and an answer may be larger than that."""
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    text = "large answer " * 30_000

    async def main(url: str) -> None:
        transport = StreamsTransport(url, {})
        answers = await asyncio.gather(*(transport.send(POST) for _ in range(20)))
        assert {json.dumps(text).encode()} == {answer.body for answer in answers}
        buffers = [connection._transport._ssl_protocol._ssl_buffer for connection in transport._all]  # type: ignore[union-attr]
        assert [TLS_BUFFER] * 20 == [len(buffer) for buffer in buffers]
        await transport.aclose()

    with serving(lambda r: Reply(json=text), tls=context) as server:
        asyncio.run(main(server.url))


def wait_for(condition: Callable[[], bool]) -> None:
    """Let the server's thread come to it."""
    for _ in range(500):
        if condition():
            return
        asyncio.run(asyncio.sleep(0.01))
    raise AssertionError("it did not happen within 5 s")
