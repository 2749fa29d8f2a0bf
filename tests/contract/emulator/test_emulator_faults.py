"""Failures on demand, the meter, and what the emulator remembers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.emulator_play import TGI, VLLM, Play, client, spec

PROMPT = {"inputs": "one two three", "parameters": {"max_new_tokens": 2}}


# ------------------------------------------------------------------------------------------- faults


def test_fault_with_a_status(play: Play) -> None:
    """A fault answers so many requests with its status, body and Retry-After, and then no more."""
    play.running()
    play.emulator.add_fault(
        "/v2/endpoint/acme/demo$", method="GET", status=429, body={"error": "slow down"}, retry_after=7, count=2
    )
    for _ in range(2):
        response = play.get()
        assert (
            response.status_code,
            response.json(),
            response.headers["retry-after"],
        ) == (429, {"error": "slow down"}, "7")
    assert play.get().status_code == 200
    assert play.emulator.faults[0]["hits"] == 2


def test_fault_kinds(play: Play) -> None:
    """A dropped connection, a truncated body, an answer that is not JSON."""
    play.running()
    for kind in ("drop", "cut"):
        play.emulator.add_fault("/v2/endpoint", kind=kind, count=1)
        with pytest.raises(httpx.RemoteProtocolError):
            play.get()
    play.emulator.add_fault("/v2/endpoint", kind="not_json", count=1)
    response = play.get()
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html")
    assert [request.status for request in play.emulator.requests if request.fault] == [0, 200, 200]


def test_fault_on_a_stream_that_is_cut(play: Play) -> None:
    """A stream that is cut ends without its [DONE]."""
    url = play.running(model={"image": VLLM})
    play.emulator.add_fault("/v1/chat", kind="cut", count=1)
    body = {"messages": [{"role": "user", "content": "a b c"}], "stream": True}
    with pytest.raises(httpx.RemoteProtocolError):
        play.http.post(f"{url}/v1/chat/completions", json=body)


def test_fault_after_the_deed(play: Play) -> None:
    """A create that happened although its answer was lost."""
    play.emulator.add_fault("/v2/endpoint/acme$", method="POST", status=502, after=True, count=1)
    assert play.create().status_code == 502
    assert play.get().status_code == 200
    play.emulator.add_fault("/v2/endpoint/acme$", method="POST", kind="drop", after=True, count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        play.create("second")
    assert play.get("second").status_code == 200


def test_fault_with_a_delay(play: Play) -> None:
    play.running()
    play.emulator.add_fault("/v2/endpoint", delay_seconds=60, count=1)
    with pytest.raises(httpx.ReadTimeout):
        play.http.get(play.base, timeout=0.2)
    assert play.get().status_code == 200


def test_fault_with_a_late_answer(play: Play) -> None:
    """The work is done before any client has received the answer."""
    play.emulator.add_fault("/v2/endpoint/acme$", method="POST", late_seconds=60, count=1)
    with pytest.raises(httpx.ReadTimeout):
        play.http.post(play.base, json=spec("demo"), timeout=0.5)
    assert play.get().status_code == 200


def test_fault_with_a_rate() -> None:
    """A rate hits that share of the requests, the same ones for the same seed."""

    def hits() -> list[int]:
        with Emulator(namespace="acme", seed=3) as emulator:
            play = Play(emulator)
            emulator.add_fault("/v2/provider", status=503, rate=0.3)
            return [play.http.get("/v2/provider").status_code for _ in range(60)]

    first = hits()
    assert 8 <= first.count(503) <= 28
    assert first == hits()


def test_faults_over_http(play: Play) -> None:
    """The same by POST /_emulator/faults, from another process."""
    admin = client(play.emulator, "")
    added = admin.post("/_emulator/faults", json={"path": "/v2/provider", "status": 500, "count": 1, "skip": 1})
    assert added.status_code == 200
    assert [admin.get("/v2/provider").status_code for _ in range(3)] == [200, 500, 200]
    assert tuple(admin.get("/_emulator/faults").json()["items"][0][key] for key in ("seen", "hits")) == (2, 1)
    assert admin.delete("/_emulator/faults").json() == {"items": []}
    for wrong in ({"status": 99}, {"kind": "explode"}, {"rate": 2}, {"path": "("}, {"surprise": 1}, {"status": "x"}):
        assert admin.post("/_emulator/faults", json=wrong).status_code == 422, wrong


# ------------------------------------------------------------------------------------------- meter and records


def test_meter(play: Play) -> None:
    """Billed are the replicas' seconds while initializing and running, by their price; the rest is free."""
    client(play.emulator, "").post("/_emulator/clock", json={"stop": True})
    play.emulator.behave("demo", pending_seconds=100, initializing_seconds=200)
    scaling = {"minReplica": 2, "maxReplica": 2, "scaleToZeroTimeout": None}
    play.create(scaling=scaling)
    for seconds in (100, 200, 1000):
        play.emulator.advance(seconds)
        play.get()
    play.post("pause")
    play.emulator.advance(5000)
    meter = play.emulator.meter("demo")
    assert meter["price_per_hour"] == 0.064
    states = meter["states"]
    assert {"pending", "initializing", "running", "paused"} == set(states)
    assert pytest.approx(100, abs=1) == states["pending"]["seconds"]
    assert pytest.approx(400, abs=2) == states["initializing"]["replica_seconds"]
    assert pytest.approx(2000, abs=10) == states["running"]["replica_seconds"]
    assert [states[state]["usd"] for state in ("pending", "paused")] == [0, 0]
    assert pytest.approx(2400, abs=10) == meter["billed_seconds"]
    assert pytest.approx(meter["billed_seconds"] / 3600 * 0.064) == meter["usd"]
    assert pytest.approx(sum(state["usd"] for state in states.values())) == meter["usd"]
    assert len(meter["replicas"]) == 2
    assert meter["usd_by_minute"] >= meter["usd"]


