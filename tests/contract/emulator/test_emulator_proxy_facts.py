"""The emulator's proxy, autoscaler, faults and meter do what is known of the service's."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator, Token
from tests.contract.emulator_play import HANG, LLAMACPP, TGI, VLLM, Play, client

PROMPT = {"inputs": "one two three", "parameters": {"max_new_tokens": 2}}
UNAVAILABLE = {"error": "503 Service Unavailable", "code": "SERVICE_UNAVAILABLE"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    tokens = (
        Token("hf_manage", frozenset({"read", "write"})),
        Token("hf_infer", frozenset({"infer"})),
        Token("hf_elsewhere", namespaces=frozenset({"lab"})),
    )
    with Emulator(namespace="acme", orgs=("lab",), tokens=tokens) as running:
        yield running


# ------------------------------------------------------------------------------------------- the proxy's table


def test_scaled_to_zero_answers_at_once_and_wakes(play: Play) -> None:
    """A request to what is scaled to zero is a 503 without Retry-After, and wakes it; 503 until it runs."""
    url = play.running()
    play.emulator.behave("demo", initializing_seconds=60)
    play.post("scale-to-zero")
    for _ in range(2):
        response = play.http.post(url, json=PROMPT)
        assert (response.status_code, response.json()) == (503, UNAVAILABLE)
        assert "retry-after" not in response.headers
        assert play.state() == "initializing"
    play.emulator.advance(60)
    assert play.http.post(url, json=PROMPT).status_code == 200


def test_a_health_probe_wakes_too(play: Play) -> None:
    """Any authorised request wakes it, the health route's included."""
    url = play.running()
    play.post("scale-to-zero")
    assert play.http.get(f"{url}/health").status_code == 503
    play.until("running")


def test_scale_up_timeout_holds_the_request(play: Play) -> None:
    """With X-Scale-Up-Timeout the proxy holds the request until it can be answered."""
    url = play.running()
    play.emulator.behave("demo", initializing_seconds=0.3)
    play.post("scale-to-zero")
    started = time.monotonic()
    response = play.http.post(url, json=PROMPT, headers={"X-Scale-Up-Timeout": "600"})
    assert response.status_code == 200
    assert time.monotonic() - started >= 0.29


def test_scale_up_timeout_passes(play: Play) -> None:
    """When those seconds have passed and nothing runs, it is the same 503."""
    url = play.running()
    play.emulator.behave("demo", initializing_seconds=600)
    play.post("scale-to-zero")
    response = play.http.post(url, json=PROMPT, headers={"X-Scale-Up-Timeout": "0.2"})
    assert (response.status_code, response.json()) == (503, UNAVAILABLE)


@pytest.mark.parametrize("header", ["", "soon", "-1", "nan", "1e999999"])
def test_scale_up_timeout_of_no_sense(play: Play, header: str) -> None:
    """A header that is not a number of seconds does not block a request forever, and causes no error."""
    url = play.running()
    play.post("scale-to-zero")
    assert play.http.post(url, json=PROMPT, headers={"X-Scale-Up-Timeout": header}).status_code in (200, 503)


def test_paused(play: Play) -> None:
    """The answer of a paused endpoint is a 400 that says "paused"; the endpoint never wakes by itself."""
    url = play.running()
    play.post("pause")
    text = "Bad Request: The endpoint is paused, ask a maintainer to restart it"
    for path in ("", "/health"):
        response = play.http.get(url + path, headers={"X-Scale-Up-Timeout": "5"})
        assert (400, {"error": text, "code": "BAD_REQUEST"}) == (response.status_code, response.json())
    assert play.state() == "paused"


@pytest.mark.parametrize("kind", ["authenticated", "private"])
@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_no_or_wrong_token(play: Play, token: str, kind: str) -> None:
    """Without a good token every route is a 401, health included, and nothing wakes."""
    url = play.running(type=kind)
    http = client(play.emulator, token)
    for state in ("running", "scaledToZero", "paused"):
        if state != "running":
            play.post("scale-to-zero" if state == "scaledToZero" else "pause")
        for method, path in (("GET", "/health"), ("POST", ""), ("GET", "/v1/models")):
            assert http.request(method, url + path).status_code == 401, (state, path)
        assert state == play.state()


