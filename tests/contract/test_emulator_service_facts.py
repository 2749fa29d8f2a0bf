"""The emulator does what is known of the service's control plane: errors, states, lists, silences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator, Token
from tests.contract.emulator_play import LLAMACPP, SGLANG, TGI, VLLM, Play, client, spec


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    tokens = (
        Token("hf_read", frozenset({"read"})),
        Token("hf_write", frozenset({"read", "write"})),
        Token("hf_writeonly", frozenset({"write"})),
        Token("hf_old", expired=True),
        Token("hf_org", namespaces=frozenset({"lab"})),
    )
    with Emulator(
        token="hf_all",
        namespace="acme",
        orgs=("lab",),
        orgs_without_billing=frozenset({"broke"}),
        tokens=tokens,
    ) as running:
        yield running


@pytest.fixture
def play(emulator: Emulator) -> Play:
    return Play(emulator)


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert {"error", "code"} == set(body)
    return response.status_code, body["error"], body["code"]


# ------------------------------------------------------------------------------------------- the error table


def test_resume_of_a_running_one(play: Play) -> None:
    """Resuming what runs is a 400 that says so."""
    play.running()
    assert error(play.post("resume")) == (400, "Bad Request: Endpoint is already running", "BAD_REQUEST")


def test_resume_of_an_updating_one(play: Play) -> None:
    """Resuming what is being updated is the same 400."""
    play.emulator.behave("demo", updating_seconds=60)
    play.running()
    assert play.put({"model": {"repository": "org/other"}}).json()["status"]["state"] == "updating"
    assert error(play.post("resume")) == (400, "Bad Request: Endpoint is already running", "BAD_REQUEST")


def test_scale_to_zero_without_a_timeout(play: Play) -> None:
    """An endpoint without scaleToZeroTimeout cannot be scaled to zero."""
    play.running(scaling={"minReplica": 1, "scaleToZeroTimeout": None})
    expected = (400, "Bad Request: workload cannot be scaled to zero", "BAD_REQUEST")
    assert expected == error(play.post("scale-to-zero"))
    assert play.state() == "running"


def test_unknown_hardware(play: Play) -> None:
    """Hardware that there is not is a 400 in the service's words."""
    response = play.create(compute={"instanceType": "c6i", "instanceSize": "medium"})
    text = "Bad Request: Instance compute 'Cpu' - 'c6i' - 'medium' in 'aws' - 'us-east-1' not found"
    assert (400, text, "BAD_REQUEST") == error(response)


@pytest.mark.parametrize("hardware", ["intel-icl", "aws-us-east-1-intel-icl-x2"])
def test_no_capacity(play: Play, hardware: str) -> None:
    """Hardware that cannot be had right now is a 400 of its own, by instance type or by one row of the price list."""
    play.emulator.set_capacity(hardware, available=False)
    expected = (400, "Bad Request: Compute instance not available yet", "BAD_REQUEST")
    assert expected == error(play.create())
    play.emulator.set_capacity(hardware, available=True)
    assert play.create().status_code == 200


def test_no_capacity_by_the_price_list(play: Play) -> None:
    """What the price list calls not_available cannot be created."""
    compute = {"accelerator": "gpu", "instanceType": "nvidia-h200", "instanceSize": "x1"}
    assert error(play.create(compute=compute)) == (
        400,
        "Bad Request: Compute instance not available yet",
        "BAD_REQUEST",
    )


@pytest.mark.parametrize("minutes", [5, 14, 2881])
def test_scale_to_zero_timeout_out_of_range(play: Play, minutes: int) -> None:
    """scaleToZeroTimeout is 15 to 2880 minutes, on create and on update."""
    status, text, code = error(play.create(scaling={"scaleToZeroTimeout": minutes}))
    assert (status, code) == (400, "BAD_REQUEST")
    assert text.endswith("must be between 15 and 2880 minutes")
    play.running()
    status, text, _ = error(play.put({"compute": {"scaling": {"scaleToZeroTimeout": minutes}}}))
    assert status == 400
    assert text.endswith("must be between 15 and 2880 minutes")


@pytest.mark.parametrize("minutes", [15, 2880])
def test_scale_to_zero_timeout_at_its_limits(play: Play, minutes: int) -> None:
    """The limits themselves are allowed."""
    created = play.create(scaling={"scaleToZeroTimeout": minutes})
    assert minutes == created.json()["compute"]["scaling"]["scaleToZeroTimeout"]