def test_a_shorter_minute() -> None:
    """seconds_per_minute scales the idle timeout and the price: 15 minutes pass, and cost, in 150 seconds."""
    with Emulator(namespace="acme", seconds_per_minute=10.0) as emulator:
        play = Play(emulator)
        play.running()
        emulator.advance(140)
        assert play.state() == "running"
        emulator.advance(10)
        assert play.state() == "scaledToZero"
        assert emulator.meter("demo")["states"]["running"]["usd"] == pytest.approx(0.064 * 15 / 60)


def test_what_the_emulator_remembers(play: Play) -> None:
    """Requests, states with times and the meter, in Python and over HTTP, of what was deleted too."""
    url = play.running()
    play.http.post(f"{url}/", json=PROMPT, params={"a": "b"})
    play.delete()
    play.emulator.advance(1)
    assert play.get().status_code == 404
    last = play.emulator.requests[-3]
    assert (last.method, last.status, last.fault) == ("POST", 200, False)
    assert last.path.endswith("/?a=b")
    admin = client(play.emulator, "")
    assert len(play.emulator.requests) == len(admin.get("/_emulator/requests").json()["items"])
    history = admin.get("/_emulator/history/acme/demo").json()["items"]
    assert [moment["state"] for moment in history] == ["pending", "initializing", "running", "deleted"]
    assert sorted(moment["seconds"] for moment in history) == [moment["seconds"] for moment in history]
    meter = admin.get("/_emulator/meter/acme/demo").json()
    assert (meter["requests"], meter["prompt_tokens"], meter["completion_tokens"]) == (1, 3, 2)
    assert meter["usd"] == admin.get("/_emulator/meter").json()["usd"] > 0
    assert admin.get("/_emulator/meter/acme/none").status_code == 404
    with pytest.raises(KeyError):
        play.emulator.meter("none")


def test_admin_routes(play: Play) -> None:
    """Behaviour, capacity, quota and the clock can be set from another process."""
    admin = client(play.emulator, "")
    assert admin.post("/_emulator/behaviours", json={"name": "demo", "fail": "no", "logs": ["l"]}).status_code == 200
    assert admin.post("/_emulator/behaviours", json={"name": "demo", "charm": 1}).status_code == 422
    play.create()
    assert play.until("failed")["status"]["errorMessage"] == "no"
    assert admin.post("/_emulator/capacity", json={"hardware": "intel-icl", "available": False}).status_code == 200
    assert play.create("two").status_code == 400
    admin.post("/_emulator/capacity", json={"hardware": "intel-icl", "available": True})
    assert admin.post("/_emulator/quota", json={"instance_type": "intel-icl", "accelerators": 1}).status_code == 200
    assert play.create("two").status_code == 409
    before = play.emulator.history("demo")[-1]["seconds"]
    now = admin.post("/_emulator/clock", json={"advance": 3600}).json()["now"]
    assert now > play.emulator.history("demo")[-1]["at"]
    assert before == play.emulator.history("demo")[-1]["seconds"]
    stood = admin.post("/_emulator/clock", json={"stop": True}).json()["now"]
    assert stood == admin.post("/_emulator/clock", json={"advance": 0}).json()["now"]
    for wrong in ({}, {"stop": 1}, {"advance": -1}, {"advance": "1"}, {"surprise": 1}):
        assert admin.post("/_emulator/clock", json=wrong).status_code == 422, wrong
    for path in ("behaviours", "capacity", "quota", "clock", "faults"):
        assert admin.post(f"/_emulator/{path}", json=[]).status_code == 422, path
        assert admin.post(f"/_emulator/{path}", content=b"{").status_code == 400, path


def test_several_at_a_time() -> None:
    """Two emulators do not know each other."""
    with Emulator(namespace="one") as one, Emulator(namespace="two") as two:
        Play(one).create()
        assert one.url != two.url
        assert Play(two).get().status_code == 404
        assert len(Play(one).http.get("/v2/endpoint/one").json()["items"]) == 1


def test_tgi_overload() -> None:
    """TGI refuses above its number of concurrent requests; set to one here."""
    with Emulator(namespace="acme", latency_seconds=2.0, refuse_over=1) as emulator:
        play = Play(emulator)
        url = play.running(model={"image": TGI})
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: play.http.post(f"{url}/generate", json=PROMPT), range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json() == {"error": "Model is overloaded", "error_type": "overloaded"}


def test_another_address_and_status() -> None:
    """How clients reach it can be another address than it listens on; some deployments answer DELETE with 202."""
    with Emulator(namespace="acme", public_url="http://hf.example:80/", delete_status=202) as emulator:
        assert emulator.url == "http://hf.example:80"
        listening = emulator.listening
        http = httpx.Client(base_url=listening, headers={"Authorization": f"Bearer {emulator.token}"})
        created = http.post("/v2/endpoint/acme", json=spec()).json()
        assert created["status"]["url"].startswith("http://hf.example:80/endpoints/")
        assert http.delete("/v2/endpoint/acme/demo").status_code == 202