@pytest.mark.parametrize("token", ["hf_manage", "hf_elsewhere"])
def test_no_permission_to_infer(play: Play, token: str) -> None:
    """A token that may manage may not call, nor one for another namespace; neither wakes anything."""
    url = play.running()
    play.post("scale-to-zero")
    response = client(play.emulator, token).post(url, json=PROMPT)
    assert (response.status_code, response.json()["code"]) == (403, "FORBIDDEN")
    assert "missing permissions: inference.endpoints.infer.write" in response.json()["error"]
    assert play.state() == "scaledToZero"


def test_permission_to_infer_only(play: Play) -> None:
    """The reverse: a token that may call and not manage."""
    url = play.running()
    http = client(play.emulator, "hf_infer")
    assert http.post(url, json=PROMPT).status_code == 200
    assert http.get("/v2/endpoint/acme/demo").status_code == 403


def test_public(play: Play) -> None:
    """A public endpoint needs no token."""
    url = play.running(type="public")
    assert client(play.emulator, "").post(url, json=PROMPT).status_code == 200


def test_starting_and_failed(play: Play) -> None:
    """Before it runs the answer is a 503, and after it failed a 400 "in error" (Soulter/hugging-chat-api#288)."""
    play.emulator.behave("demo", pending_seconds=60, initializing_seconds=60, fail="no")
    url = play.create().json()["status"]["url"]
    for state in ("pending", "initializing", "failed"):
        assert state == play.state()
        for answer in (play.http.post(url, json=PROMPT), play.http.get(f"{url}/health")):
            assert answer.status_code == (400 if state == "failed" else 503)
        play.emulator.advance(60)
    assert answer.json() == {
        "error": "Bad Request: Your endpoint is in error, check its status on endpoints.huggingface.co",
        "code": "BAD_REQUEST",
    }


@pytest.mark.parametrize(("quirks", "status"), [((), 503), (("zero_answers_400",), 400)])
def test_at_zero_by_either_report(play: Play, quirks: tuple[str, ...], status: int) -> None:
    """503 by most reports, 400 by one (basiliskan, 2026): the request starts it all the same."""
    play.emulator.set_quirks(*quirks)
    url = play.running()
    play.post("scale-to-zero")
    play.emulator.behave("demo", initializing_seconds=60)
    assert play.http.post(url, json=PROMPT).status_code == status
    assert play.state() == "initializing"


def test_the_older_words_of_a_pause(play: Play) -> None:
    """elastic/elasticsearch#112033 (August 2024)."""
    play.emulator.set_quirks("paused_invalid_state")
    url = play.running()
    play.post("pause")
    assert play.http.post(url, json=PROMPT).json()["error"] == "Bad Request: Invalid state"


def test_deleted(play: Play) -> None:
    """What is deleted answers 404 at once, and so does what never was."""
    play.emulator.behave("demo", deleting_seconds=60)
    url = play.running()
    play.delete()
    assert play.http.post(url, json=PROMPT).status_code == 404
    assert play.http.get(play.emulator.url + "/endpoints/none/health").status_code == 404


def test_update_of_a_single_replica_hiccups(play: Play) -> None:
    """While a single replica is renewed some requests meet a 503; with two, none does."""
    for name, replicas in (("single", 1), ("double", 2)):
        scaling = {"minReplica": replicas, "maxReplica": replicas, "scaleToZeroTimeout": None}
        play.emulator.behave(name, updating_seconds=60)
        url = play.running(name, scaling=scaling)
        play.put({"model": {"revision": "next"}}, name)
        statuses = {play.http.post(url, json=PROMPT).status_code for _ in range(6)}
        assert statuses == ({200, 503} if replicas == 1 else {200}), name


def test_running_before_the_model_answers(play: Play) -> None:
    """`running` is not "the model answers": llama.cpp says that it loads, others do not listen yet."""
    play.emulator.behave("cpp", loading_seconds=60)
    play.emulator.behave("vllm", loading_seconds=60)
    cpp, vllm = play.running("cpp", model={"image": LLAMACPP}), play.running("vllm", model={"image": VLLM})
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    for path in ("/health", "/v1/models"):
        response = play.http.get(cpp + path)
        assert (503, loading) == (response.status_code, response.json())
        assert (play.http.get(vllm + path).status_code, play.http.get(vllm + path).json()) == (503, UNAVAILABLE)
    play.emulator.advance(60)
    assert [play.http.get(f"{url}/health").status_code for url in (cpp, vllm)] == [200, 200]