@pytest.mark.parametrize("token", ["", "hf_wrong", "hf_old"])
def test_bad_token(emulator: Emulator, token: str) -> None:
    """No token, an unknown one and an expired one are 401, also for whoami."""
    http = client(emulator, token)
    status, _, code = error(http.get("/v2/endpoint/acme"))
    assert (status, code) == (401, "UNAUTHORIZED")
    assert http.post("/v2/endpoint/acme", json=spec()).status_code == 401
    assert http.get("/api/whoami-v2").status_code == 401


def test_list_of_an_organisation_without_billing(emulator: Emulator) -> None:
    """Listing an organisation that pays for nothing is a 401, although the token is good."""
    assert client(emulator).get("/v2/endpoint/broke").status_code == 401
    assert [org["name"] for org in client(emulator).get("/api/whoami-v2").json()["orgs"]] == ["lab", "broke"]


def test_payment_required() -> None:
    """Without a payment method nothing is created or resumed, and the text names the namespace."""
    with Emulator(namespace="acme", can_pay=False) as emulator:
        expected = (403, "Forbidden: Payment method required for namespace: acme", "FORBIDDEN")
        assert expected == error(Play(emulator).create())
        assert client(emulator).get("/api/whoami-v2").json()["canPay"] is False


def test_missing_permissions(emulator: Emulator, play: Play) -> None:
    """A token without the scope is a 403 that names the scope."""
    play.running()
    reading, writing = Play(emulator, "hf_read"), Play(emulator, "hf_writeonly")
    write = (403, "Forbidden: missing permissions: inference.endpoints.write", "FORBIDDEN")
    read = (403, "Forbidden: missing permissions: inference.endpoints.read", "FORBIDDEN")
    assert reading.get().status_code == 200
    assert write == error(reading.create("other"))
    assert write == error(reading.post("pause"))
    assert write == error(reading.put({"tags": []}))
    assert write == error(reading.delete())
    assert read == error(writing.get())
    assert writing.post("pause").status_code == 200


def test_a_namespace_of_others(emulator: Emulator) -> None:
    """A namespace that the token does not reach is a 403; one of an organisation's tokens reaches that alone."""
    assert client(emulator).get("/v2/endpoint/strangers").status_code == 403
    assert client(emulator, "hf_org").get("/v2/endpoint/lab").status_code == 200
    assert client(emulator, "hf_org").get("/v2/endpoint/acme").status_code == 403


def test_not_found(play: Play) -> None:
    """What does not exist is a 404 on every route."""
    status, _, code = error(play.get("nobody"))
    assert (status, code) == (404, "NOT_FOUND")
    assert play.put({"tags": []}, "nobody").status_code == 404
    assert play.delete("nobody").status_code == 404
    for action in ("pause", "resume", "scale-to-zero", "agent/debug", "metrics/replica-running"):
        body = {"start": "2026-01-01T00:00:00Z", "stop": "2026-01-01T00:01:00Z"}
        assert play.post(action, "nobody", json=body).status_code == 404, action
    for route in ("replica", "logs"):
        assert play.http.get(f"{play.base}/nobody/{route}").status_code == 404, route


def test_the_two_conflicts(play: Play) -> None:
    """A taken name and an exhausted quota are both 409; the text, and a GET of the name, tell them apart."""
    play.create()
    status, text, code = error(play.create())
    assert (status, code) == (409, "CONFLICT")
    assert "already exists" in text
    play.emulator.set_quota("intel-icl", 3)
    assert error(play.create("second")) == (409, "Conflict: Quota exceeded", "CONFLICT")
    assert play.get("second").status_code == 404


@pytest.mark.parametrize(
    "name", ["", "a" * 33, "Upper", "under_score", "dot.ted", "späße", "new\n", "with space"], ids=repr
)
def test_bad_names(play: Play, name: str) -> None:
    """Names are [a-z0-9-], at least one and at most 32."""
    status, _, code = error(play.create(name))
    assert (status, code) == (422, "UNPROCESSABLE_ENTITY")


