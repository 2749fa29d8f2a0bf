"""The emulator refuses what the service refuses, in its words, and is silent where the service is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.emulator_play import LLAMACPP, SGLANG, TGI, VLLM, Play, client, error, spec, with_tokens


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with with_tokens() as running:
        yield running


# ------------------------------------------------------------------------------------------- the error table


def test_resume_of_a_running_one(play: Play) -> None:
    """To resume a running endpoint is a 400 that says "already running"."""
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
    """Hardware that is not available at the moment is a separate 400, by instance type or by one row of the price
    list.
    """
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
    assert play.create(name).status_code == 422


def test_names_of_50_are_a_quirk(play: Play) -> None:
    """harbor-hf generates names of 50 characters (July 2026), against the documented limit."""
    play.emulator.set_quirks("names_of_50")
    assert [play.create("a" * length).status_code for length in (50, 51)] == [200, 422]


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
    """What does not fit the specification's types is a 422, most of it in plain text, and nothing is created."""
    refused = play.create(**changes)
    assert refused.status_code == 422
    # What only makes no sense is refused by the service itself, in its JSON.
    senseless = changes == {"scaling": {"minReplica": 2, "maxReplica": 1}}
    assert refused.text.startswith("Failed to deserialize the JSON body into the target type: ") is not senseless
    assert play.get().status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"1" * 5000])
def test_a_body_that_is_no_json(play: Play, body: bytes) -> None:
    """Broken bodies are a 400 (or, where they happen to be JSON, a 422), never a fault of the server."""
    created = play.http.post(play.base, content=body)
    assert created.status_code == 400
    # Plain text of the service's framework: huggingface_hub#2510 (September 2024).
    assert created.text.startswith("Failed to parse the request body as JSON: ")
    assert created.headers["content-type"].startswith("text/plain")


def test_a_missing_token_says_no_more_than_its_status(play: Play) -> None:
    """As clients have recorded it."""
    play.http.headers["Authorization"] = "Bearer wrong"
    assert play.get().json() == {"error": "401 Unauthorized", "code": "UNAUTHORIZED"}


def test_the_ids_of_replicas_are_a_bare_list(play: Play) -> None:
    """andimarafioti/s2s-endpoint, download_endpoint_logs.py: `GET …/metrics/replica-ids`."""
    play.running()
    (replica,) = play.http.get(f"{play.base}/demo/replica").json()["items"]
    assert play.http.get(f"{play.base}/demo/metrics/replica-ids").json() == [replica["id"]]


@pytest.mark.parametrize(("quirks", "wanted"), [((), 0), (("paused_keeps_target",), 1)])
def test_the_target_of_a_paused_one(play: Play, quirks: tuple[str, ...], wanted: int) -> None:
    """It "may remain nonzero on a paused endpoint": huggingface/harbor-hf (2026-07-14)."""
    play.emulator.set_quirks(*quirks)
    play.running()
    assert play.post("pause").json()["status"]["targetReplica"] == wanted


@pytest.mark.parametrize(("quirks", "status"), [((), 500), (("failed_takes_updates",), 200)])
def test_an_update_of_a_failed_one(play: Play, quirks: tuple[str, ...], status: int) -> None:
    """A 500, by one report (viraj-s15/openenv-faultline, 2026-04-26); its target stays one replica."""
    play.emulator.set_quirks(*quirks)
    play.emulator.behave("demo", fail="no", pending_seconds=0, initializing_seconds=0)
    play.create()
    assert (play.state(), play.get().json()["status"]["targetReplica"]) == ("failed", 1)
    assert play.put({"model": {"revision": "x"}}).status_code == status


@pytest.mark.parametrize("body", [[], 1, "x", {}, {"name": {"a": 1}}], ids=repr)
def test_a_body_of_another_kind(play: Play, body: Any) -> None:
    assert play.http.post(play.base, json=body).status_code == 422


@pytest.mark.parametrize("image", [VLLM, SGLANG], ids=["vLLM", "sGLang"])
def test_parallelism_on_several_accelerators(play: Play, image: dict[str, Any]) -> None:
    """vLLM and SGLang need an argument to use several accelerators."""
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