def test_last_used(play: Play) -> None:
    """lastUsedAt follows the requests."""
    url = play.running()
    before = play.get().json()["status"]["lastUsedAt"]
    play.emulator.advance(30)
    play.http.post(url, json=PROMPT)
    assert play.get().json()["status"]["lastUsedAt"] > before


def test_requests_keep_it_awake(play: Play) -> None:
    """The idle time counts from the last request."""
    url = play.running()
    play.emulator.advance(10 * 60)
    play.http.post(url, json=PROMPT)
    play.emulator.advance(10 * 60)
    assert play.state() == "running"
    play.emulator.advance(5 * 60)
    assert play.state() == "scaledToZero"


# ------------------------------------------------------------------------------------------- autoscaling


def test_autoscaling() -> None:
    """More than 1.5 pending requests per replica over 20 s bring replicas, up to maxReplica; less takes them away."""
    with Emulator(namespace="acme", latency_seconds=30.0, initializing_seconds=0.05) as emulator:
        play = Play(emulator)
        url = play.running(scaling={"minReplica": 1, "maxReplica": 4, "scaleToZeroTimeout": None})
        waiting = [_ask_and_wait(emulator, url) for _ in range(6)]
        _until(lambda: emulator.meter("demo")["peak_pending"] == 6)
        emulator.advance(15)
        assert play.get().json()["status"]["targetReplica"] == 1
        emulator.advance(5)
        assert play.get().json()["status"]["targetReplica"] == 4
        emulator.advance(1)
        assert play.get().json()["status"]["readyReplica"] == 4
        for connection in waiting:
            connection.close()
        _until(lambda: sum(request.path.startswith("/endpoints") for request in emulator.requests) == 6)
        emulator.advance(299)
        assert play.get().json()["status"]["targetReplica"] == 4
        emulator.advance(2)
        assert play.get().json()["status"]["targetReplica"] == 1
        stopped = [replica for replica in emulator.meter("demo")["replicas"] if not replica["running"]]
        assert len(stopped) == 3


def _ask_and_wait(emulator: Emulator, url: str) -> socket.socket:
    """A request whose answer is not read; the caller closes the connection."""
    where = urlsplit(url)
    connection = socket.create_connection((where.hostname, where.port), timeout=HANG)
    head = f"POST {where.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {emulator.token}\r\nContent-Length: 15\r\n"
    connection.sendall(f'{head}\r\n{{"inputs": "x"}}'.encode())
    return connection


def _until(condition: Any) -> None:
    ends = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_new_replicas_take_what_waits() -> None:
    """Requests that queue are worked on by replicas that come later; the engine's own metrics show both."""
    with Emulator(namespace="acme", latency_seconds=60.0, slots=1) as emulator:
        play = Play(emulator)
        scaling = {"minReplica": 1, "maxReplica": 4, "scaleToZeroTimeout": None}
        url = play.running(scaling=scaling, model={"image": TGI})

        def load() -> list[float]:
            lines = play.http.get(f"{url}/metrics").text.splitlines()
            return [float(line.split()[1]) for line in lines if not line.startswith("#")]

        waiting = [_ask_and_wait(emulator, url) for _ in range(6)]
        _until(lambda: load() == [1, 5])
        emulator.advance(20)
        play.get()
        emulator.advance(1)
        _until(lambda: load() == [4, 2])
        for connection in waiting:
            connection.close()
        _until(lambda: load() == [0, 0])


def test_a_client_that_leaves_frees_its_slot() -> None:
    """When the client closes its connection the engine stops working for it."""
    with Emulator(namespace="acme", latency_seconds=60.0, slots=1) as emulator:
        play = Play(emulator)
        url = play.running()
        with pytest.raises(httpx.TimeoutException):
            play.http.post(url, json=PROMPT, timeout=0.2)
        emulator.behave("demo", latency_seconds=0.0)
        assert play.http.post(url, json=PROMPT).status_code == 200


def test_slots_queue() -> None:
    """More requests than slots wait for each other; all are answered."""
    with Emulator(namespace="acme", latency_seconds=0.05, slots=2) as emulator:
        play = Play(emulator)
        url = play.running()
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            statuses = [one.status_code for one in pool.map(lambda _: play.http.post(url, json=PROMPT), range(8))]
        assert statuses == [200] * 8
        assert time.monotonic() - started >= 0.19
        assert emulator.meter("demo")["peak_pending"] > 2