def test_a_name_of_32_characters(play: Play) -> None:
    assert play.create("a" * 32).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"type": 7},
        {"provider": {"vendor": "aws"}},
        {"compute": {"accelerator": "tpu"}},
        {"scaling": {"minReplica": -1}},
        {"scaling": {"minReplica": "1"}},
        {"scaling": {"minReplica": True}},
        {"scaling": {"minReplica": 2, "maxReplica": 1}},
        {"scaling": {"maxReplica": 10**30}},
        {"model": {"framework": "jax"}},
        {"model": {"task": "juggling"}},
        {"model": {"task": None}},
        {"model": {"image": {}}},
        {"model": {"image": {"warp": {"url": "x"}}}},
        {"model": {"image": {"vLLM": {"port": 80}}}},
        {"model": {"image": {"vLLM": {"url": None}}}},
        {"model": {"image": {"llamacpp": {"url": "x"}}}},
        {"model": {"image": {"custom": {"url": "x", "port": "80"}}}},
        {"model": {"image": {**VLLM, **TGI}}},
        {"model": {"env": {"A": 1}}},
        {"tags": "one"},
        {"notifications": {"email": True}},
    ],
    ids=str,
)
def test_validation(play: Play, changes: dict[str, Any]) -> None:
    """What does not fit the specification's types is a 422, and nothing is created."""
    assert error(play.create(**changes))[::2] == (422, "UNPROCESSABLE_ENTITY")
    assert play.get().status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"1" * 5000])
def test_a_body_that_is_no_json(play: Play, body: bytes) -> None:
    """Broken bodies are a 400 (or, where they happen to be JSON, a 422), never a fault of the server."""
    created = play.http.post(play.base, content=body)
    assert created.status_code == 400
    assert created.json()["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("body", [[], 1, "x", {}, {"name": {"a": 1}}], ids=repr)
def test_a_body_of_another_kind(play: Play, body: Any) -> None:
    assert play.http.post(play.base, json=body).status_code == 422


@pytest.mark.parametrize("image", [VLLM, SGLANG], ids=["vLLM", "sGLang"])
def test_parallelism_on_several_accelerators(play: Play, image: dict[str, Any]) -> None:
    """vLLM and SGLang must be told how to use several accelerators."""
    compute = {"accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x4"}
    status, text, _ = error(play.create(compute=compute, model={"image": image}))
    assert status == 400
    assert "tensorParallelSize" in text
    key = next(iter(image))
    told = {key: {**image[key], "tensorParallelSize": 4}}
    assert play.create(compute=compute, model={"image": told}).status_code == 200


def test_the_engine_cannot_change(play: Play) -> None:
    """An update may change the image's fields, not its variant; the image is sent whole, with its url."""
    play.running(model={"image": VLLM})
    assert play.put({"model": {"image": TGI}}).status_code == 400
    assert play.put({"model": {"image": {"vLLM": {"port": 8000}}}}).status_code == 422
    changed = {"vLLM": {"url": "vllm/vllm-openai:v0.24.0", "port": 8000}}
    assert changed == play.put({"model": {"image": changed}}).json()["model"]["image"]


# ------------------------------------------------------------------------------------------- silences


def test_silent_acceptance(play: Play) -> None:
    """Unknown fields of an image are dropped, an unknown type becomes private, both with 200."""
    image = {"vLLM": {"url": "x", "healthRoute": "/health", "env": {"A": "1"}, "health_route": "/h", "made": "up"}}
    created = play.create(type="protected", model={"image": image}, invented=True)
    assert created.status_code == 200
    body = created.json()
    assert body["model"]["image"] == {"vLLM": {"url": "x", "healthRoute": "/health"}}
    assert body["type"] == "private"
    assert "invented" not in body


def test_default_timeout(play: Play) -> None:
    """minReplica 0 without a timeout gets the API's own: 15 minutes."""
    created = play.create(scaling={"minReplica": 0, "scaleToZeroTimeout": None})
    assert created.json()["compute"]["scaling"]["scaleToZeroTimeout"] == 15


def test_what_comes_back_redacted(play: Play) -> None:
    """Secrets and registry passwords never come back; env does."""
    image = {"custom": {"url": "x", "credentials": {"username": "me", "password": "pass-word"}}}
    model = {"image": image, "secrets": {"KEY": "sec-ret"}, "env": {"PLAIN": "text"}}
    created = play.create(model=model)
    assert "sec-ret" not in created.text
    assert "pass-word" not in created.text
    assert created.json()["model"]["env"] == {"PLAIN": "text"}
    assert list(created.json()["model"]["secrets"]) == ["KEY"]
    assert created.json()["model"]["image"]["custom"]["credentials"]["username"] == "me"


def test_revision_and_task_may_be_absent_or_null(play: Play) -> None:
    """A model that was created without them has none."""
    body = spec("bare")
    del body["model"]["task"]
    model = play.http.post(play.base, json=body).json()["model"]
    assert "task" not in model
    assert "revision" not in model
    assert play.create("null", model={"revision": None}).json()["model"]["revision"] is None


def test_the_url_stays_while_paused(play: Play) -> None:
    """No url never means not running."""
    url = play.running()
    paused = play.post("pause").json()["status"]
    assert ("paused", url) == (paused["state"], paused["url"])


def test_health_route(play: Play) -> None:
    """The health route is the image's, or the engine's own."""
    assert play.create("one").json()["healthRoute"] == "/health"
    assert (
        play.create("two", model={"image": {"custom": {"url": "x", "healthRoute": "/up"}}}).json()["healthRoute"]
        == "/up"
    )
    assert play.create("three", model={"image": LLAMACPP}).json()["healthRoute"] == "/health"


def test_it_says_that_it_is_an_emulator(emulator: Emulator) -> None:
    """Every answer names the emulator, errors too, and the root page explains it."""
    http = client(emulator)
    for path in ("/", "/v2/provider", "/nowhere", "/endpoints/none/health"):
        response = http.get(path)
        assert response.headers["x-emulator"] == "true", path
        assert "emulator" in response.headers["server"], path
    assert "not Hugging Face's service" in http.get("/").text


# ------------------------------------------------------------------------------------------- states


def test_create_to_running(play: Play) -> None:
    """pending, initializing, running; no replica is ready before."""
    created = play.create().json()["status"]
    assert (created["state"], created["readyReplica"], created["targetReplica"]) == ("pending", 0, 1)
    running = play.until("running")["status"]
    assert (running["readyReplica"], running["targetReplica"]) == (1, 1)
    assert play.emulator.states("demo") == ["pending", "initializing", "running"]


def test_pause_from_every_state_and_resume(play: Play) -> None:
    """Pause is valid from pending, initializing, running, updating, scaledToZero, failed and paused itself."""
    emulator = play.emulator
    emulator.behave("slow", pending_seconds=60)
    emulator.behave("booting", initializing_seconds=60)
    emulator.behave("broken", fail="no")
    emulator.behave("renewing", updating_seconds=60)
    play.create("slow")
    play.create("booting")
    play.create("broken")
    play.running("renewing")
    play.put({"model": {"repository": "org/new"}}, "renewing")
    play.running("zero")
    play.post("scale-to-zero", "zero")
    expected = {
        "slow": "pending",
        "booting": "initializing",
        "broken": "failed",
        "renewing": "updating",
        "zero": "scaledToZero",
    }
    for name, state in expected.items():
        play.until(state, name)
        for _ in range(2):
            paused = play.post("pause", name)
            assert (paused.status_code, paused.json()["status"]["state"]) == (200, "paused")
        assert paused.json()["status"]["readyReplica"] == 0
    assert play.post("resume", "zero").json()["status"]["state"] == "pending"
    play.until("running", "zero")


def test_resume_checks_the_quota_again(play: Play) -> None:
    """A paused endpoint frees its quota, and may not get it back."""
    play.emulator.set_quota("intel-icl", 2)
    play.running("first")
    assert play.create("second").status_code == 409
    play.post("pause", "first")
    assert play.create("second").status_code == 200
    assert error(play.post("resume", "first")) == (409, "Conflict: Quota exceeded", "CONFLICT")
    assert play.state("first") == "paused"


def test_scaled_to_zero_holds_its_quota(play: Play) -> None:
    play.emulator.set_quota("intel-icl", 2)
    play.running("first")
    play.post("scale-to-zero", "first")
    assert play.create("second").status_code == 409


def test_resume_from_zero(play: Play) -> None:
    """Resume wakes what is scaled to zero, without a new search for hardware."""
    play.running()
    assert play.post("scale-to-zero").json()["status"]["state"] == "scaledToZero"
    assert play.post("resume").json()["status"]["state"] == "initializing"
    play.until("running")


def test_idle_scale_to_zero(play: Play) -> None:
    """Without a request for scaleToZeroTimeout minutes it is scaled to zero, not a moment earlier."""
    play.running()
    play.emulator.advance(15 * 60 - 5)
    assert play.state() == "running"
    play.emulator.advance(5)
    assert play.state() == "scaledToZero"


def test_no_idle_scale_to_zero_with_a_minimum(play: Play) -> None:
    """An endpoint with minReplica 1 bills until someone stops it."""
    play.running(scaling={"minReplica": 1, "scaleToZeroTimeout": None})
    play.emulator.advance(7 * 24 * 3600)
    assert play.state() == "running"
    assert pytest.approx(0.064 * 7 * 24, rel=1e-3) == play.emulator.meter("demo")["usd"]


def test_update(play: Play) -> None:
    """PUT takes only what changes; it goes through updating to running."""
    play.running(tags=["one"])
    changed = play.put({"compute": {"instanceSize": "x4"}}).json()
    assert changed["status"]["state"] == "updating"
    assert (changed["compute"]["instanceType"], changed["compute"]["instanceSize"]) == ("intel-icl", "x4")
    assert (changed["tags"], changed["model"]["repository"]) == (["one"], "org/model")
    play.until("running")
    assert play.emulator.states("demo") == ["pending", "initializing", "running", "updating", "running"]
    assert play.emulator.meter("demo")["replicas"][-1]["price_per_hour"] == 0.128


def test_update_of_env_replaces_it(play: Play) -> None:
    play.running(model={"env": {"A": "1", "B": "2"}})
    assert play.put({"model": {"env": {"C": "3"}}}).json()["model"]["env"] == {"C": "3"}


def test_update_of_a_paused_one(play: Play) -> None:
    """What is paused stays paused."""
    play.running()
    play.post("pause")
    changed = play.put({"model": {"repository": "org/next"}}).json()
    assert (changed["status"]["state"], changed["model"]["repository"]) == ("paused", "org/next")


def test_capacity_and_quota_are_asked_for_what_starts(play: Play) -> None:
    """A paused endpoint may be updated whatever is free; resuming it, or moving a running one, may not."""
    play.running("halted")
    play.post("pause", "halted")
    play.running("busy")
    play.emulator.set_capacity("intel-icl", available=False)
    assert play.put({"compute": {"instanceSize": "x4"}}, "halted").status_code == 200
    assert play.post("resume", "halted").json()["error"] == "Bad Request: Compute instance not available yet"
    assert play.put({"model": {"revision": "next"}}, "busy").status_code == 200
    assert play.put({"compute": {"instanceSize": "x4"}}, "busy").status_code == 400
    play.emulator.set_capacity("intel-icl", available=True)
    play.emulator.set_quota("intel-icl", 2)
    assert play.put({"compute": {"instanceSize": "x4"}}, "busy").status_code == 409


def test_update_of_tags_alone(play: Play) -> None:
    play.running()
    changed = play.put({"tags": ["a"]}).json()
    assert (changed["status"]["state"], changed["tags"]) == ("running", ["a"])


def test_update_to_unknown_hardware(play: Play) -> None:
    play.running()
    assert play.put({"compute": {"instanceSize": "x99"}}).status_code == 400
    assert play.get().json()["compute"]["instanceSize"] == "x2"


def test_failed_update_keeps_serving(play: Play) -> None:
    """updateFailed: the last update failed, the earlier version keeps serving."""
    play.emulator.behave("demo", fail_update="image not found", logs=("pulling image",))
    url = play.running()
    play.put({"model": {"repository": "org/next"}})
    status = play.until("updateFailed")["status"]
    assert status["errorMessage"] == "image not found"
    assert status["readyReplica"] == 1
    assert play.http.post(url, json={"inputs": "still there"}).status_code == 200
    assert "pulling image" in play.http.get(f"{play.base}/demo/logs").text


def test_failed_start(play: Play) -> None:
    """failed comes with message, errorMessage and log lines; what has failed costs nothing more."""
    play.emulator.behave("demo", fail="CUDA out of memory", logs=("loading shard 1", "loading shard 2"))
    play.create()
    status = play.until("failed")["status"]
    assert (status["message"], status["errorMessage"]) == ("Endpoint failed to start", "CUDA out of memory")
    lines = play.http.get(f"{play.base}/demo/logs").text.splitlines()
    assert lines[-3:] == ["loading shard 1", "loading shard 2", "CUDA out of memory"]
    cost = play.emulator.meter("demo")["usd"]
    play.emulator.advance(3600)
    assert cost == play.emulator.meter("demo")["usd"]


def test_failed_start_by_env(play: Play) -> None:
    """A DAG's author can ask for a failure through the endpoint's own env."""
    play.create(model={"env": {"EMULATOR_FAIL": "no such file", "EMULATOR_FAIL_STARTS": "1"}})
    assert play.until("failed")["status"]["errorMessage"] == "no such file"
    play.post("resume")
    play.until("running")


def test_delete(play: Play) -> None:
    """DELETE answers 200; GET may answer 200 for a moment more, then 404; the name is free again."""
    play.emulator.behave("demo", deleting_seconds=60)
    play.running()
    deleted = play.delete()
    assert (deleted.status_code, deleted.json()) == (200, {})
    assert play.get().status_code == 200
    assert play.delete().status_code == 200
    for action in ("pause", "resume", "scale-to-zero"):
        assert play.post(action).status_code == 400, action
    assert play.put({"tags": []}).status_code == 400
    assert play.create().status_code == 409
    play.emulator.advance(60)
    assert play.get().status_code == 404
    assert play.create().status_code == 200


def test_debug_agent(play: Play) -> None:
    """The debugger agent fills status.agentMessage."""
    play.emulator.behave("demo", fail="exploded")
    play.create()
    play.until("failed")
    assert "agentMessage" not in play.get().json()["status"]
    assert "exploded" in play.post("agent/debug").json()["status"]["agentMessage"]


# ------------------------------------------------------------------------------------------- lists


def listed(play: Play, **query: Any) -> dict[str, Any]:
    response = play.http.get(play.base, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def names(play: Play, **query: Any) -> list[str]:
    return [item["name"] for item in listed(play, **query)["items"]]


def test_a_page_holds_twenty(play: Play) -> None:
    """45 endpoints are three pages; nextCursor is null at the end; totalItems ignores the page; cursors lead back."""
    for number in range(45):
        play.create(f"e{number:02d}")
    pages, cursor = [], None
    while True:
        page = listed(play, **({"cursor": cursor} if cursor else {}))
        pages.append(page)
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert [len(page["items"]) for page in pages] == [20, 20, 5]
    assert {45} == {page["totalItems"] for page in pages}
    found = [item["name"] for page in pages for item in page["items"]]
    assert [f"e{number:02d}" for number in reversed(range(45))] == found
    assert [page["prevCursor"] and True for page in pages] == [None, True, True]
    assert pages[0]["items"][0]["name"] == listed(play, cursor=pages[1]["prevCursor"])["items"][0]["name"]
    assert [len(listed(play, limit=7)["items"]), len(listed(play, limit=100)["items"])] == [7, 45]


def test_list_filters_and_order(play: Play) -> None:
    """tags, type, task and state take several, comma-separated; search is part of a name; sorted three ways."""
    play.running("alpha", tags=["x"], type="public")
    play.running("beta", tags=["y"], model={"task": "summarization"})
    play.running("gamma", tags=["x", "z"], type="private")
    play.post("pause", "beta")
    assert names(play) == ["gamma", "beta", "alpha"]
    assert names(play, tags="x") == ["gamma", "alpha"]
    assert names(play, tags="y,z") == ["gamma", "beta"]
    assert names(play, type="public,private") == ["gamma", "alpha"]
    assert names(play, task="summarization,translation") == ["beta"]
    assert names(play, state="paused") == ["beta"]
    assert names(play, state="running,pending") == ["gamma", "alpha"]
    assert names(play, state="running") == ["gamma", "alpha"]
    assert names(play, search="et") == ["beta"]
    assert names(play, sortBy="name", direction="asc") == ["alpha", "beta", "gamma"]
    assert names(play, sortBy="createdAt", direction="asc") == ["alpha", "beta", "gamma"]
    play.put({"tags": ["new"]}, "alpha")
    assert names(play, sortBy="updatedAt")[0] == "alpha"
    assert listed(play, state="paused")["totalItems"] == 1
    assert names(play, state="updating") == []


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": "-1"}, {"cursor": "?"}, {"sortBy": "price"}], ids=str)
def test_a_query_that_makes_no_sense(play: Play, query: dict[str, str]) -> None:
    assert play.http.get(play.base, params=query).status_code == 400


# ------------------------------------------------------------------------------------------- logs, replicas, metrics


def log_lines(play: Play, **query: Any) -> tuple[list[str], httpx.Response]:
    response = play.http.get("/v3/endpoint/acme/demo/logs", params=query)
    return [entry["line"] for entry in response.json()], response


def test_logs(play: Play) -> None:
    """v2 is text with a tail; v3 is JSON, ascending, newest page first, paged by the Link header; kept while paused."""
    play.emulator.behave("demo", logs=tuple(f"line {n}" for n in range(30)))
    play.running()
    play.post("pause")
    text = play.http.get(f"{play.base}/demo/logs", params={"tail": 2, "line_max_length": 5})
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.splitlines() == ["line ", "Model"]
    everything, _ = log_lines(play)
    assert everything.index("line 0") < everything.index("line 29")
    newest, first = log_lines(play, limit=20)
    assert everything[-20:] == newest
    older = play.http.get(first.links["next"]["url"])
    assert everything[:-20] == [entry["line"] for entry in older.json()]
    assert "next" not in older.links
    oldest, first = log_lines(play, limit=20, order="asc")
    assert everything[:20] == oldest
    rest = play.http.get(first.links["next"]["url"])
    assert everything[20:] == [entry["line"] for entry in rest.json()]
    assert log_lines(play, search="line 7")[0] == ["line 7"]
    assert log_lines(play, level="error")[0] == []
    assert log_lines(play, since="2099-01-01T00:00:00Z")[0] == []
    assert everything == log_lines(play, until="2099-01-01T00:00:00Z")[0]
    assert log_lines_status(play, since="yesterday") == 400


def log_lines_status(play: Play, **query: Any) -> int:
    return play.http.get("/v3/endpoint/acme/demo/logs", params=query).status_code


def test_followed_logs(play: Play) -> None:
    """A followed log goes on with what is written while it is read."""
    play.emulator.behave("demo", initializing_seconds=0.3)
    play.create()
    with play.http.stream("GET", f"{play.base}/demo/logs", params={"follow": "true"}) as response:
        assert any("listening" in line for line in response.iter_lines())


def test_no_log_search() -> None:
    """A deployment without log search answers 501 on v3, and v2 serves."""
    with Emulator(namespace="acme", log_search=False) as emulator:
        play = Play(emulator)
        play.running()
        assert log_lines_status(play) == 501
        assert play.http.get(f"{play.base}/demo/logs").status_code == 200


def test_replicas(play: Play) -> None:
    """Replicas come with their stage; those that ended stay listed as stopped."""
    play.running(scaling={"minReplica": 2, "maxReplica": 2, "scaleToZeroTimeout": None})
    items = play.http.get(f"{play.base}/demo/replica").json()["items"]
    assert [item["status"]["stage"] for item in items] == ["running", "running"]
    play.post("pause")
    items = play.http.get(f"{play.base}/demo/replica").json()["items"]
    assert [item["status"]["stage"] for item in items] == ["stopped", "stopped"]
    assert all(item["status"]["stoppedAt"] for item in items)


def test_metrics(play: Play) -> None:
    """Running replicas and pending requests over a window of time."""
    play.running()
    window = {"start": "2020-01-01T00:00:00Z", "stop": "2099-01-01T00:00:00Z"}
    graph = play.post("metrics/replica-running", json=window).json()
    assert graph["series"][0]["max"] == 1
    assert [line["status"] for line in play.post("metrics/pending-request", json=window).json()["series"]] == [
        "pending"
    ]
    assert play.post("metrics/replica-running", json={"start": "x"}).status_code == 422
    backwards = {"start": window["stop"], "stop": window["start"]}
    assert play.post("metrics/pending-request", json=backwards).status_code == 400


# ------------------------------------------------------------------------------------------- hardware, whoami, catalog


PRICES = {
    "aws-us-east-1-intel-spr-x1": 0.033, "aws-us-east-1-intel-spr-x2": 0.067, "aws-us-east-1-intel-spr-x4": 0.134,
    "aws-us-east-1-intel-spr-x8": 0.268, "aws-us-east-1-nvidia-t4-x1": 0.5, "aws-us-east-1-nvidia-t4-x4": 3,
    "aws-us-east-1-nvidia-l4-x1": 0.8, "aws-us-east-1-nvidia-l4-x4": 3.8, "aws-us-east-1-nvidia-a10g-x1": 1,
    "aws-us-east-1-nvidia-a10g-x4": 5, "aws-us-east-1-nvidia-l40s-x1": 1.8, "aws-us-east-1-nvidia-l40s-x4": 8.3,
    "aws-us-east-1-nvidia-l40s-x8": 23.5, "aws-us-east-1-nvidia-a100-x1": 2.5, "aws-us-east-1-nvidia-a100-x2": 5,
    "aws-us-east-1-nvidia-a100-x4": 10, "aws-us-east-1-nvidia-a100-x8": 20, "aws-us-east-1-nvidia-h200-x1": 5,
    "aws-us-east-1-nvidia-h200-x2": 10, "aws-us-east-1-nvidia-h200-x4": 20, "aws-us-east-1-nvidia-h200-x8": 40,
    "gcp-us-east4-nvidia-l4-x1": 0.7, "gcp-us-east4-nvidia-l4-x4": 3.8, "gcp-us-east4-nvidia-a100-x1": 3.6,
    "gcp-us-east4-nvidia-a100-x4": 14.4, "gcp-us-east4-nvidia-h100-x1": 10, "gcp-us-east4-nvidia-h100-x4": 40,
}  # fmt: skip


def computes(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    regions = [region for vendor in body["vendors"] for region in vendor["regions"]]
    return {compute["id"]: compute for region in regions for compute in region["computes"]}


def test_price_list(emulator: Emulator) -> None:
    """The price list is public, has the service's prices, several regions, and hardware in every availability."""
    listed = computes(client(emulator, "").get("/v2/provider").json())
    assert {name: listed[name]["pricePerHour"] for name in PRICES} == PRICES
    assert {"aws-us-east-1-intel-icl-x2", "aws-us-east-1-intel-icl-x4", "aws-eu-west-1-nvidia-t4-x1"} <= set(listed)
    assert {"available", "low_availability", "not_available"} == {row["status"] for row in listed.values()}


def test_quota_in_the_price_list(play: Play) -> None:
    """A namespace's own price list has its quota: what running endpoints hold, not what paused ones do."""
    assert client(play.emulator, "").get("/v2/provider/acme").status_code == 401
    play.emulator.set_quota("intel-icl", 16)
    play.running(scaling={"minReplica": 1, "maxReplica": 3})
    row = computes(play.http.get("/v2/provider/acme").json())["aws-us-east-1-intel-icl-x4"]
    assert row["quota"] == {"maxAccelerators": 16, "usedAccelerators": 6}
    vendors = play.http.get("/v2/provider/quotas/acme").json()["vendors"]
    lines = {line["instanceType"]: line for vendor in vendors if vendor["name"] == "aws" for line in vendor["quotas"]}
    assert (lines["intel-icl"]["maxAccelerators"], lines["intel-icl"]["usedAccelerators"]) == (16, 6)
    play.post("pause")
    row = computes(play.http.get("/v2/provider/acme").json())["aws-us-east-1-intel-icl-x4"]
    assert row["quota"]["usedAccelerators"] == 0


def test_whoami(emulator: Emulator) -> None:
    """The token's user, organisations and scopes."""
    me = client(emulator).get("/api/whoami-v2").json()
    assert (me["type"], me["name"], me["canPay"]) == ("user", "acme", True)
    assert me["auth"]["accessToken"]["role"] == "write"
    access = client(emulator, "hf_read").get("/api/whoami-v2").json()["auth"]["accessToken"]
    assert access["role"] == "fineGrained"
    scoped = {entry["entity"]["name"]: entry["permissions"] for entry in access["fineGrained"]["scoped"]}
    assert scoped["acme"] == ["inference.endpoints.read"]


def test_catalog(play: Play) -> None:
    """The catalog lists models with recipes, filtered; a model or a recipe can be deployed, and runs."""
    base = "/api/v1/catalog"
    items = play.http.get(f"{base}/list").json()["items"]
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in [item["repoId"] for item in items]
    tei = play.http.get(f"{base}/list", params={"engine": "tei"}).json()["items"]
    assert [item["repoId"] for item in tei] == ["BAAI/bge-base-en-v1.5"]
    assert len(play.http.get(f"{base}/list", params={"limit": 1}).json()["items"]) == 1
    recipes = {recipe["publicId"]: recipe for item in items for recipe in item["recipes"]}
    for recipe_id in recipes:
        config = {"name": recipe_id[-10:].strip("-")}
        deployed = play.http.post(f"{base}/recipe/{recipe_id}/deploy", json={"namespace": "acme", "config": config})
        assert deployed.status_code == 200, deployed.text
        assert config["name"] == deployed.json()["endpoint"]["name"]
    repo = "HuggingFaceTB/SmolLM2-135M-Instruct"
    body = {"namespace": "acme", "ggufFile": "SmolLM2-135M-Instruct.Q8_0.gguf"}
    endpoint = play.http.post(f"{base}/model/{repo}/deploy", json=body).json()["endpoint"]
    assert endpoint["compute"]["instanceSize"] == "x4"
    assert endpoint["model"]["fromCatalog"] is True
    play.until("running", endpoint["name"])
    assert play.http.post(f"{base}/model/no/such/deploy", json={"namespace": "acme"}).status_code == 404
    assert play.http.post(f"{base}/recipe/none/deploy", json={"namespace": "acme"}).status_code == 404
    assert play.http.post(f"{base}/recipe/none/deploy", json={}).status_code == 422
    assert client(play.emulator, "").post(f"{base}/recipe/none/deploy", json={"namespace": "acme"}).status_code == 401
